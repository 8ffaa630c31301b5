"""What each operation costs in round trips, counted before a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ringfence.runs import Complete, Heartbeat, Start, apply
from ringfence.state.record import RunStatus
from ringfence.state.redis import RedisStateStore
from ringfence.testing.state import new_record
from tests.state.redis.conftest import OpenStore
from tests.state.redis.proxy import Proxy, before
from tests.state.redis.servers import Valkey

pytestmark = pytest.mark.redis


@pytest.fixture
async def proxy(valkey: Valkey) -> AsyncIterator[Proxy]:
    async with before(valkey.port) as proxy:
        yield proxy


@pytest.fixture
async def store(proxy: Proxy, open_store: OpenStore) -> RedisStateStore:
    """Both of its connections are open: the shared one, and one for large answers."""
    store = open_store(proxy.url)
    record = await store.create(new_record())
    await store.events(record.id)
    return store


async def round_trips(proxy: Proxy, work: Awaitable[object]) -> int:
    proxy.forget()
    await work
    return proxy.round_trips


async def test_a_life(store: RedisStateStore, proxy: Proxy) -> None:
    record = new_record(at=datetime.now(UTC))
    assert await round_trips(proxy, store.create(record)) == 1
    assert await round_trips(proxy, store.create(record)) <= 2, "the same again"
    started = apply(record, Start(), datetime.now(UTC))
    assert await round_trips(proxy, store.replace(started, expected_version=1)) == 1
    assert await round_trips(proxy, store.append(record.id, ["a", "b"])) == 1
    assert await round_trips(proxy, store.append(record.id, list(range(1000)), batch="b")) == 1
    assert await round_trips(proxy, store.events(record.id, limit=1000)) == 1
    assert await round_trips(proxy, store.acknowledge(record.id, "c", 2)) == 1
    assert await round_trips(proxy, store.acknowledged(record.id, "c")) == 1
    assert await round_trips(proxy, store.get(record.id)) == 1
    ended = apply(started, Complete(0), datetime.now(UTC))
    assert await round_trips(proxy, store.replace(ended, expected_version=2)) == 1


async def test_an_end_that_expires(store: RedisStateStore, proxy: Proxy) -> None:
    record = replace(new_record(at=datetime.now(UTC)), ttl_seconds=60)
    await store.create(record)
    started = apply(record, Start(), datetime.now(UTC))
    assert await round_trips(proxy, store.replace(started, expected_version=1)) == 1
    ended = apply(started, Complete(0), datetime.now(UTC))
    assert await round_trips(proxy, store.replace(ended, expected_version=2)) == 2


@pytest.mark.parametrize("runs", [100, 101, 350])
async def test_a_page_costs_the_same_among_any_number(
    store: RedisStateStore, proxy: Proxy, runs: int
) -> None:
    app = f"app{runs}"
    records = [new_record(app, at=datetime.now(UTC)) for _ in range(runs)]
    await asyncio.gather(*map(store.create, records))
    assert await round_trips(proxy, store.list(app, limit=100)) == 2
    newest = (await store.list(app, limit=100)).records
    assert list(newest) == sorted(records, key=lambda r: r.created_at, reverse=True)[:100]


async def test_a_filter_that_matches_little_is_bounded_work(
    store: RedisStateStore, proxy: Proxy
) -> None:
    records = [new_record("app", at=datetime.now(UTC)) for _ in range(1205)]
    await asyncio.gather(*map(store.create, records))
    oldest = records[0]
    await store.replace(apply(oldest, Start(), datetime.now(UTC)), expected_version=1)
    proxy.forget()
    first = await store.list("app", status=RunStatus.RUNNING, limit=10)
    assert (first.records, bool(first.cursor)) == ((), True)
    assert proxy.round_trips <= 20
    assert proxy.sent.count(b"HGET") == 1000
    rest = await store.list("app", status=RunStatus.RUNNING, limit=10, cursor=first.cursor)
    assert [record.id for record in rest.records] == [oldest.id]
    assert rest.cursor is None


async def test_sweeps(store: RedisStateStore, proxy: Proxy) -> None:
    now = datetime.now(UTC)
    assert await round_trips(proxy, store.abandoned(now)) == 4
    assert await round_trips(proxy, store.purge()) == 1


async def test_calls_at_once_share_packets(store: RedisStateStore, proxy: Proxy) -> None:
    """Which is what makes many of them cheap."""
    runs = [await store.create(new_record(at=datetime.now(UTC))) for _ in range(32)]
    work = asyncio.gather(
        *(store.replace(apply(run, Start(), datetime.now(UTC)), expected_version=1) for run in runs)
    )
    assert await round_trips(proxy, work) <= 4
    assert proxy.sent.count(b"EVALSHA") == 32


async def test_connections_are_few(proxy: Proxy, open_store: OpenStore) -> None:
    store = open_store(proxy.url, most_connections=3)
    record = await store.create(new_record(at=datetime.now(UTC)))
    await store.append(record.id, ["x"] * 100)
    await asyncio.gather(*(store.events(record.id) for _ in range(50)))
    changed = await store.replace(apply(record, Start(), record.created_at), expected_version=1)
    beats = apply(changed, Heartbeat(), record.created_at)
    await store.replace(beats, expected_version=2)
    await asyncio.gather(*(store.get(record.id) for _ in range(50)))
    assert proxy.connections <= 1 + 1 + 3, "to look, to share, and three"


async def test_first_use_is_once_for_all(proxy: Proxy, open_store: OpenStore) -> None:
    store = open_store(proxy.url)
    assert proxy.connections == 0, "opening costs nothing"
    await asyncio.gather(*(store.create(new_record()) for _ in range(20)))
    assert proxy.sent.count(b"$4\r\nINFO\r\n") == 1
