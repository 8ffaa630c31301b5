"""Run records in the meta bucket, on conditional writes alone.

::

    execution/runs/{run}/record.json               the record: one key for each run
    execution/apps/{app}/runs/{time left}-{run}    its entry in its app's list: empty, never changed

No key is written by two runs, so no writers meet but those of one run. The entry is written before
the record. What is between them in a crash is an entry without a record, or with one of another
time: a reader takes an entry only if the record says that it stands there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ringfence.errors import StorageUnreachable
from ringfence.layout import (
    IdCase,
    Key,
    Position,
    encode_id,
    position_record_key,
    run_index_key,
    run_position,
    run_record_key,
    runs_index_prefix,
)
from ringfence.state.base import (
    DEFAULT_PAGE,
    Page,
    check_limit,
    parse_cursor,
    run_exists,
    run_not_found,
    version_conflict,
)
from ringfence.state.record import RunRecord, RunStatus
from ringfence.state.s3_index import RunIndex
from ringfence.state.s3_objects import RunObjects, Stored

if TYPE_CHECKING:
    from obstore.store import ObjectStore

READS_AT_ONCE: Final = 32
"""Records that one page reads at the same time."""

MAX_SCAN: Final = 1000
"""Runs that one call of ``list`` looks at, at most, for those that a filter lets through."""

_TRIES: Final = 5


class S3StateStore:
    """Run records in a bucket of any provider.

    Args:
        store: Opened on the root of the meta bucket.
        bucket: Its name, for messages.
        id_case: How the installation encodes ids.
        ordered: Whether the engine lists keys in order and knows start-after. All but
            S3 Express do.
        token: Random text, new with each call: a writer knows its own write by it.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        bucket: str,
        id_case: IdCase = IdCase.EXACT,
        ordered: bool = True,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._objects = RunObjects(store, f"META_BUCKET {bucket}")
        self._id_case = id_case
        self._ordered = ordered
        self._token = token

    async def create(self, record: RunRecord) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.create`. Two writes."""
        encode_id(record.user_id, self._id_case, what="user id")
        key, entry, write = self._record_key(record.id), self._entry_key(record), self._token()
        await self._objects.enter(entry)
        for _ in range(_TRIES):
            if await self._objects.swap(key, record, write, "create"):
                return record
            stored = await self._objects.read(key)
            if stored is not None:
                return await self._settle(record, stored, write, entry)
        raise self._undecided(record.id)

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
        raise self._undecided(record.id)

    async def list(
        self,
        app_id: str,
        *,
        status: RunStatus | None = None,
        user_id: str | None = None,
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
        wanted = _Wanted(app_id, status, user_id)
        found: list[tuple[Position, RunRecord]] = []
        scanned = 0
        async with aclosing(index.positions(parse_cursor(cursor))) as positions:
            while batch := await _take(positions, wanted.batch(limit - len(found), scanned)):
                scanned += len(batch)
                hits = [hit for hit in await self._read_at(batch) if wanted.includes(hit[1])]
                found += hits[: limit - len(found)]
                if len(found) == limit or scanned >= MAX_SCAN:
                    last = found[-1][0] if len(found) == limit else batch[-1]
                    more = last != batch[-1] or await anext(positions, None) is not None
                    return _page(found, last if more else None)
        return _page(found, None)

    async def close(self) -> None:
        """Nothing to close: obstore's connections end with the store."""

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
        if stored is None:
            raise run_not_found(run_id)
        self._objects.remember(key, stored.record.version, stored.tag)
        return stored

    def _record_key(self, run_id: str) -> Key:
        return run_record_key(encode_id(run_id, self._id_case, what="run id"))

    def _entry_key(self, record: RunRecord) -> Key:
        app = encode_id(record.app_id, self._id_case, what="app id")
        return run_index_key(app, self._position(record))

    def _position(self, record: RunRecord) -> Position:
        run = encode_id(record.id, self._id_case, what="run id")
        return run_position(record.created_at, run)

    def _undecided(self, run_id: str) -> StorageUnreachable:
        return StorageUnreachable(
            f"{self._objects.bucket}: storage refused {_TRIES} times to store run {run_id!r}, for "
            "a change by another writer that it does not show.",
            hint="Try again; if it stays so, the engine's conditional writes do not work.",
        )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which of the records at an app's positions a list shows."""

    app_id: str
    status: RunStatus | None
    user_id: str | None

    def includes(self, record: RunRecord) -> bool:
        return (
            record.app_id == self.app_id
            and self.status in {None, record.status}
            and self.user_id in {None, record.user_id}
        )

    def batch(self, missing: int, scanned: int) -> int:
        """How many records to read for so many: with a filter, most may be left out."""
        filtered = self.status is not None or self.user_id is not None
        return min(max(missing, READS_AT_ONCE) if filtered else missing, MAX_SCAN - scanned)


async def _take(positions: AsyncGenerator[Position], count: int) -> list[Position]:
    taken: list[Position] = []
    while len(taken) < count:
        position = await anext(positions, None)
        if position is None:
            break
        taken.append(position)
    return taken


def _page(found: list[tuple[Position, RunRecord]], cursor: Position | None) -> Page:
    return Page(tuple(record for _, record in found), cursor)
