"""Runs and their events in the meta bucket, on conditional writes alone.

::

    execution/runs/{run}/record.json               the record: one key for each run
    execution/runs/{run}/events/...                see ringfence.state.s3_events
    execution/runs/{run}/consumers/{consumer}      how far a consumer has come
    execution/apps/{app}/runs/{time left}-{run}    its entry in its app's list: empty, never changed
    execution/open/{run}, execution/expiring/...   see ringfence.state.s3_marks

No key is written by two runs, so no writers meet but those of one run. The entry is written before
the record. What is between them in a crash is an entry without a record, or with one of another
time: a reader takes an entry only if the record says that it stands there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ringfence.layout import (
    IdCase,
    Key,
    Position,
    encode_id,
    position_record_key,
    run_consumer_key,
    run_index_key,
    run_position,
    run_record_key,
    runs_index_prefix,
)
from ringfence.state import scanning
from ringfence.state.base import (
    DEFAULT_PAGE,
    DEFAULT_SWEEP,
    Page,
    check_limit,
    parse_cursor,
    run_exists,
    run_not_found,
    version_conflict,
)
from ringfence.state.event import (
    MAX_PAYLOAD_BYTES,
    Event,
    Payload,
    check_events_query,
    check_sequence,
    make_batch,
    no_such_event,
)
from ringfence.state.record import RunRecord, RunStatus
from ringfence.state.s3_events import RunEvents
from ringfence.state.s3_index import RunIndex
from ringfence.state.s3_marks import RunMarks
from ringfence.state.s3_objects import RunObjects, Stored
from ringfence.state.scanning import Wanted
from ringfence.state.tailing import Polling, tail_events

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ObjectStore

    from ringfence.providers.base import Clock

READS_AT_ONCE: Final = 32
"""Records that one page reads at the same time."""

_TRIES: Final = 5
_MAX_CONSUMER_BYTES: Final = 32


class S3StateStore:
    """Run records in a bucket of any provider.

    Args:
        store: Opened on the root of the meta bucket.
        bucket: What messages call it: its variable and its name.
        id_case: How the installation encodes ids.
        ordered: Whether the engine lists keys in order and knows start-after. All but
            S3 Express do.
        clock: The time now, in UTC.
        token: Random text, new with each call: a writer knows its own write by it.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        bucket: str,
        id_case: IdCase = IdCase.EXACT,
        ordered: bool = True,
        clock: Clock = lambda: datetime.now(UTC),
        token: Callable[[], str] = lambda: secrets.token_hex(8),
        most_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        self._objects = RunObjects(store, bucket)
        self._id_case = id_case
        self._ordered = ordered
        self._clock = clock
        self._token = token
        self._most_bytes = most_bytes
        self._events = RunEvents(self._objects, ordered=ordered, clock=clock, token=token)
        self._marks = RunMarks(self._objects, self._events, id_case, ordered=ordered, clock=clock)

    async def create(self, record: RunRecord) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.create`. Three writes, two of them at once."""
        encode_id(record.user_id, self._id_case, what="user id")
        run = encode_id(record.id, self._id_case, what="run id")
        key, entry, write = run_record_key(run), self._entry_key(record), self._token()
        for _ in range(_TRIES):
            await asyncio.gather(self._objects.mark(entry), self._marks.open(run))
            if await self._objects.swap(key, record, write, "create"):
                self._events.begin(run)
                return record
            stored = await self._objects.read(key)
            if stored is None:
                continue
            if stored.write != write and stored.record.expired(self._clock()):
                await self._marks.make_way(key, stored)
                continue
            return await self._settle(record, stored, write, entry)
        raise self._objects.undecided(f"run {record.id!r}")

    async def _settle(self, record: RunRecord, stored: Stored, write: str, entry: Key) -> RunRecord:
        """Who created the run that is there: this call, an earlier one, or someone else."""
        if stored.write != write and self._entry_key(stored.record) != entry:
            # The entry just written belongs to no record, and no record will come to it.
            await self._objects.discard(entry)
        if not stored.record.same_run(record):
            raise run_exists(stored.record)
        return stored.record

    async def get(self, run_id: str) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.get`. One read."""
        return (await self._get(run_id)).record

    async def replace(self, record: RunRecord, *, expected_version: int) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.replace`. One write after a read or a write
        of the same version here; else a read and a write.
        """
        key, write = self._record_key(record.id), self._token()
        tag = self._objects.tag_of(key, expected_version)
        for _ in range(_TRIES):
            if tag is not None and await self._objects.swap(key, record, write, tag):
                return record
            stored = await self._get(record.id)
            # An answer that was lost, and the request repeated: the write was this one.
            if stored.write == write:
                return record
            if stored.record.version != expected_version:
                raise version_conflict(stored.record, expected_version)
            tag = stored.tag
        raise self._objects.undecided(f"run {record.id!r}")

    async def list(
        self,
        app_id: str,
        *,
        status: RunStatus | None = None,
        user: str | None = None,
        limit: int = DEFAULT_PAGE,
        cursor: str | None = None,
    ) -> Page:
        """See :meth:`ringfence.state.base.StateStore.list`.

        One list request and a read for each run, 32 at a time. With a filter, at most 1,000 runs
        are looked at in a call.
        """
        check_limit(limit)
        app = encode_id(app_id, self._id_case, what="app id")
        index = RunIndex(self._objects, runs_index_prefix(app), ordered=self._ordered)
        wanted = Wanted(app_id, status, user, self._clock())
        found: list[tuple[Position, RunRecord]] = []
        scanned = 0
        async with aclosing(index.positions(parse_cursor(cursor))) as positions:
            while batch := await _take(
                positions, wanted.batch(limit - len(found), scanned, at_once=READS_AT_ONCE)
            ):
                scanned += len(batch)
                hits = [hit for hit in await self._read_at(batch) if wanted.includes(hit[1])]
                found += hits[: limit - len(found)]
                if len(found) == limit or scanned >= scanning.MAX_SCAN:
                    last = found[-1][0] if len(found) == limit else batch[-1]
                    more = last != batch[-1] or await anext(positions, None) is not None
                    return _page(found, last if more else None)
        return _page(found, None)

    async def append(
        self, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
    ) -> range:
        """See :meth:`ringfence.state.base.StateStore.append`.

        One write, where this process created the run or appended to it before and nobody else is
        at it. What is appended here meanwhile goes together into the next write.
        """
        made = make_batch(payloads, batch, most_bytes=self._most_bytes)
        run = encode_id(run_id, self._id_case, what="run id")
        return await self._events.append(run, made, lambda: self._get(run_id))

    async def events(
        self, run_id: str, *, after: int = 0, limit: int = DEFAULT_PAGE
    ) -> tuple[Event, ...]:
        """See :meth:`ringfence.state.base.StateStore.events`. A read and a list request, and a
        read for each group of events that was stored at once.
        """
        check_events_query(after, limit)
        run = encode_id(run_id, self._id_case, what="run id")
        _, found = await asyncio.gather(self._get(run_id), self._events.read(run, after, limit))
        return found

    def tail(self, run_id: str, *, after: int = 0) -> AsyncGenerator[Event]:
        """See :meth:`ringfence.state.base.StateStore.tail`. It looks every 0.2 to 2 seconds."""
        wait = Polling()
        return tail_events(self, run_id, after, wait)

    async def acknowledge(self, run_id: str, consumer: str, sequence: int) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledge`."""
        check_sequence(sequence)
        key = self._consumer_key(run_id, consumer)
        if sequence and not await self.events(run_id, after=sequence - 1, limit=1):
            raise no_such_event(sequence)
        await self._get(run_id)
        for _ in range(_TRIES):
            found = await self._objects.fetch(key, _MAX_CONSUMER_BYTES)
            known = _number(found[0]) if found else 0
            if known >= sequence:
                return known
            mode: PutMode = found[1] if found else "create"
            if await self._objects.put(key, b"%d" % sequence, mode) is not None:
                return sequence
        raise self._objects.undecided(f"how far {consumer!r} has come")

    async def acknowledged(self, run_id: str, consumer: str) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledged`."""
        key = self._consumer_key(run_id, consumer)
        _, found = await asyncio.gather(
            self._get(run_id), self._objects.fetch(key, _MAX_CONSUMER_BYTES)
        )
        return _number(found[0]) if found else 0

    async def abandoned(
        self, now: datetime, *, limit: int = DEFAULT_SWEEP
    ) -> tuple[RunRecord, ...]:
        """See :meth:`ringfence.state.base.StateStore.abandoned`. A read for each run that has not
        ended, or has since the call before.
        """
        return await self._marks.abandoned(now, limit)

    async def purge(self, *, limit: int = DEFAULT_SWEEP) -> int:
        """See :meth:`ringfence.state.base.StateStore.purge`. Call it now and then: object stores
        expire nothing by a time in the object.
        """
        return await self._marks.purge(limit)

    async def close(self) -> None:
        """Waits for what is being stored. obstore's connections end with the store."""
        await self._events.close()

    async def _read_at(self, batch: Sequence[Position]) -> Sequence[tuple[Position, RunRecord]]:
        """The records that stand at these positions; none for an entry that a crash left."""
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def read(position: Position) -> RunRecord | None:
            async with gate:
                stored = await self._objects.read(position_record_key(position))
            return stored.record if stored else None

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(position)) for position in batch]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        pairs = zip(batch, (task.result() for task in tasks), strict=True)
        return [
            (position, record)
            for position, record in pairs
            if record is not None and self._position(record) == position
        ]

    async def _get(self, run_id: str) -> Stored:
        key = self._record_key(run_id)
        stored = await self._objects.read(key)
        if stored is None or stored.record.expired(self._clock()):
            raise run_not_found(run_id)
        self._objects.remember(key, stored.record, stored.tag)
        return stored

    def _consumer_key(self, run_id: str, consumer: str) -> Key:
        return run_consumer_key(
            encode_id(run_id, self._id_case, what="run id"),
            encode_id(consumer, self._id_case, what="consumer id"),
        )

    def _record_key(self, run_id: str) -> Key:
        return run_record_key(encode_id(run_id, self._id_case, what="run id"))

    def _entry_key(self, record: RunRecord) -> Key:
        app = encode_id(record.app_id, self._id_case, what="app id")
        return run_index_key(app, self._position(record))

    def _position(self, record: RunRecord) -> Position:
        run = encode_id(record.id, self._id_case, what="run id")
        return run_position(record.created_at, run)


async def _take(positions: AsyncGenerator[Position], count: int) -> list[Position]:
    taken: list[Position] = []
    while len(taken) < count:
        position = await anext(positions, None)
        if position is None:
            break
        taken.append(position)
    return taken


def _number(data: bytes) -> int:
    try:
        return int(data)
    except ValueError:
        return 0  # no consumer has come that far: it is told everything again


def _page(found: list[tuple[Position, RunRecord]], cursor: Position | None) -> Page:
    return Page(tuple(record for _, record in found), cursor)
