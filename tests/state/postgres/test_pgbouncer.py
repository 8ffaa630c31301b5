"""Behind PgBouncer in transaction mode. Runs where a pgbouncer is on the PATH."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import asyncpg
import pytest

from ringfence.runs import Cancel, Complete, Start, change_run
from ringfence.state.base import StateStore
from ringfence.testing.state import (
    ManualClock,
    StateStoreConformance,
    TestClock,
    new_record,
    race_to_the_end,
)
from tests.ports import free_port
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.server import ACCOUNT, Server
from tests.state.postgres.support import LONG, until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer on the PATH"),
]


def _version() -> tuple[int, int]:
    if PGBOUNCER is None:
        return (0, 0)
    said = subprocess.run([PGBOUNCER, "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said.stdout)
    assert found is not None
    return int(found[1]), int(found[2])


TRACKS = _version() >= (1, 21)
"""Whether it can keep prepared statements apart."""


@contextmanager
def _pooler(server: Server, tracked: int) -> Iterator[str]:
    """A pooler before a server, with three connections for all. Its URL."""
    folder, port = server.folder / f"pool-{tracked}", free_port()
    folder.mkdir()
    if ACCOUNT is not None:
        shutil.chown(folder, ACCOUNT)
    prepared = f"max_prepared_statements = {tracked}" if TRACKS else ""
    (folder / "ini").write_text(
        f"""
        [databases]
        * = host={server.folder} port={server.port} user=postgres
        [pgbouncer]
        listen_addr =
        unix_socket_dir = {folder}
        listen_port = {port}
        auth_type = any
        pool_mode = transaction
        default_pool_size = 3
        logfile = {folder}/log
        {prepared}
        """.replace("\n        ", "\n")
    )
    assert PGBOUNCER is not None
    process = subprocess.Popen([PGBOUNCER, "-q", str(folder / "ini")], user=ACCOUNT)
    try:
        _wait_for(folder / f".s.PGSQL.{port}", process)
        yield f"postgresql://app@/postgres?host={folder}&port={port}"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None, "pgbouncer did not start"
        time.sleep(0.005)


@pytest.fixture(
    scope="module", params=[0, 100] if TRACKS else [0], ids=lambda most: f"{most} statements"
)
def pooled(request: pytest.FixtureRequest, postgres: Server) -> Iterator[str]:
    """The URL of a pooler: one that loses prepared statements, and one of 1.21 or later that does
    not.
    """
    with _pooler(postgres, request.param) as url:
        yield url


class TestPooled(StateStoreConformance):
    """All that is promised, with another server at each transaction."""

    @pytest.fixture
    def store(self, open_store: OpenStore, pooled: str, clock: ManualClock) -> StateStore:
        return open_store(pooled, clock=clock)

    @pytest.fixture
    def rival(self, open_store: OpenStore, pooled: str, clock: ManualClock) -> StateStore:
        return open_store(pooled, clock=clock)


async def test_many_at_once(open_store: OpenStore, pooled: str) -> None:
    stores = [open_store(pooled) for _ in range(4)]
    for _ in range(3):
        await race_to_the_end(stores[0], stores[1], writers=32)
    run = (await stores[0].create(new_record())).id
    appends = [stores[i % 4].append(run, [i], batch=f"{i}") for i in range(100)]
    told = await asyncio.gather(*appends)
    assert sorted(numbers[0] for numbers in told) == list(range(1, 101))
    named = [store._database._connections.named for store in stores]
    assert named == ["pool-0" not in pooled] * 4


async def test_a_tail_looks_for_itself(
    open_store: OpenStore, pooled: str, database: asyncpg.Connection
) -> None:
    store, writer = open_store(pooled), open_store(pooled)
    run = (await store.create(new_record())).id
    await change_run(writer, run, Start(), TestClock(1))
    told: list[int] = []

    async def follow() -> None:
        async with aclosing(store.tail(run)) as events:
            async for event in events:
                told.append(event.payload)  # noqa: PERF401 - it is looked at meanwhile

    task = asyncio.create_task(follow())
    for number in range(3):
        await writer.append(run, [number])
        await until(lambda: len(told) == number + 1)  # noqa: B023 - it is awaited here
    await change_run(writer, run, Complete(0), TestClock(2))
    await asyncio.wait_for(task, LONG)
    assert told == [0, 1, 2]
    assert not store._listener.listens
    left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    assert await database.fetchval(left) == 0, "a server of the pool listens"


async def test_what_others_prepared_is_never_done_instead(
    open_store: OpenStore, pooled: str
) -> None:
    """Two stores that prepare in another order: by number, their statements would be mixed up."""
    first, second = open_store(pooled), open_store(pooled)
    records = [await first.create(new_record()) for _ in range(4)]
    for turn in range(30):
        record = records[turn % 4]
        got, listed, _ = await asyncio.gather(
            first.get(record.id), second.list(record.app_id), second.abandoned(TestClock(1)())
        )
        assert listed.records == (got,)
        await change_run(second if turn % 2 else first, records[3].id, Cancel(), TestClock(turn))
