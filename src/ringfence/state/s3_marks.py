"""Marks by which runs are found that have lost their runner, or whose time to live is over.

::

    execution/open/{run}                the run may be running; written before its record
    execution/expiring/{when}-{run}     the run has ended, and expires then

A mark is an empty object. It says where to look and nothing else: the record decides. So the end of
a run costs no request here; whoever looks for abandoned runs turns the marks of those that ended
into marks of expiry on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ringfence.errors import RingfenceError
from ringfence.layout import (
    EXPIRING_PREFIX,
    OPEN_RUNS_PREFIX,
    EncodedId,
    IdCase,
    Key,
    encode_id,
    expiring_key,
    open_run_key,
    parse_expiring_key,
    run_consumers_prefix,
    run_index_key,
    run_position,
    run_record_key,
    segment_record_key,
)
from ringfence.state.record import RunRecord
from ringfence.state.s3_events import RunEvents
from ringfence.state.s3_objects import RunObjects, Stored

if TYPE_CHECKING:
    from ringfence.providers.base import Clock

READS_AT_ONCE: Final = 32
PURGE_SECONDS: Final = 600.0
"""After this long, whoever was removing an expired run is taken for dead."""
PURGE_POLL_SECONDS: Final = 0.2
WAIT_SECONDS: Final = 10.0
"""How long the creation of a run waits for the removal of an expired one of its id."""

_PURGE: Final = "purge-"


class RunMarks:
    """The marks in a bucket, and the removal of what has expired."""

    def __init__(
        self,
        objects: RunObjects,
        events: RunEvents,
        id_case: IdCase,
        *,
        ordered: bool,
        clock: Clock,
    ) -> None:
        self._objects = objects
        self._events = events
        self._id_case = id_case
        self._ordered = ordered
        self._clock = clock

    async def open(self, run: EncodedId) -> None:
        """Marks a run that may soon be running."""
        await self._objects.mark(open_run_key(run))

    async def abandoned(self, now: datetime, limit: int) -> tuple[RunRecord, ...]:
        """The RUNNING runs whose lease is over."""
        found: list[RunRecord] = []
        async with aclosing(self._open_runs()) as batches:
            async for batch in batches:
                records = await asyncio.gather(*map(self._objects.read, batch.values()))
                for mark, stored in zip(batch, records, strict=True):
                    # Without a record: its creation is under way, or ended between the two.
                    if stored is not None and stored.record.status.terminal:
                        await self._retire(mark, stored.record)
                    elif stored is not None and stored.record.stale(now):
                        found.append(stored.record)
                if len(found) >= limit:
                    break
        return tuple(found[:limit])

    async def purge(self, limit: int) -> int:
        """Removes expired runs, the longest expired first, and returns how many."""
        now = self._clock()
        await self.abandoned(now, limit)  # marks those that ended
        purged = 0
        for mark, segment in await self._due(now, limit):
            stored = await self._objects.read(segment_record_key(segment))
            if stored is not None and stored.record.expired(now):
                purged += await self._purge(stored)
            await self._objects.remove(mark)
        return purged

    async def make_way(self, key: Key, stored: Stored) -> None:
        """Removes an expired run whose id is wanted again, or waits for who is at it."""
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        current: Stored | None = stored
        while current is not None and current.record.expired(self._clock()):
            if not _being_purged(current):
                await self._purge(current)
            elif asyncio.get_running_loop().time() > deadline:
                return
            else:
                await asyncio.sleep(PURGE_POLL_SECONDS)
            current = await self._objects.read(key)

    async def _purge(self, stored: Stored) -> bool:
        """Removes a run, unless another is at it. The record is swapped first, so that nobody else
        removes it or takes its id meanwhile, and removed last, so that a crash leaves no rest."""
        record = stored.record
        run = encode_id(record.id, self._id_case, what="run id")
        key = run_record_key(run)
        token = f"{_PURGE}{datetime.now(UTC).timestamp():.0f}"
        if _being_purged(stored) or not await self._objects.swap(key, record, token, stored.tag):
            return False
        await self._events.remove(run)
        async for consumer, _ in self._objects.keys(run_consumers_prefix(run)):
            await self._objects.remove(consumer)
        app = encode_id(record.app_id, self._id_case, what="app id")
        await self._objects.remove(run_index_key(app, run_position(record.created_at, run)))
        await self._objects.remove(open_run_key(run))
        await self._objects.remove(key)
        return True

    async def _retire(self, mark: Key, record: RunRecord) -> None:
        if record.expires_at is not None:
            await self._objects.mark(expiring_key(record.expires_at, _segment(mark)))
        await self._objects.remove(mark)

    async def _open_runs(self) -> AsyncGenerator[dict[Key, Key]]:
        """The marks of open runs with the keys of their records, some at a time."""
        batch: dict[Key, Key] = {}
        async for mark, _ in self._objects.keys(OPEN_RUNS_PREFIX):
            batch[mark] = segment_record_key(_segment(mark))
            if len(batch) == READS_AT_ONCE:
                yield batch
                batch = {}
        if batch:
            yield batch

    async def _due(self, now: datetime, limit: int) -> Sequence[tuple[Key, str]]:
        due: list[tuple[Key, str]] = []
        async with aclosing(self._objects.keys(EXPIRING_PREFIX)) as keys:
            async for key, _ in keys:
                mark = parse_expiring_key(key)
                if mark is not None and mark[0] <= now:
                    due.append((key, mark[1]))
                elif mark is not None and self._ordered:
                    break
                if len(due) == limit:
                    break
        return due


def _segment(mark: Key) -> str:
    return mark.rpartition("/")[2]


def _being_purged(stored: Stored) -> bool:
    if not stored.write.startswith(_PURGE):
        return False
    began = stored.write.removeprefix(_PURGE)
    if not began.isdecimal():
        raise RingfenceError(f"The record of run {stored.record.id!r} has an unknown writer.")
    since = datetime.now(UTC) - datetime.fromtimestamp(int(began), UTC)
    return since < timedelta(seconds=PURGE_SECONDS)
