"""A state store in memory: the reference that every other store is compared with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ringfence.layout import IdCase, Position, encode_id, run_position
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
    batch_mismatch,
    check_events_query,
    check_sequence,
    make_batch,
    no_such_event,
    within_bytes,
)
from ringfence.state.record import RunRecord, RunStatus
from ringfence.state.tailing import tail_events

if TYPE_CHECKING:
    from ringfence.providers.base import Clock


@dataclass(slots=True)
class _Log:
    """The events of a run, and who has dealt with them."""

    events: list[tuple[datetime, str]] = field(default_factory=list)
    batches: dict[str, tuple[str, range]] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class MemoryStateStore:
    """Runs and events in this process, gone with it. For tests and for trying things out."""

    def __init__(
        self,
        *,
        id_case: IdCase = IdCase.EXACT,
        clock: Clock = lambda: datetime.now(UTC),
        most_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        self._id_case = id_case
        self._clock = clock
        self._most_bytes = most_bytes
        self._records: dict[str, RunRecord] = {}
        self._logs: dict[str, _Log] = {}

    async def create(self, record: RunRecord) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.create`."""
        encode_id(record.app_id, self._id_case, what="app id")
        encode_id(record.user_id, self._id_case, what="user id")
        self._position(record)
        known = self._records.get(record.id)
        if known is not None and known.expired(self._clock()):
            self._remove(record.id)
        stored = self._records.setdefault(record.id, record)
        self._logs.setdefault(stored.id, _Log())
        if not stored.same_run(record):
            raise run_exists(stored)
        return stored

    async def get(self, run_id: str) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.get`."""
        encode_id(run_id, self._id_case, what="run id")
        record = self._records.get(run_id)
        if record is None or record.expired(self._clock()):
            raise run_not_found(run_id)
        return record

    async def replace(self, record: RunRecord, *, expected_version: int) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.replace`."""
        stored = await self.get(record.id)
        if stored.version != expected_version:
            raise version_conflict(stored, expected_version)
        self._records[record.id] = record
        self._logs[record.id].wake()
        return record

    async def list(
        self,
        app_id: str,
        *,
        status: RunStatus | None = None,
        user: str | None = None,
        limit: int = DEFAULT_PAGE,
        cursor: str | None = None,
    ) -> Page:
        """See :meth:`ringfence.state.base.StateStore.list`. Never a short page before the end."""
        encode_id(app_id, self._id_case, what="app id")
        check_limit(limit)
        after = parse_cursor(cursor) or ""
        found = sorted(
            (self._position(record), record)
            for record in self._living()
            if record.app_id == app_id
            and status in {None, record.status}
            and user in {None, record.user_id}
            and self._position(record) > after
        )
        page = found[:limit]
        return Page(
            records=tuple(record for _, record in page),
            cursor=page[-1][0] if len(found) > limit else None,
        )

    async def append(
        self, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
    ) -> range:
        """See :meth:`ringfence.state.base.StateStore.append`."""
        made = make_batch(payloads, batch, most_bytes=self._most_bytes)
        log = await self._log(run_id)
        if made.id is not None and made.id in log.batches:
            digest, numbers = log.batches[made.id]
            if digest != made.digest:
                raise batch_mismatch(made.id)
            return numbers
        numbers = range(len(log.events) + 1, len(log.events) + 1 + len(made))
        now = self._clock()
        log.events += ((now, payload) for payload in made.payloads)
        if made.id is not None:
            log.batches[made.id] = made.digest, numbers
        log.wake()
        return numbers

    async def events(
        self, run_id: str, *, after: int = 0, limit: int = DEFAULT_PAGE
    ) -> tuple[Event, ...]:
        """See :meth:`ringfence.state.base.StateStore.events`."""
        check_events_query(after, limit)
        found = within_bytes((await self._log(run_id)).events[after : after + limit])
        return tuple(
            Event(after + number, at, json.loads(payload))
            for number, (at, payload) in enumerate(found, 1)
        )

    def tail(self, run_id: str, *, after: int = 0) -> AsyncGenerator[Event]:
        """See :meth:`ringfence.state.base.StateStore.tail`."""

        async def arrival(_after: int) -> None:
            await (await self._log(run_id)).changed.wait()

        return tail_events(self, run_id, after, arrival)

    async def acknowledge(self, run_id: str, consumer: str, sequence: int) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledge`."""
        encode_id(consumer, self._id_case, what="consumer id")
        log = await self._log(run_id)
        check_sequence(sequence)
        if sequence > len(log.events):
            raise no_such_event(sequence)
        highest = max(sequence, log.acknowledged.get(consumer, 0))
        log.acknowledged[consumer] = highest
        return highest

    async def acknowledged(self, run_id: str, consumer: str) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledged`."""
        encode_id(consumer, self._id_case, what="consumer id")
        return (await self._log(run_id)).acknowledged.get(consumer, 0)

    async def abandoned(
        self, now: datetime, *, limit: int = DEFAULT_SWEEP
    ) -> tuple[RunRecord, ...]:
        """See :meth:`ringfence.state.base.StateStore.abandoned`."""
        return tuple(record for record in self._living() if record.stale(now))[:limit]

    async def purge(self, *, limit: int = DEFAULT_SWEEP) -> int:
        """See :meth:`ringfence.state.base.StateStore.purge`."""
        now = self._clock()
        gone = [run for run, record in self._records.items() if record.expired(now)][:limit]
        for run in gone:
            self._remove(run)
        return len(gone)

    async def close(self) -> None:
        """Nothing to close."""

    def _remove(self, run_id: str) -> None:
        del self._records[run_id]
        self._logs.pop(run_id).wake()

    async def _log(self, run_id: str) -> _Log:
        return self._logs[(await self.get(run_id)).id]

    def _living(self) -> tuple[RunRecord, ...]:
        now = self._clock()
        return tuple(record for record in self._records.values() if not record.expired(now))

    def _position(self, record: RunRecord) -> Position:
        run = encode_id(record.id, self._id_case, what="run id")
        return run_position(record.created_at, run)
