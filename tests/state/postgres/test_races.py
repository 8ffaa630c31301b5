"""Many writers at once, and servers that die under them."""

# ruff: noqa: S608 - the names in the SQL are the tests' own

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from ringfence.errors import RingfenceError, RunExists, RunNotFound, StateConflict
from ringfence.runs import Cancel, Heartbeat, Start, apply, change_run
from ringfence.state.codec import encode_record
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.testing.state import ManualClock, TestClock, new_record, race_to_the_end
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.server import Server, running
from tests.state.postgres.support import LONG, until

pytestmark = pytest.mark.postgres


@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=pytest.mark.soak)])
async def test_64_writers_race_to_the_end(open_store: OpenStore, rounds: int) -> None:
    stores = [open_store(pool_size=16) for _ in range(2)]
    for _ in range(rounds):
        await race_to_the_end(*stores, writers=64)


@pytest.mark.parametrize("events", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_64_writers_append_to_one_run(open_store: OpenStore, events: int) -> None:
    stores = [open_store(pool_size=16) for _ in range(2)]
    run = (await stores[0].create(new_record())).id
    numbers = iter(range(events))

    async def write(store: PostgresStateStore) -> list[tuple[int, int]]:
        told = []
        for number in numbers:
            # Each a second time, as after an answer that was lost.
            batch = f"{number}" if number % 3 else None
            first = await store.append(run, [number], batch=batch)
            if batch is not None:
                assert await store.append(run, [number], batch=batch) == first
            told.append((first[0], number))
        return told

    work = [write(stores[i % 2]) for i in range(64)]
    told = dict(pair for pairs in await asyncio.gather(*work) for pair in pairs)
    assert sorted(told) == list(range(1, events + 1))
    after = 0
    while found := await stores[1].events(run, after=after, limit=1000):
        assert [e.sequence for e in found] == list(range(after + 1, after + len(found) + 1))
        assert all(told[e.sequence] == e.payload for e in found)
        after = found[-1].sequence
    assert after == events


async def test_appends_and_heartbeats_do_not_undo_each_other(open_store: OpenStore) -> None:
    store, rival = open_store(), open_store()
    record = await store.create(new_record())
    await change_run(store, record.id, Start(), TestClock(1))

    async def beat() -> None:
        for second in range(50):
            await change_run(rival, record.id, Heartbeat(), TestClock(second), attempts=100)

    async def append() -> None:
        for number in range(50):
            await store.append(record.id, [number])

    await asyncio.gather(beat(), append(), append(), beat())
    assert (await store.get(record.id)).version == 102
    assert len(await store.events(record.id, limit=1000)) == 100


async def test_creating_over_an_expired_run_while_others_are_at_it(open_store: OpenStore) -> None:
    clock = ManualClock()
    stores = [open_store(clock=clock) for _ in range(2)]
    run = "run"
    for turn in range(20):
        user = f"user{turn}"
        old = await stores[0].create(replace(new_record(id=run, user_id=user), ttl_seconds=1))
        ended = replace(old, version=2, expires_at=clock())
        await stores[0].append(run, ["old"], batch="b")
        await stores[0].replace(ended, expected_version=1)
        new = new_record(id=run, user_id=f"another{turn}")
        works = [
            *(store.create(new) for store in stores * 4),
            *(store.append(run, [f"new{turn}"], batch="b") for store in stores * 2),
            *(store.purge() for store in stores),
        ]
        told = await asyncio.gather(*works, return_exceptions=True)
        assert told[:8] == [new] * 8
        assert {type(answer) for answer in told[8:]} <= {range, int, RunNotFound}
        payloads = [event.payload for event in await stores[1].events(run)]
        assert payloads in ([], [f"new{turn}"]), "an event of the run before"
        clock.advance(1)
        gone = replace(new, version=2, expires_at=clock())
        await stores[1].replace(gone, expected_version=1)
        assert await stores[0].purge() == 1


async def _waits(database: asyncpg.Connection, task: asyncio.Task[Any]) -> None:
    """Returns when something waits for another's transaction."""
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
    async with asyncio.timeout(LONG):
        while not await database.fetchval(waits):
            assert not task.done()


async def test_who_waited_for_a_writer_is_told_what_it_wrote(
    store: PostgresStateStore, database: asyncpg.Connection, schema: str
) -> None:
    """The statement began before the other one committed, so it does not see what it lost to."""
    record = await store.create(new_record())
    mine, theirs = (apply(record, change, TestClock(1)()) for change in (Start(), Cancel()))
    async with database.transaction():
        await database.execute(
            f"UPDATE {schema}.runs SET version = 2, status = 'CANCELLED', record = $1",
            encode_record(theirs, "theirs").decode(),
        )
        task = asyncio.create_task(store.replace(mine, expected_version=1))
        await _waits(database, task)
    with pytest.raises(StateConflict) as lost:
        await task
    assert lost.value.record == theirs


async def test_who_waited_for_a_creator_is_told_what_it_created(
    store: PostgresStateStore, database: asyncpg.Connection, schema: str
) -> None:
    await store.list("app")  # it makes the tables
    theirs = new_record()
    async with database.transaction():
        await database.execute(
            f"INSERT INTO {schema}.runs (id, app_id, user_id, position, status, version, record) "
            "VALUES ($1, 'a', 'u', 'p', 'PENDING', 1, $2)",
            theirs.id,
            encode_record(theirs, "theirs").decode(),
        )
        task = asyncio.create_task(store.create(replace(theirs, user_id="mine")))
        await _waits(database, task)
    with pytest.raises(RunExists) as taken:
        await task
    assert taken.value.record == theirs


# --- a server that is killed -----------------------------------------------------------------


@pytest.fixture
def mortal() -> Iterator[Server]:
    """A server of one's own, to be killed."""
    with running() as server:
        yield server


@pytest.mark.parametrize(
    ("deaths", "least"), [(2, 50), pytest.param(10, 500, marks=pytest.mark.soak)]
)
async def test_what_was_acknowledged_survives(mortal: Server, deaths: int, least: int) -> None:
    store = PostgresStateStore(mortal.url(), pool_size=8)
    runs = [(await store.create(new_record())).id for _ in range(8)]
    told: list[tuple[str, int, str]] = []
    ended = asyncio.Event()

    async def write(run: str) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            try:
                numbers = await store.append(run, [f"{number}"], batch=f"{number}")
                told.append((run, numbers[0], f"{number}"))
            except RingfenceError:
                await asyncio.sleep(0.01)
                number -= 1  # once more, under the same id

    async def more(count: int) -> None:
        enough = len(told) + count
        await until(lambda: len(told) >= enough)

    writers = [asyncio.create_task(write(run)) for run in runs]
    for _ in range(deaths):
        await more(least)
        mortal.kill()
        await asyncio.to_thread(mortal.start)
    await more(least)  # it goes on by itself
    ended.set()
    await asyncio.gather(*writers)
    for run in runs:
        mine = {event: payload for of, event, payload in told if of == run}
        stored: dict[int, str] = {}
        while found := await store.events(run, after=len(stored), limit=1000):
            stored |= {event.sequence: event.payload for event in found}
        assert mine.items() <= stored.items(), "an acknowledged event is gone"
        assert list(stored) == list(range(1, len(stored) + 1))
        assert len(set(stored.values())) == len(stored), "an event is there twice"
    await store.close()
