"""The double of S3 Control: access points to directory buckets, with their limits."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.express.http_front import Request, Response
from tests.express.principals import Directory
from tests.express.sigv4 import Rejected

SERVICES: Final = frozenset({"s3express"})
_PATH: Final = re.compile(r"/v20180820/accesspoint/([a-z0-9-]+)(/scope|/policy)?")
_NAME: Final = re.compile(r"(?!-)([a-z0-9-]{3,50})(?<!-)--([a-z0-9-]+)--xa-s3")
_OPERATIONS: Final = {
    "GetObject", "GetObjectAttributes", "ListMultipartUploadParts", "ListBucket",
    "ListBucketMultipartUploads", "PutObject", "DeleteObject", "AbortMultipartUpload",
}  # fmt: skip
_MOST_BYTES: Final = 255
_MOST_POLICY: Final = 20 << 10


@dataclass(frozen=True, slots=True)
class Point:
    """An access point. Without a scope (None) it opens the whole bucket."""

    name: str
    bucket: str
    prefixes: tuple[str, ...] | None
    operations: frozenset[str] | None
    policy: str | None = None


@dataclass
class Control:
    """The access points of an account. ``limit`` is how many there may be."""

    account: str
    region: str
    directory: Directory
    buckets: Callable[[], Mapping[str, str]]
    limit: int = 10_000
    lag: int = 0
    """How many requests after a creation find nothing yet."""
    points: dict[str, Point] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    failures: list[Rejected] = field(default_factory=list)
    """What the next requests meet, whatever they are."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, request: Request) -> Response:
        """One request.

        Raises:
            Rejected: as S3 Control would, or because it is none that is known here.
        """
        principal, body = self.directory.signer(request, SERVICES)
        if principal.arn != self.directory.owner_arn:
            raise Rejected(403, "AccessDenied", "the role may not use S3 Control")
        match = _PATH.fullmatch(request.path)
        if match is None or request.query:
            raise Rejected(501, "NotImplemented")
        if request.headers.get("x-amz-account-id") != self.account:
            raise Rejected(403, "AccessDenied", "another account")
        name, what = match[1], match[2] or ""
        with self._lock:
            self.calls.append(f"{request.method} {what}".strip())
            if self.failures:
                raise self.failures.pop(0)
            if request.method == "PUT" and not what:
                return self._create(name, body)
            point = self.points.get(name)
            if self.lag and not what:
                self.lag -= 1
                point = None
            if point is None:
                raise Rejected(404, "NoSuchAccessPoint")
            return self._about(request.method, what, point, body)

    def _about(self, method: str, what: str, point: Point, body: bytes) -> Response:
        match method, what:
            case "GET", "":
                found = f"<Name>{point.name}</Name><Bucket>{point.bucket}</Bucket>"
                owner = f"<BucketAccountId>{self.account}</BucketAccountId>"
                return _document("GetAccessPointResult", found + owner)
            case "GET", "/scope":
                return _document("GetAccessPointScopeResult", _scope(point))
            case "GET", "/policy":
                if point.policy is None:
                    raise Rejected(404, "NoSuchAccessPointPolicy")
                return _document(
                    "GetAccessPointPolicyResult", f"<Policy>{escape(point.policy)}</Policy>"
                )
            case "PUT", "/policy":
                text = _parsed(body, "PutAccessPointPolicyRequest").findtext("{*}Policy") or ""
                if not 0 < len(text) <= _MOST_POLICY or "s3express:CreateSession" not in text:
                    raise Rejected(400, "MalformedPolicy")
                self.points[point.name] = replace(point, policy=text)
                return Response(200)
            case _:
                raise Rejected(501, "NotImplemented")

    def _create(self, name: str, body: bytes) -> Response:
        root = _parsed(body, "CreateAccessPointRequest")
        bucket = root.findtext("{*}Bucket") or ""
        named = _NAME.fullmatch(name)
        if bucket not in self.buckets():
            raise Rejected(404, "NoSuchBucket")
        if named is None or f"--{named[2]}--x-s3" not in bucket:
            raise Rejected(400, "InvalidRequest", "the name, or its zone")
        if {child.tag.rpartition("}")[2] for child in root} - {"Bucket", "Scope"}:
            raise Rejected(501, "NotImplemented")
        if name in self.points:
            raise Rejected(409, "AccessPointAlreadyOwnedByYou")
        if len(self.points) >= self.limit:
            raise Rejected(400, "TooManyAccessPoints", "You have reached the limit.")
        prefixes = tuple(e.text or "" for e in root.iterfind("{*}Scope/{*}Prefixes/{*}Prefix"))
        given = [e.text or "" for e in root.iterfind("{*}Scope/{*}Permissions/{*}Permission")]
        if sum(len(p.encode()) for p in prefixes) > _MOST_BYTES or set(given) - _OPERATIONS:
            raise Rejected(400, "InvalidRequest", "the scope")
        self.points[name] = Point(name, bucket, prefixes or None, frozenset(given) or None)
        arn = f"arn:aws:s3express:{self.region}:{self.account}:accesspoint/{name}"
        return _document("CreateAccessPointResult", f"<AccessPointArn>{arn}</AccessPointArn>")


def _scope(point: Point) -> str:
    prefixes = "".join(f"<Prefix>{escape(each)}</Prefix>" for each in point.prefixes or ())
    allowed = "".join(f"<Permission>{each}</Permission>" for each in sorted(point.operations or ()))
    inner = f"<Prefixes>{prefixes}</Prefixes><Permissions>{allowed}</Permissions>"
    return f"<Scope>{inner}</Scope>"


def _document(name: str, inner: str) -> Response:
    xmlns = "http://awss3control.amazonaws.com/doc/2018-08-20/"
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{xmlns}">{inner}</{name}>'
    return Response(200, text.encode(), {"Content-Type": "application/xml"})


def _parsed(body: bytes, name: str) -> ET.Element:
    try:
        root = ET.fromstring(body)  # noqa: S314 - from the code under test
    except ET.ParseError:
        raise Rejected(400, "MalformedXML") from None
    if root.tag.rpartition("}")[2] != name:
        raise Rejected(400, "MalformedXML")
    return root
