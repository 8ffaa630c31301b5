"""R2: how fast credentials are signed here, and how many calls the API path makes."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Final

import httpx

from bench.context import Context
from bench.figures import Figure, Unit, count
from bench.measure import Spread, interleave, without_collections
from ringfence.config import Buckets, R2Mint, R2Settings
from ringfence.providers.r2.provider import R2Provider
from ringfence.scope import Grants, Scope, grants
from ringfence.secret import Secret
from ringfence.vending import Vendor

A_ROUND: Final = 8_000
CALLERS: Final = 100

_ACCOUNT: Final = "0123456789abcdef0123456789abcdef"
_BUCKETS: Final = Buckets("bench-meta", "bench-content", "bench-logs")
_SETTINGS: Final = R2Settings(
    "fedcba9876543210fedcba9876543210",
    Secret("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
    f"https://{_ACCOUNT}.r2.cloudflarestorage.com",
    account_id=_ACCOUNT,
    api_token=Secret("token"),
)


def run(context: Context) -> Iterator[Figure]:
    """The figures of R2. No network: what is measured is this side of it."""
    yield _signing(context)
    yield from _calls()


def _signing(context: Context) -> Figure:
    """Credentials for scopes that nobody asked for before, each for other prefixes."""
    provider = R2Provider(_SETTINGS, _BUCKETS, credential_ttl=timedelta(hours=1))
    number = itertools.count()
    times = context.times(A_ROUND)

    def scopes() -> list[Grants]:
        return [grants(Scope("bench", f"user-{next(number):06d}", "run")) for _ in range(times)]

    def measure() -> float:
        wanted = scopes()
        with without_collections():
            began = time.perf_counter()
            made = sum(len(provider.issue(each, session="bench")) for each in wanted)
            return made / (time.perf_counter() - began)

    values = interleave({"signed": measure}, context.rounds(10, 10))["signed"]
    return Figure(
        id="r2.signing",
        name="R2 credentials signed here, on one core",
        unit=Unit.PER_SECOND,
        ours=Spread.of(values),
        rounds=len(values),
    )


class _Api(httpx.BaseTransport):
    """Answers as Cloudflare's API does, and counts."""

    def __init__(self) -> None:
        self.requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One call."""
        del request
        self.requests += 1
        result = {"accessKeyId": "id", "secretAccessKey": "secret", "sessionToken": "token"}
        body = {"success": True, "errors": [], "messages": [], "result": result}
        return httpx.Response(200, content=json.dumps(body).encode())


def _calls() -> Iterator[Figure]:
    """Callers that ask for one scope, which needs two credentials; and then all of them again."""
    api = _Api()
    settings = replace(_SETTINGS, mint=R2Mint.API)
    provider = R2Provider(settings, _BUCKETS, credential_ttl=timedelta(hours=1), transport=api)
    vendor = Vendor(provider)
    wanted = grants(Scope("bench", "user", "run"))

    async def all_at_once() -> int:
        vended = await asyncio.gather(*(vendor.vend(wanted, session="b") for _ in range(CALLERS)))
        return len(vended[0])

    credentials = asyncio.run(all_at_once())
    first = api.requests
    asyncio.run(all_at_once())
    vendor.close()
    provider.close()
    name = f"calls to Cloudflare's API a credential, for {CALLERS} callers at once"
    yield count("r2.api.calls", name, first / credentials)
    name = "calls to Cloudflare's API for credentials in the cache"
    yield count("r2.api.cached", name, api.requests - first)
