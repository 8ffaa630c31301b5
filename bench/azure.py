"""Azure: how fast SAS are signed here, and how many requests user delegation makes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx

from bench.context import Context
from bench.figures import Figure, Unit, count
from bench.measure import Spread, interleave, without_collections
from ringfence.config import AzureSettings, Buckets
from ringfence.providers.azure.keys import Token
from ringfence.providers.azure.provider import AzureProvider
from ringfence.scope import Grants, Scope, grants
from ringfence.secret import Secret

A_ROUND: Final = 1_000

_ACCOUNT: Final = "benchaccount"
_BUCKETS: Final = Buckets("bench-meta", "bench-content", "bench-logs")
# Of no account: 64 times "k".
_KEY: Final = (
    "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw=="
)


def run(context: Context) -> Iterator[Figure]:
    """The figures of Azure. No network: what is measured is this side of it."""
    account = _Account()
    yield _signing(context, "azure.signing.key", "the account's key", _by_key())
    yield _signing(context, "azure.signing.delegated", "a delegation key", _by_principal(account))
    name = "requests for a delegation key, for every SAS of these"
    yield count("azure.delegation-keys", name, account.requests)


def _by_key() -> AzureProvider:
    settings = AzureSettings(_ACCOUNT, Secret(_KEY))
    return AzureProvider(settings, _BUCKETS, credential_ttl=timedelta(hours=1), fence=lambda: None)


def _by_principal(account: _Account) -> AzureProvider:
    return AzureProvider(
        AzureSettings(_ACCOUNT),
        _BUCKETS,
        credential_ttl=timedelta(hours=1),
        fence=lambda: None,
        transport=account,
        tokens=lambda: Token("token", datetime.now(UTC) + timedelta(hours=1)),
    )


def _signing(context: Context, id_: str, by: str, provider: AzureProvider) -> Figure:
    """SAS for scopes that nobody asked for before: one for each of four areas."""
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
    provider.close()
    return Figure(
        id=id_,
        name=f"Azure SAS signed here with {by}, on one core",
        unit=Unit.PER_SECOND,
        ours=Spread.of(values),
        rounds=len(values),
    )


class _Account(httpx.BaseTransport):
    """Gives user delegation keys as an account does, and counts."""

    def __init__(self) -> None:
        self.requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One key."""
        del request
        self.requests += 1
        start = datetime.now(UTC)
        parts = {
            "SignedOid": "00000000-0000-4000-8000-000000000001",
            "SignedTid": "00000000-0000-4000-8000-000000000002",
            "SignedStart": f"{start:%Y-%m-%dT%H:%M:%SZ}",
            "SignedExpiry": f"{start + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
            "SignedService": "b",
            "SignedVersion": "2024-11-04",
            "Value": _KEY,
        }
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
        return httpx.Response(200, text=f"<UserDelegationKey>{inner}</UserDelegationKey>")
