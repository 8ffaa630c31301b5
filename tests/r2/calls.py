"""What a request asks for, in the names of R2's operations. What is not known is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as ET

from tests.r2.checks import Check
from tests.r2.http1 import Request
from tests.r2.sigv4 import Off, Refused, decoded

MAX_KEY_BYTES: Final = 1024

_LISTING: Final = frozenset({"prefix", "delimiter", "max-keys", "encoding-type"})
_V1: Final = _LISTING | {"marker"}
_V2: Final = _LISTING | {"list-type", "start-after", "continuation-token", "fetch-owner"}
_RESPONSE: Final = frozenset(
    f"response-{name}"
    for name in (
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    )
)
_PART: Final = frozenset({"partNumber", "uploadId"})

Shape = tuple[str, frozenset[str]]
"""An operation, and the parameters that it may have."""

_ON_BUCKETS: Final[Mapping[tuple[str, str], Shape]] = {
    ("GET", ""): ("ListObjectsV1", _V1),
    ("GET", "list-type"): ("ListObjectsV2", _V2),
    ("GET", "uploads"): (
        "ListMultipartUploads",
        _LISTING | {"uploads", "key-marker", "upload-id-marker", "max-uploads"},
    ),
    ("GET", "location"): ("GetBucketLocation", frozenset({"location"})),
    ("HEAD", ""): ("HeadBucket", frozenset()),
    ("POST", "delete"): ("DeleteObjects", frozenset({"delete"})),
}
_ON_OBJECTS: Final[Mapping[tuple[str, str], Shape]] = {
    ("GET", ""): ("GetObject", _RESPONSE),
    ("HEAD", ""): ("HeadObject", _RESPONSE),
    ("PUT", ""): ("PutObject", frozenset()),
    ("DELETE", ""): ("DeleteObject", frozenset()),
    ("POST", "uploads"): ("CreateMultipartUpload", frozenset({"uploads"})),
    ("PUT", "uploadId"): ("UploadPart", _PART),
    ("GET", "uploadId"): ("ListParts", _PART | {"max-parts", "part-number-marker"}),
    ("POST", "uploadId"): ("CompleteMultipartUpload", frozenset({"uploadId"})),
    ("DELETE", "uploadId"): ("AbortMultipartUpload", frozenset({"uploadId"})),
}
_DECIDING: Final = ("uploads", "uploadId", "delete", "location", "list-type")
_COPIES: Final = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}

HARMLESS_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "connection",
        "content-length",
        "expect",
        "host",
        "transfer-encoding",
        "user-agent",
        "x-amz-checksum-mode",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-decoded-content-length",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-security-token",
        "x-amz-trailer",
        "x-amz-user-agent",
    }
)
"""Known, and not passed on."""
FORWARDED_HEADERS: Final = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-md5",
        "content-type",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "range",
        "x-amz-copy-source",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-range",
        "x-amz-metadata-directive",
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """A key in a bucket."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Call:
    """One operation. ``fields`` is the query; ``source`` that of a copy; ``keys`` those of a bulk
    delete."""

    operation: str
    place: Place
    fields: tuple[tuple[str, str], ...]
    source: Place | None = None
    keys: tuple[str, ...] = ()
    quiet: bool = False
    headers: tuple[tuple[str, str], ...] = field(default=())

    @property
    def prefix(self) -> str:
        return dict(self.fields).get("prefix", "")

    @property
    def lists(self) -> bool:
        return self.operation in {"ListObjectsV1", "ListObjectsV2", "ListMultipartUploads"}


def read_call(request: Request, path: str, fields: tuple[tuple[str, str], ...], off: Off) -> Call:
    """What a request asks for; the body of a bulk delete is read later.

    Raises:
        Refused: it is nothing that this double knows.
    """
    bucket, _, key = path.removeprefix("/").partition("/")
    if not bucket:
        raise Refused(501, "NotImplemented", "calls on the account")
    names = {name for name, _ in fields}
    # The parameter that AWS's JavaScript SDK adds says the operation once more.
    names.discard("x-id")
    deciding = next((name for name in _DECIDING if name in names), "")
    shape = (_ON_OBJECTS if key else _ON_BUCKETS).get((request.method, deciding))
    if shape is None or (names - shape[1] and not off(Check.UNKNOWN)):
        raise Refused(501, "NotImplemented", f"{request.method} with {sorted(names)}")
    operation, place = shape[0], Place(bucket, key)
    source = None
    copy = request.header("x-amz-copy-source")
    if copy is not None:
        if operation not in _COPIES:
            raise Refused(501, "NotImplemented", f"a copy by {operation}")
        operation, source = _COPIES[operation], _source(copy)
    _check_key(key, off)
    _check_key(source.key if source else "", off)
    kept = tuple((name, value) for name, value in fields if name != "x-id")
    return Call(operation, place, kept, source, headers=_passed_on(request, off))


def _source(header: str) -> Place:
    bucket, slash, key = decoded(header).removeprefix("/").partition("/")
    if not bucket or not slash or not key or "?" in header:
        raise Refused(501, "NotImplemented", "a source that is no plain key")
    return Place(bucket, key)


def _check_key(key: str, off: Off) -> None:
    """What stands behind this double is a file system, which would walk there."""
    if any(segment in {".", ".."} for segment in key.split("/")) and not off(Check.DOTS):
        raise Refused(400, "InvalidObjectName", "a key with dot segments")
    if len(key.encode()) > MAX_KEY_BYTES or "\0" in key or "\\" in key:
        raise Refused(400, "InvalidObjectName", "a key that cannot be")


def _passed_on(request: Request, off: Off) -> tuple[tuple[str, str], ...]:
    passed: list[tuple[str, str]] = []
    for name, value in request.headers:
        if name in FORWARDED_HEADERS or name.startswith("x-amz-meta-"):
            if name == "content-encoding":
                rest = [v for v in re.split(r",\s*", value) if v != "aws-chunked"]
                passed += [(name, ", ".join(rest))] if rest else []
            else:
                passed.append((name, value))
        elif name.startswith("x-amz-checksum-") and name != "x-amz-checksum-mode":
            continue  # held against the body, see sigv4.check_sum
        elif name not in HARMLESS_HEADERS and not off(Check.UNKNOWN):
            raise Refused(501, "NotImplemented", f"the header {name}")
    return tuple(passed)


def read_deletes(body: bytes, off: Off) -> tuple[tuple[str, ...], bool]:
    """The keys of a bulk delete, and whether its answer is to tell of errors alone."""
    if b"<!" in body.replace(b"<![CDATA[", b""):
        raise Refused(400, "MalformedXML", "no declarations here")
    try:
        root = ET.fromstring(body)  # noqa: S314 - no declarations, so nothing to expand
    except ET.ParseError:
        raise Refused(400, "MalformedXML", "that is no XML") from None
    keys: list[str] = []
    quiet = False
    for child in root:
        match child.tag.rpartition("}")[2]:
            case "Object":
                parts = {part.tag.rpartition("}")[2]: part.text or "" for part in child}
                if parts.keys() != {"Key"}:
                    raise Refused(501, "NotImplemented", "deletes of more than keys")
                keys.append(parts["Key"])
            case "Quiet":
                quiet = child.text == "true"
            case _:
                raise Refused(400, "MalformedXML", "that is no bulk delete")
    if not 1 <= len(keys) <= 1000 or root.tag.rpartition("}")[2] != "Delete":
        raise Refused(400, "MalformedXML", "that is no bulk delete")
    for key in keys:
        _check_key(key, off)
    return tuple(keys), quiet
