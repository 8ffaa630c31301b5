"""Round trips of the state stores' operations, counted on the wire: the same on every machine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tests.state.postgres import proxy as before_postgres
from tests.state.postgres.server import Server
from tests.state.redis import proxy as before_redis
from tests.state.redis.servers import Valkey

from bench.figures import Figure, count
from ringfence.runs import Start, apply
from ringfence.state.base import StateStore
from ringfence.testing.state import new_record

if TYPE_CHECKING:
    from ringfence.state.record import RunRecord

PAGE: Final = 100
_NAMES: Final = {
    "create": "to create a run",
    "change": "to change it",
    "append": "to append an event",
    "list": f"to list {PAGE} runs",
}


async def on_postgres(server: Server) -> list[Figure]:
    """What PostgreSQL is asked, once the statements are prepared."""
    from ringfence.state.postgres.store import PostgresStateStore

    async with before_postgres.before(server) as proxy:
        store = PostgresStateStore(proxy.url, pool_size=1)
        try:
            return await _counted("postgres", store, lambda: proxy.round_trips)
        finally:
            await store.close()


async def on_redis(server: Valkey) -> list[Figure]:
    """What Valkey is asked."""
    from ringfence.state.redis.store import RedisStateStore

    async with before_redis.before(server.port) as proxy:
        store = RedisStateStore(proxy.url)
        try:
            return await _counted("redis", store, lambda: proxy.round_trips)
        finally:
            await store.close()


async def _counted(name: str, store: StateStore, asked: Callable[[], int]) -> list[Figure]:
    app = f"trips-{datetime.now(UTC).timestamp()}"
    first = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(PAGE):
        await store.create(new_record(app, at=first + timedelta(seconds=number)))
    counts: dict[str, int] = {}
    for _ in range(2):  # the first time prepares
        record = new_record(app)
        for what, work in _operations(store, record).items():
            before = asked()
            await work()
            counts[what] = asked() - before
    return [
        count(f"state.{name}.trips.{what}", f"{name}: round trips {_NAMES[what]}", number)
        for what, number in counts.items()
    ]


def _operations(store: StateStore, record: RunRecord) -> dict[str, Callable[[], Awaitable[object]]]:
    started = apply(record, Start(), datetime.now(UTC))
    return {
        "create": lambda: store.create(record),
        "change": lambda: store.replace(started, expected_version=1),
        "append": lambda: store.append(record.id, [1]),
        "list": lambda: store.list(record.app_id, limit=PAGE),
    }
