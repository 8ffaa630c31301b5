"""R2 credentials signed here: an HS256 JWT under the parent's secret, and no network.

Source: Cloudflare's R2 documentation, *Temporary credentials*, "Locally (client-side signing)", and
its example *Authenticate against R2 with temporary credentials*. The session token is
``base64("jwt/" + JWT)`` and the secret key the SHA-256 of the JWT in hexadecimal, so whoever sees
the token has the secret: no URL is ever presigned with it.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

from ringfence.providers.base import Credential
from ringfence.providers.r2.fence import R2Fence
from ringfence.secret import Secret

LANGUAGE: Final = "Cloudflare R2 session token, signed here"

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


def audience(endpoint: str) -> str:
    """The endpoint's host, with its port where that is not the scheme's own.

    It names the jurisdiction too, as buckets of one answer at its endpoint alone.
    """
    parts = urlsplit(endpoint)
    default = _DEFAULT_PORTS.get(parts.scheme)
    return parts.netloc.removesuffix(f":{default}") if parts.port == default else parts.netloc


def _encode(data: bytes) -> bytes:
    """Base64 for URLs without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=")


_HEADER: Final = _encode(b'{"alg":"HS256","typ":"JWT"}')


@dataclass(frozen=True, slots=True)
class LocalSigner:
    """Signs with the parent's secret. Thread-safe; takes some microseconds.

    ``account`` is the Cloudflare account of the buckets and the token's subject; ``host`` is its
    audience.
    """

    access_key_id: str
    secret_access_key: Secret
    account: str
    host: str
    ttl: timedelta

    def claims(self, fence: R2Fence) -> dict[str, Any]:
        """What a token says of a fence, but for its times.

        It names its operations and no ``scope``: a category beside them could only widen them.
        """
        return {
            "bucket": fence.bucket,
            "actions": fence.operations,
            "paths": {"prefixPaths": [*fence.prefixes], "objectPaths": []},
            "sub": self.account,
            "iss": self.access_key_id,
            "aud": self.host,
        }

    def sign(self, fence: R2Fence, now: datetime) -> Credential:
        """The credential of a fence, good from now for the signer's time to live.

        Its times are whole seconds, as the token's: it is never taken for longer than it is good.
        """
        begins = int(now.timestamp())
        ends = begins + int(self.ttl.total_seconds())
        claims = {**self.claims(fence), "iat": begins, "exp": ends}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        signed = b".".join((_HEADER, _encode(payload)))
        key = self.secret_access_key.reveal().encode()
        jwt = b".".join((signed, _encode(hmac.digest(key, signed, "sha256"))))
        fields = {
            "access_key_id": Secret(self.access_key_id),
            "secret_access_key": Secret(sha256(jwt).hexdigest()),
            "token": Secret(b64encode(b"jwt/" + jwt).decode()),
        }
        expires_at = datetime.fromtimestamp(ends, UTC)
        return Credential(fence.grants, fields, now, expires_at, fence.exactly)
