"""How the tables come to be: once, by whoever is first, and never backwards."""

# ruff: noqa: S608 - the names in the SQL are the tests' own

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest

from ringfence.errors import AccessDenied, LayoutMismatch, RingfenceError, UsageError
from ringfence.state.postgres.schema import _lock_key, migrations
from ringfence.state.postgres.statements import make_statements
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.testing.state import new_record
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.server import Server

pytestmark = pytest.mark.postgres

PROCESS = """
import asyncio, sys
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.testing.state import new_record

async def main(url, schema):
    store = PostgresStateStore(url, schema=schema)
    print("ready", flush=True)
    sys.stdin.readline()
    record = await store.create(new_record())
    assert await store.get(record.id) == record
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_eight_processes_at_once(
    postgres: Server, schema: str, database: asyncpg.Connection
) -> None:
    command = [sys.executable, "-W", "error", "-c", PROCESS, postgres.url(), schema]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.communicate("go\n", timeout=60)
    assert [process.returncode for process in processes] == [0] * 8
    assert await database.fetchval(f"SELECT count(*) FROM {schema}.runs") == 8
    applied = await database.fetch(f"SELECT version, name FROM {schema}.migrations ORDER BY 1")
    assert [tuple(row) for row in applied] == [(step.number, step.name) for step in migrations()]


async def test_tasks_that_begin_at_once_check_once(
    open_store: OpenStore, database: asyncpg.Connection, schema: str
) -> None:
    store = open_store(pool_size=8)
    records = [new_record() for _ in range(20)]
    assert await asyncio.gather(*map(store.create, records)) == records
    assert await database.fetchval(f"SELECT count(*) FROM {schema}.migrations") == len(migrations())


def test_steps_are_numbered_without_a_gap() -> None:
    assert [step.number for step in migrations()] == list(range(1, len(migrations()) + 1))


async def test_only_a_schema_that_is_not_current_takes_the_lock(
    open_store: OpenStore, database: asyncpg.Connection, schema: str
) -> None:
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    record = new_record()
    async with asyncio.timeout(30):
        async with database.transaction():
            await database.execute(f"SELECT pg_advisory_xact_lock({_lock_key(schema)})")
            making = asyncio.create_task(open_store().create(record))
            while not await database.fetchval(waits):
                assert not making.done()
        assert await making == record
        async with database.transaction():
            await database.execute(f"SELECT pg_advisory_xact_lock({_lock_key(schema)})")
            assert await open_store().get(record.id) == record


async def test_a_newer_schema_is_refused(
    store: PostgresStateStore, open_store: OpenStore, database: asyncpg.Connection, schema: str
) -> None:
    record = await store.create(new_record())
    await database.execute(f"INSERT INTO {schema}.migrations VALUES (99, '0099_later')")
    for _ in range(2):
        with pytest.raises(LayoutMismatch) as refused:
            await open_store().get(record.id)
        assert f"the schema {schema} was made by a newer Ringfence (version 99;" in str(
            refused.value
        )
    await database.execute(f"DELETE FROM {schema}.migrations WHERE version = 99")
    late = open_store()
    assert await late.get(record.id) == record


async def test_a_check_that_failed_is_made_again(
    store: PostgresStateStore, open_store: OpenStore, database: asyncpg.Connection, schema: str
) -> None:
    record = await store.create(new_record())
    await database.execute(f"INSERT INTO {schema}.migrations VALUES (99, '0099_later')")
    late = open_store()
    told = await asyncio.gather(*(late.get(record.id) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in told] == [LayoutMismatch] * 3
    await database.execute(f"DELETE FROM {schema}.migrations WHERE version = 99")
    assert await late.get(record.id) == record


async def test_a_schema_that_was_dropped_is_made_anew(
    store: PostgresStateStore, database: asyncpg.Connection, schema: str
) -> None:
    record = await store.create(new_record())
    await database.execute(f"DROP SCHEMA {schema} CASCADE")
    with pytest.raises(RingfenceError, match=f"the schema {schema} is not what Ringfence made"):
        await store.get(record.id)
    assert await store.create(record) == record


@pytest.mark.parametrize("name", ["", "a b", "A", 'a"', "a'", "1a", "a" * 64, "a;b", "ä", "a\n"])
def test_names_that_a_schema_cannot_have(name: str) -> None:
    with pytest.raises(UsageError, match="no name for Ringfence's schema"):
        PostgresStateStore("postgresql://h/d", schema=name)


def test_statements_are_told_apart_by_their_names() -> None:
    names = {make_statements(schema).get.name for schema in ("a", "b", "ringfence")}
    assert len(names) == 3


# --- users who may not do everything ---------------------------------------------------------


@pytest.fixture
async def role(database: asyncpg.Connection, schema: str) -> AsyncIterator[str]:
    """A user who may log in and nothing else."""
    name = f"role_{schema}"
    await database.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    await database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def test_a_user_who_may_not_make_the_schema_is_told_the_grant(
    postgres: Server, open_store: OpenStore, database: asyncpg.Connection, role: str, schema: str
) -> None:
    store = open_store(postgres.url(user=role))
    with pytest.raises(AccessDenied) as denied:
        await store.get("r")
    assert f"the user {role} may not make Ringfence's tables" in str(denied.value)
    assert denied.value.hint is not None
    grant, _, other = denied.value.hint.rstrip(".").partition("; or ")
    for words in (other, grant):
        await database.execute(words)
        record = await store.create(new_record())
        assert await store.get(record.id) == record
        await database.execute(f"DROP SCHEMA {schema} CASCADE")
        await database.execute(f"REVOKE ALL ON DATABASE postgres FROM {role}")
        with pytest.raises(RingfenceError):
            await store.get(record.id)


async def test_a_user_who_may_only_use_what_others_made(
    postgres: Server,
    store: PostgresStateStore,
    open_store: OpenStore,
    database: asyncpg.Connection,
    role: str,
) -> None:
    record = await store.create(new_record())
    user = open_store(postgres.url(user=role))
    with pytest.raises(AccessDenied) as denied:
        await user.get(record.id)
    assert denied.value.hint is not None
    for grant in denied.value.hint.rstrip(".").partition(": ")[2].split("; "):
        await database.execute(f"{grant} TO {role}")
    assert await user.get(record.id) == record
    mine = await user.create(new_record())
    assert await user.append(mine.id, ["x"]) == range(1, 2)
    assert await user.acknowledge(mine.id, "c", 1) == 1
    assert await user.purge() == 0
