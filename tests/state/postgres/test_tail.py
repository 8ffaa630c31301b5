"""Following a run's events: woken by the server, and by looking where nothing wakes."""

# ruff: noqa: S608 - the names in the SQL are the tests' own

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import asyncpg
import pytest

from ringfence.layout import EncodedId
from ringfence.runs import Cancel, Start, change_run
from ringfence.state.postgres import listening
from ringfence.state.postgres.listening import RunArrival
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.testing.state import TestClock, new_record
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.proxy import Proxy, before
from tests.state.postgres.server import Server
from tests.state.postgres.support import LONG, until

pytestmark = pytest.mark.postgres


def arrival(store: PostgresStateStore, run: str) -> RunArrival:
    """What a tail waits with. It never returns by itself where the server wakes it."""
    return RunArrival(
        store._listener, store._database, store._sql.watch, EncodedId(run), store._clock
    )


async def waiting(store: PostgresStateStore, run: str, after: int = 0) -> asyncio.Task[None]:
    """An arrival that has got as far as it can."""
    task = asyncio.create_task(arrival(store, run)(after))
    async with asyncio.timeout(LONG):
        while run not in store._listener._waiting or not await _watched(store, run):
            assert not task.done()
            await asyncio.sleep(0.001)
    return task


async def _watched(store: PostgresStateStore, run: str) -> bool:
    sql = (
        f"SELECT tailed_until > now() AS watched FROM {store._listener._channel}.runs WHERE id = $1"
    )
    connection = await store._database._address.connect()
    found = await connection.fetchval(sql, run)
    await connection.close()
    return bool(found)


@pytest.mark.parametrize("what", ["append", "end"])
async def test_the_server_wakes(open_store: OpenStore, what: str) -> None:
    store, rival = open_store(), open_store()
    run = (await store.create(new_record())).id
    other = (await store.create(new_record())).id
    await change_run(store, run, Start(), TestClock(1))
    await store.append(run, ["first"])
    task, asleep = await waiting(store, run, 1), await waiting(store, other)
    if what == "append":
        await rival.append(run, ["second"])
    else:
        await change_run(rival, run, Cancel(), TestClock(2))
    await asyncio.wait_for(task, LONG)
    assert not asleep.done(), "another run woke it"
    asleep.cancel()
    await asyncio.gather(asleep, return_exceptions=True)
    assert store._listener._waiting == {}


@pytest.mark.parametrize("what", ["append", "end", "nothing"])
async def test_what_happened_before_it_waits_is_not_waited_for(
    store: PostgresStateStore, what: str
) -> None:
    """Between the look of the tail and the server's promise to wake it."""
    run = (await store.create(new_record())).id
    if what == "append":
        await store.append(run, ["x"])
    elif what == "end":
        await change_run(store, run, Cancel(), TestClock(1))
    wait = asyncio.create_task(arrival(store, run if what != "nothing" else "none")(0))
    await asyncio.wait_for(wait, LONG)


async def test_nobody_is_notified_of_what_nobody_follows(
    store: PostgresStateStore, database: asyncpg.Connection, schema: str
) -> None:
    heard: list[Any] = []
    await database.add_listener(schema, lambda *said: heard.append(said[3]))
    run = (await store.create(new_record())).id
    await store.append(run, ["x"])
    await change_run(store, run, Cancel(), TestClock(1))
    followed = (await store.create(new_record())).id
    task = await waiting(store, followed)
    await change_run(store, followed, Start(), TestClock(1))
    assert heard == []
    await store.append(followed, ["x"])
    await asyncio.wait_for(task, LONG)
    await until(lambda: bool(heard))
    assert heard == [followed]
    await database.remove_listener(schema, lambda *_: None)
    await database.reset()


async def test_the_promise_is_asked_for_anew_before_it_ends(
    store: PostgresStateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = (await store.create(new_record())).id
    await store.append(run, ["x"])
    asked = 0
    ask = store._database.ask

    async def counting(statement: Any, *values: Any, **more: Any) -> Any:
        nonlocal asked
        asked += statement is store._sql.watch
        return await ask(statement, *values, **more)

    monkeypatch.setattr(store._database, "ask", counting)
    one = arrival(store, run)
    await asyncio.wait_for(one(0), LONG)  # there is an event
    for _ in range(2):
        with pytest.raises(TimeoutError):  # what came before the promise is no news
            await asyncio.wait_for(one(0), 0.01)
    assert asked == 1
    one._watched_until = asyncio.get_running_loop().time() + listening._LEFT_SECONDS
    await asyncio.wait_for(one(0), LONG)
    assert asked == 2


async def test_a_listener_that_was_thrown_out_comes_back(
    open_store: OpenStore, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_RETRY_SECONDS", (0.0,))
    store = open_store()
    run = (await store.create(new_record())).id
    task = await waiting(store, run)
    ended = await database.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    )
    assert ended == 1
    await asyncio.wait_for(task, LONG)  # woken, to look: what was said meanwhile is lost
    await until(lambda: store._listener.listens)
    task = await waiting(store, run)
    await store.append(run, ["x"])
    await asyncio.wait_for(task, LONG)


async def test_a_tail_goes_on_over_a_break(postgres: Server, open_store: OpenStore) -> None:
    async with before(postgres) as proxy:
        store, writer = open_store(proxy.url), open_store()
        run = (await writer.create(new_record())).id
        await change_run(writer, run, Start(), TestClock(1))
        told: list[int] = []

        async def follow() -> None:
            async with aclosing(store.tail(run)) as events:
                async for event in events:
                    told.append(event.payload)  # noqa: PERF401 - what came before a break counts

        task = asyncio.create_task(follow())
        for number in range(30):
            await writer.append(run, [number])
            if number % 10 == 5:
                proxy.break_all()
            await asyncio.sleep(0.005)
        await change_run(writer, run, Cancel(), TestClock(2))
        await asyncio.wait_for(task, LONG)
        assert told == list(range(30))
        await store.close()


async def test_without_a_listener_it_looks(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pooled(_connection: Any) -> bool:
        return True

    monkeypatch.setattr(listening, "_pooled", pooled)
    store = open_store()
    run = (await store.create(new_record())).id
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(arrival(store, run)(0), LONG)
    assert not store._listener.listens
    assert asyncio.get_running_loop().time() - began >= 0.2
    assert not await _watched(store, run), "nobody hears it"


async def test_closing_ends_the_listener(open_store: OpenStore) -> None:
    store = open_store()
    run = (await store.create(new_record())).id
    task = await waiting(store, run)
    await store.close()
    await asyncio.wait_for(task, LONG)
    assert not [t for t in asyncio.all_tasks() if t.get_name().startswith("ringfence-")]
    assert await store.append(run, ["x"]) == range(1, 2)  # opened anew
    await store.close()
    await store.close()


@pytest.fixture
async def proxy(postgres: Server) -> AsyncIterator[Proxy]:
    async with before(postgres) as proxy:
        yield proxy


async def test_all_runs_of_a_store_are_heard_on_one_connection(
    open_store: OpenStore, proxy: Proxy
) -> None:
    store = open_store(proxy.url, pool_size=1)
    runs = [(await store.create(new_record())).id for _ in range(5)]
    tasks = [await waiting(store, run) for run in runs]
    listeners = proxy.connections
    more = [await waiting(store, run) for run in runs]
    # Those that look whether the promise was made, and no other.
    assert proxy.connections - listeners >= 5
    assert len(proxy.open_now) == 2
    for run in runs:
        await store.append(run, ["x"])
    await asyncio.wait_for(asyncio.gather(*tasks, *more), LONG)
