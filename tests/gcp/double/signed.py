"""V4 signed URLs, as Cloud Storage checks them: one request, as the account that signed it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from tests.gcp.double.checks import Check
from tests.gcp.double.door import Asked, Refused, World
from tests.gcp.double.tokens import HOUR, PLATFORM, Holder

SIGNATURE: Final = "X-Goog-Signature"

_FIELDS: Final = {
    "X-Goog-Algorithm",
    "X-Goog-Credential",
    "X-Goog-Date",
    "X-Goog-Expires",
    "X-Goog-SignedHeaders",
    SIGNATURE,
}
_LONGEST: Final = timedelta(days=7)


def owner_by_url(world: World, asked: Asked) -> Holder:
    """The account's own holder, for a request whose URL it signed."""
    if set(asked.query) != _FIELDS or "authorization" in asked.headers:
        raise _no("The URL has other fields.")
    account, _, scope = asked.query["X-Goog-Credential"].partition("/")
    at = datetime.strptime(asked.query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    life = timedelta(seconds=int(asked.query["X-Goog-Expires"]))
    known = account == world.tokens.email and scope == f"{at:%Y%m%d}/auto/storage/goog4_request"
    if not known or asked.query["X-Goog-Algorithm"] != "GOOG4-RSA-SHA256":
        raise _no("The URL is of another account, or signed in another way.")
    if world.checks(Check.SIGNED_URL):
        _check_signature(world, asked, scope)
    now = world.tokens.clock()
    if not at - timedelta(minutes=15) <= now < at + life or life > _LONGEST:
        raise Refused(400, "ExpiredToken", "The provided token has expired.")
    return Holder(now + HOUR, frozenset({PLATFORM}))


def _check_signature(world: World, asked: Asked, scope: str) -> None:
    fields = {n: v for n, v in asked.query.items() if n != SIGNATURE}
    query = "&".join(f"{n}={quote(fields[n], safe='~')}" for n in sorted(fields))
    host = asked.headers["host"]
    canonical = f"{asked.method}\n{asked.path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"GOOG4-RSA-SHA256\n{asked.query['X-Goog-Date']}\n{scope}\n{digest}"
    try:
        signature = bytes.fromhex(asked.query[SIGNATURE])
        world.tokens.public_key.verify(signature, text.encode(), PKCS1v15(), hashes.SHA256())
    except (ValueError, InvalidSignature):
        raise _no("The request signature does not match.") from None


def _no(text: str) -> Refused:
    return Refused(403, "SignatureDoesNotMatch", text)
