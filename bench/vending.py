"""Vending: from the cache, afresh, and for many callers at once."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from bench.context import Context
from bench.figures import Figure, Unit, compared, count
from bench.measure import Spread, interleave, without_collections
from bench.peers.assume_role import RoleAssumer
from ringfence.config import AwsSettings
from ringfence.providers.aws.provider import AwsProvider
from ringfence.scope import Scope
from ringfence.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable

OURS: Final = "cold vends, 16 in flight"
PEER: Final = "boto3 assume_role, 16 threads"
IN_FLIGHT: Final = 16
A_ROUND: Final = 128
CACHED: Final = 20_000
CALLERS: Final = 100


class CountingTransport(httpx.HTTPTransport):
    """Counts the requests that really go out."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Counts and sends."""
        self.requests += 1
        return super().handle_request(request)


@dataclass(frozen=True, slots=True)
class _Bench:
    context: Context
    storage: Storage
    transport: CountingTransport
    runner: asyncio.Runner


def run(context: Context) -> Iterator[Figure]:
    """The figures of vending."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        transport = CountingTransport()
        storage = runner.run(_opened(context, transport))
        stack.callback(lambda: runner.run(storage.close()))
        bench = _Bench(context, storage, transport, runner)
        yield _single_flight(bench)
        yield _cached(bench)
        yield _cold(bench, stack)


async def _opened(context: Context, transport: httpx.BaseTransport) -> Storage:
    settings = context.settings
    cloud = settings.cloud
    assert isinstance(cloud, AwsSettings)
    provider = AwsProvider(
        cloud, settings.buckets, credential_ttl=settings.credential_ttl, transport=transport
    )
    return await Storage(settings, provider=provider).__aenter__()


def _single_flight(bench: _Bench) -> Figure:
    """Callers that ask for one scope at the same time."""
    scope = Scope("bench", "single-flight")

    async def all_at_once() -> None:
        await asyncio.gather(*(bench.storage.vend(scope) for _ in range(CALLERS)))

    bench.runner.run(all_at_once())
    name = f"calls to STS for {CALLERS} callers that ask for one scope at once"
    return count("vending.single-flight", name, bench.transport.requests)


def _cached(bench: _Bench) -> Figure:
    scope = Scope("bench", "cached")
    times = bench.context.times(CACHED)

    async def many() -> None:
        for _ in range(times):
            await bench.storage.vend(scope)

    def measure() -> float:
        with without_collections():
            began = time.perf_counter()
            bench.runner.run(many())
            return times / (time.perf_counter() - began)

    values = interleave({"cached": measure}, bench.context.rounds(10, 10))["cached"]
    return Figure(
        id="vending.cached",
        name="cached vends, 1 in flight",
        unit=Unit.PER_SECOND,
        ours=Spread.of(values),
        rounds=len(values),
    )


def _cold(bench: _Bench, stack: ExitStack) -> Figure:
    """Scopes that nobody asked for before: every vend is a call to STS."""
    assumer = RoleAssumer(bench.context.s3)
    stack.callback(assumer.close)
    threads = stack.enter_context(ThreadPoolExecutor(IN_FLIGHT))
    number = itertools.count()
    times = max(IN_FLIGHT, bench.context.times(A_ROUND))

    def scopes() -> list[Scope]:
        return [Scope("bench", f"user-{next(number):06d}") for _ in range(times)]

    async def vend(pending: Iterator[Scope]) -> None:
        for scope in pending:
            await bench.storage.vend(scope)

    async def vend_all(wanted: list[Scope]) -> None:
        pending = iter(wanted)
        await asyncio.gather(*(vend(pending) for _ in range(IN_FLIGHT)))

    def ours() -> float:
        wanted = scopes()
        return _rate(times, lambda: bench.runner.run(vend_all(wanted)))

    def theirs() -> float:
        # The same policies; what it takes to write them is left out.
        wanted = [bench.storage.explain(scope)[0].text for scope in scopes()]
        return _rate(times, lambda: list(threads.map(assumer.assume, wanted)))

    values = interleave({OURS: ours, PEER: theirs}, bench.context.rounds(15, 15))
    return compared("vending.cold", OURS, Unit.PER_SECOND, values, ours=OURS, peer=PEER)


def _rate(times: int, work: Callable[[], object]) -> float:
    with without_collections():
        began = time.perf_counter()
        work()
        return times / (time.perf_counter() - began)
