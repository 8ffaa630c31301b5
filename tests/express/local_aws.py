"""An AWS of one account before a real engine: STS, S3, S3 Express and S3 Control."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from ringfence.config import Buckets
from ringfence.layout import BucketRole
from tests.express import pki
from tests.express.control import Control
from tests.express.http_front import Front, Request, Response
from tests.express.principals import Directory, Principal, role_policy
from tests.express.sigv4 import Rejected, Rules
from tests.express.standard import Standard
from tests.express.upstream import Upstream
from tests.express.zonal import LIFE, Zonal
from tests.isolation.wire import Keys, Wire

REGION: Final = "us-west-2"
ZONE: Final = "usw2-az1"
ACCOUNT: Final = "123456789012"
ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/ringfence-runtime"
OWNER: Final = f"arn:aws:iam::{ACCOUNT}:user/ringfence"
OWNER_KEYS: Final = Keys("AKIAEXPRESSTESTSONLY", "s3cret-of-the-owner-0123456789abcdefghij")

STANDARD: Final = Buckets("meta-bucket", "content-bucket", "log-bucket")
EXPRESS: Final = Buckets(f"meta--{ZONE}--x-s3", f"content--{ZONE}--x-s3", f"logs--{ZONE}--x-s3")

_ZONAL: Final = re.compile(rf"([a-z0-9-]+)\.s3express-{ZONE}\.{REGION}\.amazonaws\.com")
_BUCKET: Final = re.compile(rf"([a-z0-9-]+)\.s3\.{REGION}\.amazonaws\.com")
_STS: Final = f"sts.{REGION}.amazonaws.com"
_S3: Final = f"s3.{REGION}.amazonaws.com"
_CONTROL: Final = f"s3express-control.{REGION}.amazonaws.com"
NAMES: Final = (
    f"*.s3express-{ZONE}.{REGION}.amazonaws.com",
    f"*.s3.{REGION}.amazonaws.com",
    *(_STS, _S3, _CONTROL),
)


def zonal_host(name: str) -> str:
    """The host of a directory bucket or an access point."""
    return f"{name}.s3express-{ZONE}.{REGION}.amazonaws.com"


@dataclass
class LocalAws:
    """The whole. ``off`` names the checks that are switched off, for the mutation tests."""

    url: str
    ca: Path
    directory: Directory
    control: Control
    zonal: Zonal
    standard: Standard
    off: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    """The checks that were asked for so far."""
    skew: timedelta = timedelta(0)
    """How far its clock is ahead of this machine's."""

    def handle(self, request: Request) -> Response:
        """One request, by its host."""
        try:
            return self._handle(request)
        except Rejected as error:
            return _error(request, error)

    def _handle(self, request: Request) -> Response:
        host = request.host
        if host == _STS:
            return self.directory.sts(request)
        if host == _CONTROL:
            return self.control.handle(request)
        if match := _ZONAL.fullmatch(host):
            return self.zonal.handle(request, match[1])
        if match := _BUCKET.fullmatch(host):
            return self.standard.handle(request, match[1], request.path)
        if host == _S3:
            bucket, slash, rest = request.path.removeprefix("/").partition("/")
            return self.standard.handle(request, bucket, f"{slash}{rest}" or "/")
        raise Rejected(400, "InvalidHost", host)

    def proxied(self) -> dict[str, str]:
        """The variables by which a process reaches it as if it were AWS."""
        return {"HTTPS_PROXY": self.url, "SSL_CERT_FILE": str(self.ca)}

    @contextmanager
    def without(self, check: str) -> Iterator[None]:
        """A check switched off for a while."""
        self.off.add(check)
        try:
            yield
        finally:
            self.off.discard(check)


def known(host: str) -> bool:
    """Whether a host is one of AWS's that is here."""
    return host in {_STS, _S3, _CONTROL} or bool(_ZONAL.fullmatch(host) or _BUCKET.fullmatch(host))


@contextmanager
def local_aws(folder: Path, engine: Wire, physical: Buckets) -> Iterator[LocalAws]:
    """Runs it before an engine, whose three buckets play the standard and the Express ones.

    Args:
        engine: the engine, with the keys of its owner.
        physical: its buckets.
    """
    names = {
        each.of(role): physical.of(role) for role in BucketRole for each in (STANDARD, EXPRESS)
    }
    express = {name: at for name, at in names.items() if name.endswith("--x-s3")}
    standard = {name: at for name, at in names.items() if name not in express}
    made: list[LocalAws] = []

    def clock() -> datetime:
        return datetime.now(UTC) + (made[0].skew if made else timedelta(0))

    def holds(check: str) -> bool:
        made[0].asked.add(check)
        return check not in made[0].off

    rules = Rules(REGION, clock, holds)
    policy = role_policy(ACCOUNT, REGION, tuple(names))
    directory = Directory(OWNER_KEYS, OWNER, ROLE, policy, rules)
    control = Control(ACCOUNT, REGION, directory, lambda: express)
    upstream = Upstream(engine, names)

    def outside(principal: Principal, bucket: str, key: str) -> tuple[str, bool]:
        return made[0].standard.reads(principal, bucket, key)

    zonal = Zonal(
        ACCOUNT, REGION, directory, control, upstream, rules, express, copies=outside, life=LIFE
    )
    plain = Standard(directory, upstream, rules, standard, zonal.readable)

    def handle(request: Request) -> Response:
        return made[0].handle(request)

    ca, chain = pki.make(folder, NAMES)
    with Front(handle, known, chain) as front:
        made.append(LocalAws(front.url, ca, directory, control, zonal, plain))
        try:
            yield made[0]
        finally:
            upstream.close()


def _error(request: Request, error: Rejected) -> Response:
    inner = f"<Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
    if request.host in {_STS, _CONTROL}:
        body = f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>"
    return Response(error.status, body.encode(), {"Content-Type": "application/xml"})
