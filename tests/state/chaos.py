"""A network that cuts, delays and truncates, and what must be true of a store behind it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from ringfence.errors import RunExists, StateConflict, StorageUnreachable
from ringfence.runs import Change, Complete, Fail, Progress, Start, change_run, reap
from ringfence.scope import AccessMode
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.testing._runs import unique

RUNS = 3
EVENTS = 4
LEASE_SECONDS = 60
TRIES = 60
"""How often a caller repeats what was not acknowledged; the network is only bad for a while."""

_T = TypeVar("_T")


@dataclass
class Network:
    """Between a client and a server. It does its worst to the first connections, then is sound."""

    host: str
    port: int
    seed: int
    harm: int = 12
    """Connections that come to harm, at most."""
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - a plan, not a secret
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[int]:
        """Listens, on the port that is yielded, until the block ends."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            port: int = server.sockets[0].getsockname()[1]
            yield port
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
            plan = self._plan()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer, plan))
                group.create_task(self._pass(far_reader, writer, plan))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, locals().get("far_writer")):
                if isinstance(end, asyncio.StreamWriter):
                    end.close()

    def _plan(self) -> tuple[str, int]:
        """What happens to a connection, and after how many chunks."""
        if self.harm <= 0:
            return "pass", 0
        self.harm -= 1
        return self._random.choice(["cut", "truncate", "delay", "pass"]), self._random.randint(
            1, 25
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: tuple[str, int]
    ) -> None:
        kind, chunks = plan
        while chunk := await reader.read(16 << 10):
            chunks -= 1
            if chunks == 0 and kind != "pass":
                self.done[kind] += 1
                if kind == "delay":
                    await asyncio.sleep(self._random.random() * 0.1)
                else:
                    if kind == "truncate":
                        writer.write(chunk[: len(chunk) // 2])
                        with suppress(OSError):
                            await writer.drain()
                    raise ConnectionError("the network")
            writer.write(chunk)
            await writer.drain()
        writer.close()


async def check_behind_a_bad_network(
    through: StateStore, direct: StateStore, network: Network
) -> None:
    """Lives of runs through the network; then the truth, seen directly.

    What was acknowledged is there, nothing that was repeated is there twice, and no run is stuck.
    """
    app = unique("chaos-")
    lives = [_Life(through, app, unique(f"run{i}-")) for i in range(RUNS)]
    await asyncio.gather(*(life.live() for life in lives))
    for life in lives:
        await life.check(direct)
    listed = {record.id for record in (await direct.list(app)).records}
    assert listed == {life.run for life in lives}
    late = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS + 3600)
    await reap(direct, lambda: late)
    left = [(await direct.get(life.run)).status for life in lives]
    assert all(status.terminal for status in left), left


@dataclass
class _Life:
    store: StateStore
    app: str
    run: str
    acknowledged: list[RunRecord] = field(default_factory=list)
    told: dict[str, range] = field(default_factory=dict)

    async def live(self) -> None:
        now = datetime.now(UTC)
        record = RunRecord(
            id=self.run,
            app_id=self.app,
            user_id="u",
            mode=AccessMode.INVOKE_WRITE,
            status=RunStatus.PENDING,
            version=1,
            created_at=now,
            updated_at=now,
            lease_seconds=LEASE_SECONDS,
        )
        self.acknowledged.append(await _again(lambda: self.store.create(record)))
        await self.change(Start())
        for number in range(EVENTS):
            batch = f"b{number}"
            self.told[batch] = await _again(partial(self.append, batch))
            await self.change(Progress(progress=10 * (number + 1)))
        await self.change(Complete(0) if self.run.startswith("run0") else Fail("it broke", 1))

    async def append(self, batch: str) -> range:
        return await self.store.append(self.run, [batch, batch], batch=batch)

    async def change(self, change: Change) -> None:
        def attempt() -> Awaitable[RunRecord]:
            return change_run(self.store, self.run, change, lambda: datetime.now(UTC))

        try:
            known = await _again(attempt)
        except StateConflict as conflict:
            known = conflict.record
            # An earlier try was stored although its answer was lost. Of a start only a conflict
            # tells so: it looks as if another runner had been faster.
            if not isinstance(change, Start) or known.status is not RunStatus.RUNNING:
                raise
        self.acknowledged.append(known)

    async def check(self, direct: StateStore) -> None:
        stored = await direct.get(self.run)
        last = self.acknowledged[-1]
        assert stored == last, "the last acknowledged change is not what is there"
        versions = [record.version for record in self.acknowledged]
        assert versions == sorted(versions)
        events = await direct.events(self.run, limit=1000)
        assert [event.sequence for event in events] == list(range(1, 2 * EVENTS + 1))
        for batch, numbers in self.told.items():
            assert [events[number - 1].payload for number in numbers] == [batch, batch]


async def _again(attempt: Callable[[], Awaitable[_T]]) -> _T:
    """Repeats what the store could not acknowledge, as its callers do."""
    for tried in range(TRIES):
        try:
            return await attempt()
        except RunExists:
            raise
        except StorageUnreachable:
            if tried == TRIES - 1:
                raise
            await asyncio.sleep(0.01)
    raise AssertionError("unreachable")
