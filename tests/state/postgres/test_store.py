"""What the conformance suite does not ask of a store in general."""

# ruff: noqa: S608 - the names in the SQL are the tests' own

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from ringfence.errors import RunNotFound, UsageError
from ringfence.runs import Start, change_run
from ringfence.secret import Secret
from ringfence.state.event import MAX_READ_BYTES
from ringfence.state.postgres import schema as schemas
from ringfence.state.postgres import store as stores
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.testing.state import ManualClock, TestClock, new_record
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.server import Server

pytestmark = pytest.mark.postgres


async def test_a_read_ends_once_it_is_large(store: PostgresStateStore) -> None:
    run = (await store.create(new_record())).id
    half = "x" * ((1 << 19) - 2)
    for _ in range(5):
        await store.append(run, [half] * 10)
    pages = []
    after = 0
    while found := await store.events(run, after=after, limit=1000):
        assert [event.sequence for event in found] == list(range(after + 1, found[-1].sequence + 1))
        pages.append(len(found))
        after = found[-1].sequence
    assert pages == [MAX_READ_BYTES >> 19, 50 - (MAX_READ_BYTES >> 19)]


async def test_numbers_that_no_column_holds(store: PostgresStateStore) -> None:
    run = (await store.create(new_record())).id
    assert await store.events(run, after=2**80) == ()
    with pytest.raises(UsageError):
        await store.acknowledge(run, "c", 2**80)
    with pytest.raises(RunNotFound):
        await store.events("none", after=2**80)


async def test_constructing_connects_to_nothing() -> None:
    store = PostgresStateStore(Secret("postgresql://nobody:no@127.0.0.1:1/none"))
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    await store.close()


def test_it_may_be_constructed_before_there_is_a_loop(postgres: Server, schema: str) -> None:
    store = PostgresStateStore(Secret(postgres.url()), schema=schema)

    async def use() -> None:
        record = await store.create(new_record())
        assert await store.get(record.id) == record
        await store.close()

    asyncio.run(use())


async def test_two_schemas_know_nothing_of_each_other(open_store: OpenStore, schema: str) -> None:
    first, second = open_store(), open_store(schema=f"{schema}_too")
    record = await first.create(new_record())
    with pytest.raises(RunNotFound):
        await second.get(record.id)
    assert await second.create(record) == record
    started = await change_run(second, record.id, Start(), TestClock(1))
    assert (await first.get(record.id), await second.get(record.id)) == (record, started)


async def test_purging_goes_on_until_it_is_done(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_PURGED_AT_ONCE", 2)
    clock = ManualClock()
    store = open_store(clock=clock)
    for _ in range(7):
        record = await store.create(new_record(at=clock()))
        ended = replace(record, version=2, expires_at=clock() + timedelta(seconds=1))
        await store.replace(ended, expected_version=1)
        await store.append(record.id, ["x"])
    assert await store.purge() == 0
    clock.advance(1)
    assert await store.purge(limit=3) == 3
    assert await store.purge() == 4
    assert await store.purge() == 0


async def test_purging_leaves_nothing(
    store: PostgresStateStore, database: asyncpg.Connection, schema: str
) -> None:
    record = await store.create(new_record())
    await store.append(record.id, ["x", "y"], batch="b")
    await store.acknowledge(record.id, "c", 1)
    ended = replace(record, version=2, expires_at=record.created_at)
    await store.replace(ended, expected_version=1)
    assert await store.purge() == 1
    for table in ("runs", "events", "consumers"):
        assert await database.fetchval(f"SELECT count(*) FROM {schema}.{table}") == 0


def test_the_steps_are_in_the_wheel() -> None:
    """They are data, which a build leaves out unless it is told of them."""
    folder = Path(schemas.__file__).parent / "migrations"
    assert [path.name for path in sorted(folder.iterdir())] == [
        f"{step.name}.sql" for step in schemas.migrations()
    ]
