"""Execution state: a run's life with ten events, and the newest page of an app's runs."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bench import round_trips
from bench.context import Context, NotMeasurable
from bench.figures import Figure, Unit, compared, count, is_decided
from bench.measure import interleave, without_collections
from bench.peers.run_records import EVENTS, OnAsyncpg, OnObstore, OnRedis
from bench.servers import Servers, servers
from ringfence.layout import BucketRole
from ringfence.runs import Complete, Start, apply
from ringfence.scope import AccessMode
from ringfence.secret import Secret
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.state.s3 import S3StateStore
from ringfence.storage import Storage, new_run_id

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Life = Callable[[str], Awaitable[None]]

OURS: Final = f"create, start, {EVENTS} events, finish, get"
ROUNDS: Final = (9, 25)
IN_FLIGHT: Final = ((1, 32), (32, 256))
"""Lives in flight, and lives in a round."""
S3_SHARE: Final = 4
"""On S3 this much fewer: a life takes longer there."""

FEW, MANY, PAGE = 1_000, 100_000, 100
TTL_SECONDS: Final = 30 * 86_400
DBOS_SECONDS: Final = 300


def run(context: Context) -> Iterator[Figure]:
    """The figures of the state stores."""
    with asyncio.Runner() as runner, ExitStack() as stack:
        at = stack.enter_context(servers())
        yield from _on_postgres(context, runner, at)
        yield from _on_redis(context, runner, at)
        yield from _on_s3(context, runner)


def _on_postgres(context: Context, runner: asyncio.Runner, at: Servers) -> Iterator[Figure]:
    import asyncpg

    from ringfence.state.postgres.store import PostgresStateStore

    store = PostgresStateStore(Secret(at.postgres.url()))
    pool: asyncpg.Pool[Any] = runner.run(_pool(at.postgres.url()))
    try:
        peer = OnAsyncpg(pool)
        runner.run(_execute(pool, OnAsyncpg.SCHEMA))
        yield from _lives(context, runner, "postgres", store, ("asyncpg by hand", peer.life))
        yield _beside_dbos(context, runner, store, at)
        yield from _pages(context, runner, "postgres", store)
        yield from runner.run(round_trips.on_postgres(at.postgres))
    finally:
        runner.run(store.close())
        runner.run(pool.close())


async def _pool(url: str) -> Any:
    import asyncpg

    return await asyncpg.create_pool(url, min_size=1, max_size=10)


async def _execute(pool: Any, sql: str) -> None:
    await pool.execute(sql)


def _on_redis(context: Context, runner: asyncio.Runner, at: Servers) -> Iterator[Figure]:
    import redis.asyncio

    from ringfence.state.redis.store import RedisStateStore

    store = RedisStateStore(at.valkey.url)
    client = redis.asyncio.Redis.from_url(at.valkey.url.reveal())
    try:
        peer = OnRedis(client)
        yield from _lives(
            context, runner, "redis", store, ("redis-py pipelines by hand", peer.life)
        )
        yield from _pages(context, runner, "redis", store)
        yield from runner.run(round_trips.on_redis(at.valkey))
    finally:
        runner.run(store.close())
        runner.run(client.aclose())


def _on_s3(context: Context, runner: asyncio.Runner) -> Iterator[Figure]:
    storage = runner.run(Storage(context.settings).__aenter__())
    try:
        bucket = storage.provider.open_bucket(BucketRole.META)
        peer = OnObstore(bucket, "execution/bench")
        yield from _lives(context, runner, "s3", storage.state, ("obstore by hand", peer.life))
        yield from _requests_of_pages(context, runner, bucket)
    finally:
        runner.run(storage.close())


# --- lives -----------------------------------------------------------------------------------


def _lives(
    context: Context, runner: asyncio.Runner, name: str, store: StateStore, peer: tuple[str, Life]
) -> Iterator[Figure]:
    peer_name, life = peer
    for in_flight, lives in IN_FLIGHT:
        times = context.times(lives // (S3_SHARE if name == "s3" else 1))
        figure_id = f"state.{name}.{in_flight}"

        def decided(so_far: dict[str, list[float]], figure_id: str = figure_id) -> bool:
            return is_decided(figure_id, so_far[OURS], so_far[peer_name])

        values = interleave(
            {
                OURS: _candidate(runner, _ours(store), in_flight, times),
                peer_name: _candidate(runner, life, in_flight, times),
            },
            context.rounds(*ROUNDS),
            enough=decided,
        )
        title = f"{name}: {OURS}, {in_flight} in flight"
        yield compared(figure_id, title, Unit.PER_SECOND, values, ours=OURS, peer=peer_name)


def _ours(store: StateStore) -> Life:
    async def life(run_id: str) -> None:
        record = await store.create(_record(run_id, datetime.now(UTC)))
        changed = apply(record, Start(), datetime.now(UTC))
        record = await store.replace(changed, expected_version=record.version)
        for number in range(EVENTS):
            await store.append(run_id, [{"n": number}])
        changed = apply(record, Complete(exit_code=0), datetime.now(UTC))
        await store.replace(changed, expected_version=record.version)
        await store.get(run_id)

    return life


_numbers = itertools.count()


def _candidate(
    runner: asyncio.Runner, life: Life, in_flight: int, times: int
) -> Callable[[], float]:
    def measure() -> float:
        prefix = new_run_id(datetime.now(UTC))
        ids = iter([f"{prefix}-{next(_numbers):06d}" for _ in range(times)])
        with without_collections():
            began = time.perf_counter()
            runner.run(_all(life, ids, in_flight))
            return times / (time.perf_counter() - began)

    return measure


async def _all(life: Life, ids: Iterator[str], in_flight: int) -> None:
    async def work() -> None:
        for run_id in ids:
            await life(run_id)

    await asyncio.gather(*(work() for _ in range(in_flight)))


def _beside_dbos(
    context: Context, runner: asyncio.Runner, store: StateStore, at: Servers
) -> Figure:
    in_flight, times = 32, context.times(256)
    peer = "DBOS"

    def dbos() -> float:
        arguments = (at.postgres.tcp_url(), str(in_flight), str(max(times // 8, 4)))
        command = [sys.executable, "-m", "bench.peers.dbos_life", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DBOS_SECONDS, check=False
        )
        if done.returncode:
            raise NotMeasurable(f"DBOS ended {done.returncode}: {done.stderr[-1000:]}")
        return float(done.stdout.split()[-1])

    values = interleave(
        {OURS: _candidate(runner, _ours(store), in_flight, times), peer: dbos},
        context.rounds(5, 9),
        enough=lambda so_far: is_decided("state.postgres.dbos", so_far[OURS], so_far[peer]),
    )
    title = f"postgres: {OURS}, {in_flight} in flight"
    return compared("state.postgres.dbos", title, Unit.PER_SECOND, values, ours=OURS, peer=peer)


# --- lists -----------------------------------------------------------------------------------


def _pages(
    context: Context, runner: asyncio.Runner, name: str, store: StateStore
) -> Iterator[Figure]:
    few, many = f"few-{name}", f"many-{name}"
    context.say(f"state: filling {name} with {context.times(MANY):,} runs")
    runner.run(_fill(store, few, context.times(FEW)))
    runner.run(_fill(store, many, context.times(MANY)))

    def page(app: str) -> Callable[[], float]:
        def measure() -> float:
            with without_collections():
                began = time.perf_counter()
                for _ in range(20):
                    assert len(runner.run(store.list(app, limit=PAGE)).records) > 0
                return (time.perf_counter() - began) / 20 * 1000

        return measure

    figure_id = f"state.{name}.page"
    values = interleave(
        {many: page(many), few: page(few)},
        context.rounds(11, 31),
        enough=lambda so_far: is_decided(figure_id, so_far[many], so_far[few]),
    )
    title = f"{name}: the newest {PAGE} of {MANY:,} runs"
    peer = f"of {FEW:,} runs"
    values = {title: values[many], peer: values[few]}
    yield compared(figure_id, title, Unit.MILLISECONDS, values, ours=title, peer=peer)


async def _fill(store: StateStore, app: str, runs: int) -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    numbers = iter(range(runs))

    async def work() -> None:
        for number in numbers:
            at = first + timedelta(seconds=number)
            await store.create(_record(f"{app}-{number:07d}", at, app=app))

    await asyncio.gather(*(work() for _ in range(64)))


def _requests_of_pages(
    context: Context, runner: asyncio.Runner, bucket: ObjectStore
) -> Iterator[Figure]:
    """On S3 a page is judged by its requests, which are the same on every machine."""
    from obstore.store import MemoryStore

    costs = []
    for runs in (FEW, MANY):
        inner = MemoryStore()
        filling = S3StateStore(inner, bucket="meta")
        runner.run(_fill(filling, "app", context.times(runs)))
        counting = _Counting(inner)
        store: Any = counting
        runner.run(S3StateStore(store, bucket="meta").list("app", limit=PAGE))
        costs.append(sum(counting.requests.values()))
    yield count("state.s3.page.few", f"s3: requests of the newest {PAGE} of {FEW:,} runs", costs[0])
    yield count(
        "state.s3.page.more",
        f"s3: requests of the newest {PAGE} of {MANY:,} runs, beyond those of {FEW:,}",
        costs[1] - costs[0],
    )


class _Counting:
    """A bucket that counts what it is asked."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.requests: Counter[str] = Counter()

    async def get_async(self, path: str) -> Any:
        self.requests["get"] += 1
        return await self._inner.get_async(path)

    async def list(self, prefix: str, **options: Any) -> Any:
        async for chunk in self._inner.list(prefix, **options):
            self.requests["list"] += 1
            yield chunk
            # What is behind is not asked for, as by the store that stops here.


def _record(run_id: str, at: datetime, *, app: str = "bench") -> RunRecord:
    return RunRecord(
        id=run_id,
        app_id=app,
        user_id="bench",
        mode=AccessMode.INVOKE_WRITE,
        status=RunStatus.PENDING,
        version=1,
        created_at=at,
        updated_at=at,
        ttl_seconds=TTL_SECONDS,
    )
