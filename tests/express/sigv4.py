"""Verifies Signature Version 4: the signer of the raw client, run the other way round."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

from tests.express.http_front import Request
from tests.isolation.wire import Keys, authorization, signing_key

MAX_SKEW: Final = timedelta(minutes=15)
STREAMED: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_HEADER: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]+)\r\n")


class Rejected(Exception):
    """An answer that is an error: status, code and words."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message or code


@dataclass(frozen=True, slots=True)
class Rules:
    """What is checked; ``holds`` says of a check by its name whether it is on."""

    region: str
    clock: Callable[[], datetime]
    holds: Callable[[str], bool]


def access_key(request: Request) -> str:
    """The access key's id that a request names."""
    return _parsed(request)[1]


def verify(request: Request, keys: Keys, services: frozenset[str], rules: Rules) -> bytes:
    """The body of a request that these keys have signed.

    Raises:
        Rejected: they have not, or the request is not whole, or is old.
    """
    match = _parsed(request)
    day, region, service, names, signature = (match[index] for index in range(2, 7))
    if region != rules.region or service not in services:
        raise Rejected(400, "AuthorizationHeaderMalformed", f"{service} in {region}")
    signed = names.split(";")
    _check_names(request, signed, rules)
    stamp = request.headers.get("x-amz-date", "")
    _check_time(stamp, day, rules)
    headers = {name: request.headers.get(name, "") for name in signed}
    wanted = _signature(request, keys, headers, signed, region=region, service=service)
    if rules.holds("signature") and not hmac.compare_digest(wanted, signature):
        raise Rejected(403, "SignatureDoesNotMatch")
    return _body(request, rules)


def _parsed(request: Request) -> re.Match[str]:
    match = _HEADER.fullmatch(request.headers.get("authorization", ""))
    if match is None:
        raise Rejected(403, "AccessDenied", "not signed")
    return match


def _check_names(request: Request, signed: list[str], rules: Rules) -> None:
    needed = {"host", *(name for name in request.headers if name.startswith("x-amz-"))}
    if rules.holds("signed headers") and needed - set(signed):
        raise Rejected(403, "AccessDenied", f"not signed: {sorted(needed - set(signed))}")


def _check_time(stamp: str, day: str, rules: Rules) -> None:
    try:
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Rejected(403, "AccessDenied", "no date") from None
    if stamp[:8] != day or abs(rules.clock() - at) > MAX_SKEW:
        raise Rejected(403, "RequestTimeTooSkewed")


def _signature(
    request: Request,
    keys: Keys,
    headers: dict[str, str],
    signed: list[str],
    *,
    region: str,
    service: str,
) -> str:
    # STS and other services than S3 sign the digest of the body without naming it in a header.
    if "x-amz-content-sha256" in signed:
        text = authorization(
            keys, request.method, _canonical(request), headers, region=region, service=service
        )
        return text.rpartition("=")[2]
    query = _canonical(request).partition("?")[2]
    lines = [f"{name}:{' '.join(headers[name].split())}" for name in sorted(signed)]
    digest = hashlib.sha256(request.body).hexdigest()
    canonical = "\n".join(
        (request.method, request.path, query, *lines, "", ";".join(sorted(signed)), digest)
    )
    stamp = headers["x-amz-date"]
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashed)).encode()
    key = signing_key(keys.secret, stamp[:8], region, service)
    return hmac.digest(key, to_sign, "sha256").hex()


def _canonical(request: Request) -> str:
    """The target as it is signed: the path as it was sent, the query encoded anew and sorted.

    obstore sends ``%7E`` and signs ``~``, as the specification has it.
    """
    pairs = (part.partition("=") for part in request.query.split("&") if part)
    fields = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    query = "&".join(f"{name}={value}" for name, value in fields)
    return f"{request.path}?{query}" if query else request.path


def _encoded(text: str) -> str:
    return quote(unquote(text.replace("+", " ")), safe="~")


def _body(request: Request, rules: Rules) -> bytes:
    said = request.headers.get("x-amz-content-sha256")
    if said is None or said == hashlib.sha256(request.body).hexdigest():
        return _sound(request, request.body)
    if said == "UNSIGNED-PAYLOAD" and request.secure:
        return _sound(request, request.body)
    if said == STREAMED and request.secure:
        return _sound(request, _unchunked(request.body))
    if rules.holds("body digest"):
        raise Rejected(400, "XAmzContentSHA256Mismatch")
    return request.body


def _sound(request: Request, body: bytes) -> bytes:
    digest = request.headers.get("content-md5")
    if digest is not None:
        found = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        if found != digest:
            raise Rejected(400, "BadDigest")
    return body


def _unchunked(data: bytes) -> bytes:
    """The body in aws-chunked encoding, whose trailer is left out."""
    body, at = b"", 0
    while match := _CHUNK.match(data, at):
        size = int(match[1], 16)
        if not size:
            return body
        body += data[match.end() : match.end() + size]
        at = match.end() + size + 2
    raise Rejected(400, "IncompleteBody")
