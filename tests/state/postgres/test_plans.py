"""That the indexes are used where there is much, and that heartbeats leave them alone."""

# ruff: noqa: S608 - the names in the SQL are the tests' own

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ringfence.runs import Heartbeat, Start, apply
from ringfence.state.postgres.statements import Statement, make_statements
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.testing.state import ManualClock, new_record
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.server import Server
from tests.state.postgres.support import LONG

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = "plans"
SQL = make_statements(SCHEMA)

FILL = f"""
INSERT INTO {SCHEMA}.runs
    (id, app_id, user_id, position, status, version, expires_at, leased_until, record)
SELECT 'run-' || n, 'app-' || n % 10, 'user-' || n % 100,
    '9982/327/' || lpad((n % 1000)::text, 3, '0') || '/' || lpad(n::text, 8, '0') || '-run-' || n,
    CASE n % 50 WHEN 0 THEN 'PENDING' WHEN 1 THEN 'RUNNING' ELSE 'COMPLETED' END, 3,
    CASE WHEN n % 50 > 1 THEN timestamptz '2026-01-01' + n * interval '1 hour' END,
    CASE WHEN n % 50 = 1 THEN timestamptz '2026-01-01' + n * interval '1 minute' END,
    repeat('x', 500)
FROM generate_series(1, 10000) n;
INSERT INTO {SCHEMA}.events (run, sequence, at, payload)
SELECT n % 10000, n / 10000 + 1, now(), 'x' FROM generate_series(1, 40000) n;
INSERT INTO {SCHEMA}.consumers
SELECT n, 'c', 1 FROM generate_series(1, 10000) n;
"""


@pytest.fixture(scope="module")
def filled(postgres: Server) -> None:
    """A schema with 10,000 runs."""
    asyncio.run(_fill(postgres.url()))


async def _fill(url: str) -> None:
    store = PostgresStateStore(url, schema=SCHEMA)
    await store.list("none")
    await store.close()
    connection = await asyncpg.connect(url)
    await connection.execute(FILL)
    for table in ("runs", "events", "consumers"):
        await connection.execute(f"VACUUM ANALYZE {SCHEMA}.{table}")
    await connection.close()


async def plans(connection: asyncpg.Connection, statement: Statement, *values: object) -> list[str]:
    """How the server does it: knowing the values, and as it does from the sixth time on."""
    found = []
    for mode in ("force_custom_plan", "force_generic_plan"):
        await connection.execute(f"SET plan_cache_mode = {mode}")
        prepared = await connection.prepare(f"EXPLAIN {statement.sql}")
        found.append("\n".join(row[0] for row in await prepared.fetch(*values)))
    return found


LIST = ("app-3", "9982/327/100", NOW, 101)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("statement", "values", "index"),
    [
        (SQL.get, ("run-77",), "runs_pkey"),
        (SQL.listings[False, False], LIST, "runs_app"),
        (SQL.listings[False, True], (*LIST, "user-3"), "runs_app_user"),
        (SQL.listings[True, False], (*LIST, "PENDING"), "runs_app_status"),
        (SQL.listings[True, True], (*LIST, "RUNNING", "user-3"), "runs_app_"),
        (SQL.abandoned, (NOW, 1000), "runs_running"),
        (SQL.events, ("run-77", NOW, 0, 100), "events_pkey"),
        (SQL.acknowledged, ("run-77", NOW, "c"), "consumers_pkey"),
        (SQL.acknowledge, ("run-77", NOW, "c", 1), "runs_pkey"),
        (SQL.replace, ("run-77", 3, "RUNNING", 4, None, None, "x", NOW), "runs_pkey"),
        (SQL.finish, ("run-77", 3, "FAILED", 4, None, None, "x", NOW), "runs_pkey"),
        (SQL.create, ("r", "a", "u", "p", "PENDING", 1, None, None, "x"), "runs_pkey"),
    ],
)
async def test_nothing_is_read_whole(
    database: asyncpg.Connection, statement: Statement, values: tuple[object, ...], index: str
) -> None:
    for plan in await plans(database, statement, *values):
        assert "Seq Scan" not in plan, plan
        assert index in plan, plan


@pytest.mark.usefixtures("filled")
async def test_what_functions_ask_is_not_read_whole_either(database: asyncpg.Connection) -> None:
    async with database.transaction():
        await database.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        asked = [
            (SQL.append, ("run-77", NOW, ["x"], "b", "d")),
            (SQL.append, ("run-77", NOW, ["x", "y"], None, None)),
            (SQL.watch, ("run-77", NOW, 1.0)),
            (SQL.purge, (NOW + timedelta(hours=100), 10)),
        ]
        scans = "SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0"
        for statement, values in asked:
            await database.fetch(statement.sql, *values)
            assert await database.fetch(scans) == [], statement.sql


async def test_heartbeats_change_no_index(
    open_store: OpenStore, database: asyncpg.Connection, schema: str
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock)
    runs = []
    for _ in range(50):
        pending = await store.create(new_record(at=clock()))
        runs.append(
            await store.replace(apply(pending, Start(), clock()), expected_version=1),
        )
    for _ in range(20):
        clock.advance(10)
        for number, run in enumerate(runs):
            beaten = apply(run, Heartbeat(), clock())
            runs[number] = await store.replace(beaten, expected_version=run.version)
    await store.close()
    hot, updates = await asyncio.wait_for(_updates(database, schema, 50 * 21), LONG)
    assert updates == 50 * 21
    # A page without room for the next version passes a row on now and then.
    assert hot >= 0.95 * 50 * 20


async def _updates(database: asyncpg.Connection, schema: str, expected: int) -> tuple[int, int]:
    """Of the runs: those that changed no index, and all. A server counts when a session ends."""
    row = None
    while row is None or row[1] < expected:
        row = await database.fetchrow(
            "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables "
            "WHERE schemaname = $1 AND relname = 'runs'",
            schema,
        )
    return int(row[0]), int(row[1])


async def test_a_beat_of_another_length_is_one_too(
    open_store: OpenStore, database: asyncpg.Connection, schema: str
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock)
    pending = await store.create(new_record(at=clock()))
    run = await store.replace(apply(pending, Start(), clock()), expected_version=1)
    for number in range(10):
        beaten = replace(apply(run, Heartbeat(), clock()), step="x" * 10 * number)
        run = await store.replace(beaten, expected_version=run.version)
    await store.close()
    hot, updates = await asyncio.wait_for(_updates(database, schema, 11), LONG)
    assert (hot, updates) == (10, 11)
