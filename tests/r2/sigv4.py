"""Verifies Signature Version 4, in headers and in the query of a URL, and reads bodies by it.

Written from *Signature Version 4* in the IAM User Guide, apart from any signer here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from tests.r2.checks import Check
from tests.r2.http1 import Request

MAX_SKEW: Final = timedelta(minutes=15)
MAX_URL_SECONDS: Final = 604_800
REGIONS: Final = frozenset({"auto", "us-east-1", ""})
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]*)/([^/,\s]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;_-]+), ?Signature=([0-9a-f]{64})"
)
_CREDENTIAL: Final = re.compile(r"([^/,\s]+)/(\d{8})/([^/,\s]*)/([^/,\s]+)/aws4_request")
_IN_QUERY: Final = frozenset(
    {
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
        "X-Amz-Content-Sha256",
    }
)


class Refused(Exception):
    """What the double answers in place of the engine: an S3 error code and a status."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


Off = Callable[[Check], bool]
"""Whether a check is switched off."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a request says to be, and the signature that is to prove it."""

    access_key: str
    token: str | None = field(repr=False)
    scope: str
    signed: tuple[str, ...]
    signature: str = field(repr=False)
    date: datetime
    presigned: bool
    payload: str
    fields: tuple[tuple[str, str], ...] = field(repr=False)
    """The query, decoded, without the parts of the signature."""


def decoded(text: str) -> str:
    """One percent-decoding, strictly."""
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise Refused(400, "InvalidURI", "a percent sign without two digits")
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Refused(400, "InvalidURI", "that is no UTF-8") from None


def encoded(text: str, safe: str = "-_.~") -> str:
    """Percent-encoded as SigV4 asks for."""
    return quote(text, safe=safe)


def path_of(request: Request) -> str:
    """The decoded path."""
    return decoded(request.path)


def read_claim(request: Request, now: datetime, off: Off) -> Claim:
    """Who a request says to be.

    Raises:
        Refused: it says nothing, or what it says cannot be meant.
    """
    query = _fields(request.query)
    header = request.header("authorization")
    in_query = any(name in _IN_QUERY for name, _ in query)
    if header is not None and in_query:
        raise Refused(400, "InvalidArgument", "only one way of signing at a time")
    if header is not None:
        claim = _from_header(request, header, query)
    elif in_query:
        claim = _from_query(request, dict(query), query)
        _check_life(claim, dict(query), now, off)
    else:
        raise Refused(401, "Unauthorized", "the request is not signed")
    day, region, service = claim.scope.split("/")[:3]
    if day != claim.date.strftime("%Y%m%d") or region not in REGIONS or service != "s3":
        raise Refused(403, "SignatureDoesNotMatch", "the scope of the signature is another")
    if not claim.presigned and abs(now - claim.date) > MAX_SKEW and not off(Check.DATE):
        raise Refused(403, "RequestTimeTooSkewed", "the date of the request is too far from now")
    return claim


def _fields(query: str) -> tuple[tuple[str, str], ...]:
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    fields = tuple((decoded(name), decoded(value)) for name, value in pairs)
    names = [name for name, _ in fields]
    if len(set(names)) != len(names):
        raise Refused(400, "InvalidArgument", "a parameter is there twice")
    return fields


def _from_header(request: Request, header: str, query: tuple[tuple[str, str], ...]) -> Claim:
    match = _AUTHORIZATION.fullmatch(header)
    payload = request.header("x-amz-content-sha256")
    if match is None or payload is None:
        raise Refused(401, "Unauthorized", "the Authorization header cannot be read")
    key, day, region, service, signed, signature = match.groups()
    return Claim(
        key,
        request.header("x-amz-security-token"),
        f"{day}/{region}/{service}/aws4_request",
        tuple(signed.split(";")),
        signature,
        _date(request.header("x-amz-date")),
        False,
        payload,
        query,
    )


def _from_query(
    request: Request, given: dict[str, str], query: tuple[tuple[str, str], ...]
) -> Claim:
    match = _CREDENTIAL.fullmatch(given.get("X-Amz-Credential", ""))
    if match is None or given.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        raise Refused(401, "Unauthorized", "the signature in the URL cannot be read")
    if request.header("x-amz-security-token") is not None:
        raise Refused(400, "InvalidArgument", "a token beside the one of the URL")
    key, day, region, service = match.groups()
    return Claim(
        key,
        given.get("X-Amz-Security-Token"),
        f"{day}/{region}/{service}/aws4_request",
        tuple(given.get("X-Amz-SignedHeaders", "").split(";")),
        given.get("X-Amz-Signature", ""),
        _date(given.get("X-Amz-Date")),
        True,
        given.get("X-Amz-Content-Sha256", UNSIGNED),
        tuple((name, value) for name, value in query if name not in _IN_QUERY),
    )


