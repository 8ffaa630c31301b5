"""Google Cloud: how many requests to its token endpoints a credential costs."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from typing import Final

import httpx

from bench.context import Context
from bench.figures import Figure, count
from ringfence.config import Buckets, GcpSettings
from ringfence.providers.gcp.provider import GcpProvider
from ringfence.scope import Scope, grants
from ringfence.secret import Secret
from ringfence.vending import Vendor

CALLERS: Final = 100
SCOPES: Final = 50

_HOUR: Final = 3600
_WHERE: Final = "https://google.invalid"


def run(context: Context) -> Iterator[Figure]:
    """The figures of Google Cloud. No network: what is counted is what would be asked."""
    google = _Google()
    settings = GcpSettings("bench-project", Secret(_account()), _WHERE, _WHERE)
    buckets = Buckets("bench-meta", "bench-content", "bench-logs")
    provider = GcpProvider(settings, buckets, transport=google)
    vendor = Vendor(provider)
    wanted = grants(Scope("bench", "user", "run"))

    async def all_at_once() -> None:
        await asyncio.gather(*(vendor.vend(wanted, session="b") for _ in range(CALLERS)))

    async def one_after_another() -> None:
        for number in range(context.times(SCOPES)):
            await vendor.vend(grants(Scope("bench", f"user-{number}", "run")), session="b")

    asyncio.run(all_at_once())
    name = f"token exchanges a downscoped token, for {CALLERS} callers at once"
    yield count("gcp.exchanges", name, google.asked["/v1/token"])
    google.asked.clear()
    asyncio.run(all_at_once())
    yield count("gcp.cached", "requests for tokens in the cache", google.asked.total())
    asyncio.run(one_after_another())
    each = google.asked["/v1/token"] / context.times(SCOPES)
    yield count("gcp.exchanges.many", "token exchanges a downscoped token, for many scopes", each)
    rest = google.asked.total() - google.asked["/v1/token"]
    yield count("gcp.others.many", "other requests, once there is a source token", rest)
    vendor.close()
    provider.close()


class _Google(httpx.BaseTransport):
    """Answers as Google's token endpoints and a bucket do, and counts by path."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        path = request.url.path
        self.asked[path] += 1
        if path.startswith("/storage/"):
            access = {"uniformBucketLevelAccess": {"enabled": True}}
            return httpx.Response(200, json={"iamConfiguration": access})
        kind = "source" if path == "/token" else "downscoped"
        return httpx.Response(200, json={"access_token": kind, "expires_in": _HOUR})


def _account() -> str:
    """The JSON of a service account with a fresh key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "bench-project",
            "private_key": pem.decode(),
            "client_email": "bench@bench-project.iam.gserviceaccount.com",
            "token_uri": f"{_WHERE}/token",
        }
    )
