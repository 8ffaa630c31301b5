"""The pool: bounded, left clean by whoever is cancelled, and new after a break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ringfence.errors import StorageUnreachable
from ringfence.state.postgres.address import parse_address
from ringfence.state.postgres.connections import Connections
from ringfence.state.postgres.statements import Statement
from ringfence.testing.state import new_record
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.proxy import Proxy, before
from tests.state.postgres.server import Server
from tests.state.postgres.support import until

pytestmark = pytest.mark.postgres

ONE = Statement("SELECT 1")
HELD = Statement("SELECT pg_advisory_xact_lock_shared($1)")
MINE = Statement("SELECT pg_backend_pid()")
LOCK = 4_711


@pytest.fixture
async def proxy(postgres: Server) -> AsyncIterator[Proxy]:
    async with before(postgres) as proxy:
        yield proxy


@pytest.fixture
async def pool(proxy: Proxy) -> AsyncIterator[Connections]:
    """Two connections, through a proxy."""
    pool = Connections(parse_address(proxy.url), 2, turn_seconds=0.05)
    yield pool
    await pool.close()


async def _busy(database: asyncpg.Connection, count: int) -> None:
    """Returns when so many wait for the lock."""
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with asyncio.timeout(30):
        while await database.fetchval(waits) != count:
            pass


async def test_it_opens_no_more_than_it_may(pool: Connections, proxy: Proxy) -> None:
    pool._turn_seconds = 30
    pids = await asyncio.gather(*(pool.fetch(MINE, ()) for _ in range(50)))
    assert len({rows[0][0] for rows in pids}) == 2
    assert proxy.connections == 2
    assert (pool._held, len(pool._idle), len(pool._turns)) == (2, 2, 0)


async def test_waiting_for_a_turn_ends(pool: Connections, database: asyncpg.Connection) -> None:
    async with database.transaction():
        await database.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        held = [asyncio.create_task(pool.fetch(HELD, (LOCK,))) for _ in range(2)]
        await _busy(database, 2)
        told = await asyncio.gather(
            *(pool.fetch(ONE, ()) for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in told] == [StorageUnreachable] * 3
        assert "all 2 connections of this process were in use for 0.05 s." in str(told[0])
    await asyncio.gather(*held)
    assert (await pool.fetch(ONE, ()))[0][0] == 1


async def test_turns_are_taken_in_order(pool: Connections, database: asyncpg.Connection) -> None:
    pool._turn_seconds = 30
    order: list[int] = []

    async def ask(number: int) -> None:
        await pool.fetch(ONE, ())
        order.append(number)

    async with database.transaction():
        await database.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        held = [asyncio.create_task(pool.fetch(HELD, (LOCK,))) for _ in range(2)]
        await _busy(database, 2)
        tasks = [asyncio.create_task(ask(number)) for number in range(6)]
        await asyncio.sleep(0)
        tasks[1].cancel()
    await asyncio.gather(*held, *tasks, return_exceptions=True)
    assert sorted(order) == [0, 2, 3, 4, 5]
    assert (pool._held, len(pool._turns)) == (2, 0)


async def test_who_is_cancelled_leaves_nothing(
    pool: Connections, database: asyncpg.Connection, proxy: Proxy
) -> None:
    tasks = asyncio.all_tasks()
    async with database.transaction():
        await database.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        for _ in range(3):
            held = [asyncio.create_task(pool.fetch(HELD, (LOCK,))) for _ in range(2)]
            await _busy(database, 2)
            for task in held:
                task.cancel()
            told = await asyncio.gather(*held, return_exceptions=True)
            assert [type(answer) for answer in told] == [asyncio.CancelledError] * 2
            await _busy(database, 0)  # the server has given it up
            await asyncio.gather(*filter(None, pool._closing))
            assert (pool._held, len(pool._idle)) == (0, 0)
    assert (await pool.fetch(ONE, ()))[0][0] == 1
    # A connection in the proxy is three tasks.
    await until(lambda: len(proxy.open_now) == 1 and len(asyncio.all_tasks() - tasks) <= 3)


async def test_who_is_cancelled_with_the_turn_in_hand_passes_it_on(
    pool: Connections, database: asyncpg.Connection
) -> None:
    pool._turn_seconds = 30
    async with database.transaction():
        await database.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        held = [asyncio.create_task(pool.fetch(HELD, (LOCK,))) for _ in range(2)]
        await _busy(database, 2)
        first, second = (asyncio.create_task(pool.fetch(ONE, ())) for _ in range(2))
        await asyncio.sleep(0)
        for line in (None, None):  # two places are given up, and both are handed on
            pool._pass_on(line)
        first.cancel()
        assert (await second)[0][0] == 1
        with pytest.raises(asyncio.CancelledError):
            await first
    await asyncio.gather(*held)


@pytest.mark.parametrize("size", [1, 3])
async def test_cancelling_at_any_moment(open_store: OpenStore, size: int) -> None:
    store = open_store(pool_size=size)
    record = await store.create(new_record())
    pool = store._database._connections
    for turn in range(60):
        tasks = [asyncio.create_task(store.get(record.id)) for _ in range(6)]
        for _ in range(turn % 20):
            await asyncio.sleep(0)
        for task in tasks[turn % 3 :: 2]:
            task.cancel()
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(
            answer == record or isinstance(answer, asyncio.CancelledError) for answer in told
        )
        assert pool._held == len(pool._idle) + len(pool._closing) <= size
        assert not [turn for turn in pool._turns if not turn.line.done()]


async def test_a_connection_that_was_ended_is_replaced(pool: Connections, proxy: Proxy) -> None:
    await asyncio.gather(pool.fetch(ONE, ()), pool.fetch(ONE, ()))
    lines = list(pool._idle)
    proxy.break_all()
    await until(lambda: all(line.connection.is_closed() for line in lines))
    assert (await pool.fetch(ONE, ()))[0][0] == 1
    assert (pool._held, len(pool._idle)) == (1, 1)


async def test_the_table_may_change_under_a_prepared_statement(
    open_store: OpenStore, database: asyncpg.Connection, schema: str
) -> None:
    store = open_store(pool_size=1)
    record = await store.create(new_record())
    assert await store.get(record.id) == record
    await database.execute(f"ALTER TABLE {schema}.runs ALTER record TYPE varchar")
    assert await store.get(record.id) == record


async def test_closing_while_in_use(pool: Connections, proxy: Proxy) -> None:
    await pool.fetch(ONE, ())
    asking = asyncio.create_task(pool.fetch(ONE, ()))
    await asyncio.sleep(0)
    await pool.close()
    assert (await asking)[0][0] == 1
    assert (pool._held, pool._idle) == (0, [])
    await until(lambda: not proxy.open_now)