def _check_life(claim: Claim, given: dict[str, str], now: datetime, off: Off) -> None:
    seconds = given.get("X-Amz-Expires", "")
    if not seconds.isdecimal() or not 1 <= int(seconds) <= MAX_URL_SECONDS:
        raise Refused(400, "AuthorizationQueryParametersError", "1 to 604800 seconds")
    over = now >= claim.date + timedelta(seconds=int(seconds)) or now < claim.date - MAX_SKEW
    if over and not off(Check.URL_LIFE):
        raise Refused(400, "ExpiredRequest", "the URL is not good now")


def _date(text: str | None) -> datetime:
    try:
        return datetime.strptime(text or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused(403, "AccessDenied", "the date of the request cannot be read") from None


def check_signature(request: Request, claim: Claim, secret: str, off: Off) -> None:
    """Holds the signature against the request.

    Raises:
        Refused: it is another's, or leaves out what must be signed.
    """
    must = {"host", *(name for name, _ in request.headers if name.startswith("x-amz-"))}
    if not must <= set(claim.signed) and not off(Check.SIGNED_HEADERS):
        missing = ", ".join(sorted(must - set(claim.signed)))
        raise Refused(403, "AccessDenied", f"headers that were not signed: {missing}")
    if not hmac.compare_digest(_signature(request, claim, secret), claim.signature) and not off(
        Check.SIGNATURE
    ):
        raise Refused(403, "SignatureDoesNotMatch", "the signature is another's")


def _signature(request: Request, claim: Claim, secret: str) -> str:
    pairs = _fields(request.query)
    query = "&".join(
        f"{name}={value}"
        for name, value in sorted(
            (encoded(name), encoded(value)) for name, value in pairs if name != "X-Amz-Signature"
        )
    )
    headers = "".join(
        f"{name}:{' '.join((request.header(name) or '').split())}\n" for name in claim.signed
    )
    canonical = "\n".join(
        (
            request.method,
            encoded(path_of(request), "/-_.~"),
            query,
            headers,
            ";".join(claim.signed),
            claim.payload,
        )
    )
    stamp = claim.date.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, claim.scope, digest))
    key = f"AWS4{secret}".encode()
    for part in claim.scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


# --- bodies ------------------------------------------------------------------------------


def read_payload(request: Request, claim: Claim, off: Off, *, tls: bool) -> bytes:
    """The object's bytes, held against the digest that was signed.

    Raises:
        Refused: they are others, or come in a way that is not known here.
    """
    body = request.body
    if claim.payload == TRAILER:
        if not tls:
            raise Refused(400, "InvalidRequest", "unsigned chunks need TLS")
        return _from_chunks(request)
    if "aws-chunked" in (request.header("content-encoding") or ""):
        raise Refused(400, "InvalidRequest", "chunks that the signature does not know of")
    if claim.payload == UNSIGNED:
        return body
    if not re.fullmatch(r"[0-9a-f]{64}", claim.payload):
        raise Refused(501, "NotImplemented", f"bodies as {claim.payload[:60]}")
    if hashlib.sha256(body).hexdigest() != claim.payload and not off(Check.PAYLOAD):
        raise Refused(400, "XAmzContentSHA256Mismatch", "the body is another")
    return body


def _from_chunks(request: Request) -> bytes:
    if "aws-chunked" not in (request.header("content-encoding") or ""):
        raise Refused(400, "InvalidRequest", "no chunks")
    data, rest = bytearray(), request.body
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size):
            raise Refused(400, "InvalidRequest", "that is no chunk")
        count = int(size, 16)
        if count == 0:
            break
        data += rest[:count]
        if rest[count : count + 2] != b"\r\n":
            raise Refused(400, "IncompleteBody", "a chunk has no end")
        rest = rest[count + 2 :]
    if request.header("x-amz-decoded-content-length") != str(len(data)):
        raise Refused(400, "IncompleteBody", "the chunks are not as long as they should be")
    _check_trailer(request, bytes(data), rest)
    return bytes(data)


_SUMS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "x-amz-checksum-crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "x-amz-checksum-sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "x-amz-checksum-sha256": lambda data: hashlib.sha256(data).digest(),
}


def _check_trailer(request: Request, data: bytes, trailer: bytes) -> None:
    name, _, value = trailer.decode("latin-1").strip().partition(":")
    if name != request.header("x-amz-trailer"):
        raise Refused(400, "MalformedTrailerError", "another trailer than was announced")
    check_sum(name, value, data)


def check_sum(name: str, value: str, data: bytes) -> None:
    """Holds a checksum against the body."""
    if name not in _SUMS:
        raise Refused(501, "NotImplemented", f"the checksum {name}")
    if b64encode(_SUMS[name](data)).decode() != value:
        raise Refused(400, "BadDigest", "the checksum is another's")
