"""S3 and STS on the wire: exact request lines, nothing normalised, and a signer to match.

SDKs hide what an attacker would send: they collapse ``..``, encode once more, add headers. Here the
request target is a string that goes out as it is given; what is signed may be told apart from it.
The signer is written from *Signature Version 4* in the IAM User Guide and held against botocore's
in the tests; botocore's own takes twice the time of the request that it signs.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import ssl
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlencode, urlsplit

TIMEOUT_SECONDS: Final = 20.0
_CODE: Final = re.compile(rb"<Code>([^<]*)</Code>")
_NONE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair and, for a session, its token."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The engine's error code, or nothing where the body has none."""
        match = _CODE.search(self.body)
        return match[1].decode() if match else ""

    @property
    def denied(self) -> bool:
        """The engine's own refusal, as S3 words it."""
        return self.status == 403 and self.code == "AccessDenied"

    def __str__(self) -> str:
        return f"{self.status} {self.code}".rstrip()


@lru_cache(maxsize=64)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def authorization(
    keys: Keys,
    method: str,
    target: str,
    headers: Mapping[str, str],
    *,
    region: str,
    service: str,
) -> str:
    """The ``Authorization`` of a request: every header of it is signed, the path as it stands.

    ``headers`` has ``X-Amz-Date``, and ``X-Amz-Content-SHA256`` with the digest of the body.
    """
    path, _, query = target.partition("?")
    fields = sorted(tuple(f.partition("=")[::2]) for f in query.split("&") if f)
    lowered = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    names = ";".join(sorted(lowered))
    canonical = "\n".join(
        (
            method,
            path,
            "&".join(f"{name}={value}" for name, value in fields),
            *(f"{name}:{lowered[name]}" for name in sorted(lowered)),
            "",
            names,
            lowered["x-amz-content-sha256"],
        )
    )
    stamp = lowered["x-amz-date"]
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, digest)).encode()
    key = signing_key(keys.secret, stamp[:8], region, service)
    signature = hmac.digest(key, text, "sha256").hex()
    credential = f"Credential={keys.access}/{scope}"
    return f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"


class Wire:
    """A client on one endpoint. Thread-safe; idle connections are shared, and closed with it."""

    def __init__(
        self,
        endpoint: str,
        keys: Keys | None,
        region: str = "us-east-1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.keys = keys
        self.region = region
        self.tls = tls
        self.host = urlsplit(endpoint).netloc
        self._idle: list[http.client.HTTPConnection] = []
        weakref.finalize(self, _close_all, self._idle)

    def holding(self, keys: Keys | None) -> Wire:
        """The same endpoint with other keys; None signs nothing."""
        return Wire(self.endpoint, keys, self.region, self.tls)

    def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] = _NONE,
        *,
        signed: str | None = None,
        service: str = "s3",
    ) -> Reply:
        """Sends exactly ``method target``, signed if there are keys.

        Args:
            signed: the target to sign, where it is another than the one that is sent.
        """
        sent = {"Host": self.host, **headers}
        if self.keys is not None:
            sent = self.sign(method, signed or target, body, sent, service)
        sent.setdefault("Content-Length", str(len(body)))
        return self.exchange(method, target, body, sent)

    def sign(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str], service: str
    ) -> dict[str, str]:
        """``headers`` with the date, the digest, the token and the signature."""
        assert self.keys is not None
        signed = {
            "X-Amz-Date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
            "X-Amz-Content-SHA256": hashlib.sha256(body).hexdigest(),
            **({"X-Amz-Security-Token": self.keys.token} if self.keys.token else {}),
            **headers,
        }
        how = {"region": self.region, "service": service}
        return {**signed, "Authorization": authorization(self.keys, method, target, signed, **how)}

    def form(self, service: str = "sts", **fields: str) -> Reply:
        """A call of the STS or IAM API, as SDKs send it."""
        body = urlencode({"Version": "2011-06-15", **fields}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.send("POST", "/", body, headers, service=service)

    def exchange(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One request and its answer, as given."""
        # A server may close an idle connection at any time: a new one is tried then.
        try:
            return self._over(self._idle.pop(), method, target, body, headers)
        except (IndexError, ConnectionError, http.client.BadStatusLine):
            return self._over(self._connection(), method, target, body, headers)

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(self.host, timeout=TIMEOUT_SECONDS, context=self.tls)

    def _over(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
    ) -> Reply:
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            reply = Reply(response.status, dict(response.headers.items()), response.read())
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return reply


def _close_all(connections: list[http.client.HTTPConnection]) -> None:
    for connection in connections:
        connection.close()
