"""Which operation of S3 a request is. What is not known here is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from tests.express.http_front import Request
from tests.express.sigv4 import Rejected

_LIST: Final = frozenset(
    {"list-type", "prefix", "delimiter", "max-keys", "continuation-token", "encoding-type"}
)
_OF_OBJECT: Final = {
    ("GET", frozenset[str]()): "GetObject",
    ("HEAD", frozenset[str]()): "HeadObject",
    ("PUT", frozenset[str]()): "PutObject",
    ("DELETE", frozenset[str]()): "DeleteObject",
    ("POST", frozenset({"uploads"})): "CreateMultipartUpload",
    ("PUT", frozenset({"partNumber", "uploadId"})): "UploadPart",
    ("GET", frozenset({"uploadId"})): "ListParts",
    ("POST", frozenset({"uploadId"})): "CompleteMultipartUpload",
    ("DELETE", frozenset({"uploadId"})): "AbortMultipartUpload",
}
_OF_BUCKET: Final = {
    ("HEAD", frozenset[str]()): "HeadBucket",
    ("GET", frozenset({"session"})): "CreateSession",
    ("GET", frozenset({"uploads"})): "ListMultipartUploads",
    ("GET", frozenset({"uploads", "prefix"})): "ListMultipartUploads",
    ("POST", frozenset({"delete"})): "DeleteObjects",
}
_COPIES: Final = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}
_SDK_ONLY: Final = frozenset({"x-id"})
"""What some SDKs add for their own statistics."""

HEADERS: Final = frozenset(
    {
        *("host", "authorization", "accept", "accept-encoding", "user-agent", "connection"),
        *("content-length", "content-type", "content-md5", "content-encoding", "expect", "range"),
        *("transfer-encoding", "if-match", "if-none-match", "proxy-connection"),
        *("x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-s3session-token"),
        *("x-amz-create-session-mode", "x-amz-copy-source", "x-amz-decoded-content-length"),
        *("x-amz-trailer", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-mode", "x-amz-te"),
        *("x-amz-checksum-crc32", "x-amz-checksum-sha256", "x-amz-checksum-crc64nvme"),
        *("amz-sdk-invocation-id", "amz-sdk-request"),
    }
)
"""The headers that are known here: one that says something else is refused, not left out."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. ``key`` is decoded; ``params`` are the query's fields, decoded."""

    name: str
    key: str
    params: dict[str, str]


def operation(request: Request, key_path: str, *, dots: bool) -> Operation:
    """What a request is, ``key_path`` being its path below the bucket, as it was sent.

    Raises:
        Rejected: it is nothing that is known here. ``dots`` refuses segments that go up or stay.
    """
    unknown = request.headers.keys() - HEADERS
    if unknown:
        raise Rejected(501, "NotImplemented", f"headers {sorted(unknown)}")
    try:
        params = {n: v for n, v in request.params.items() if n not in _SDK_ONLY}
        key = unquote(key_path.removeprefix("/"), errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise Rejected(400, "InvalidURI") from None
    if dots and {".", ".."} & set(key.split("/")):
        raise Rejected(400, "InvalidURI", "dot segments")
    name = _named(request.method, key, frozenset(params))
    if "x-amz-copy-source" in request.headers:
        name = _COPIES.get(name, "")
    if not name:
        raise Rejected(501, "NotImplemented", f"{request.method} {sorted(params)}")
    return Operation(name, key, params)


def _named(method: str, key: str, fields: frozenset[str]) -> str:
    if key:
        return _OF_OBJECT.get((method, fields), "")
    if method == "GET" and "list-type" in fields:
        if "start-after" in fields:
            raise Rejected(501, "NotImplemented", "start-after")
        return "ListObjectsV2" if fields <= _LIST else ""
    return _OF_BUCKET.get((method, fields), "")


def keys_to_delete(body: bytes) -> list[str]:
    """The keys of a bulk delete."""
    try:
        root = ET.fromstring(body)  # noqa: S314 - from the code under test
    except ET.ParseError:
        raise Rejected(400, "MalformedXML") from None
    keys = [node.text or "" for node in root.iterfind("{*}Object/{*}Key")]
    if not 0 < len(keys) <= 1000 or not all(keys):
        raise Rejected(400, "MalformedXML")
    return keys


def source_of(request: Request) -> tuple[str, str, str]:
    """Bucket, key and path of a copy's source."""
    bucket, slash, path = request.headers["x-amz-copy-source"].removeprefix("/").partition("/")
    if not slash or not path or "?" in path:
        raise Rejected(400, "InvalidArgument", "the copy source")
    return bucket, unquote(path), f"/{path}"
