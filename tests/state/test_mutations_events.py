"""The suite's own test, of events and time: a defect planted in each rule turns its test red."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ringfence import runs
from ringfence.errors import StateConflict
from ringfence.providers.base import Clock
from ringfence.state import memory, s3_marks, tailing
from ringfence.state.base import StateStore
from ringfence.state.event import Event, Payload, make_batch, no_such_event
from ringfence.state.memory import MemoryStateStore
from ringfence.state.record import RunRecord
from ringfence.state.s3_events import RunEvents
from ringfence.state.s3_marks import RunMarks
from ringfence.state.s3_objects import RunObjects
from ringfence.testing import _state_time
from tests.state.test_mutations import Defect, is_red

_APPEND = MemoryStateStore.append
_EVENTS = MemoryStateStore.events
_ABANDONED = MemoryStateStore.abandoned

Plant = Callable[[pytest.MonkeyPatch], None]


def _memory(**methods: Any) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        for name, method in methods.items():
            patch.setattr(MemoryStateStore, name, method)

    return plant


def _setting(home: Any, name: str, value: Any) -> Plant:
    return lambda patch: patch.setattr(home, name, value)


# --- events ------------------------------------------------------------------------------


async def _no_batches(
    self: MemoryStateStore, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
) -> range:
    make_batch(payloads, batch)
    return await _APPEND(self, run_id, payloads)


async def _batches_by_id_alone(
    self: MemoryStateStore, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
) -> range:
    known = (await self._log(run_id)).batches.get(batch or "")
    return known[1] if known else await _APPEND(self, run_id, payloads, batch=batch)


async def _batches_of_all_runs(
    self: MemoryStateStore, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
) -> range:
    for log in self._logs.values():
        if batch in log.batches:
            (await self._log(run_id)).batches[batch] = log.batches[batch]
    return await _APPEND(self, run_id, payloads, batch=batch)


async def _read_then_write(
    self: MemoryStateStore, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
) -> range:
    made, log = make_batch(payloads, batch), await self._log(run_id)
    known = list(log.events)
    await asyncio.sleep(0)
    log.events = known + [(self._clock(), payload) for payload in made.payloads]
    return range(len(known) + 1, len(log.events) + 1)


async def _numbered_from_zero(self: MemoryStateStore, *args: Any, **kwargs: Any) -> Any:
    found = await _EVENTS(self, *args, **kwargs)
    return tuple(replace(event, sequence=event.sequence - 1) for event in found)


async def _last_page(
    self: MemoryStateStore, run_id: str, *, after: int = 0, limit: int = 100
) -> tuple[Event, ...]:
    return (await _EVENTS(self, run_id, after=after, limit=1000))[-limit:]


async def _half_of_a_batch(
    self: MemoryStateStore, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
) -> range:
    numbers = await _APPEND(self, run_id, payloads[:500], batch=batch)
    return range(numbers.start, numbers.start + len(payloads))


async def _acknowledged_last(
    self: MemoryStateStore, run_id: str, consumer: str, sequence: int
) -> int:
    log = await self._log(run_id)
    if not 0 <= sequence <= len(log.events):
        raise no_such_event(sequence)
    log.acknowledged[consumer] = sequence
    return sequence


async def _anything_acknowledged(
    self: MemoryStateStore, run_id: str, consumer: str, sequence: int
) -> int:
    acknowledged = (await self._log(run_id)).acknowledged
    acknowledged[consumer] = max(sequence, acknowledged.get(consumer, 0))
    return acknowledged[consumer]


async def _ends_at_the_first_pause(
    store: Any, run_id: str, after: int, *_: Any, **__: Any
) -> AsyncGenerator[Event]:
    while found := await store.events(run_id, after=after):
        for event in found:
            yield event
            after = event.sequence


async def _ends_with_the_record(
    store: Any, run_id: str, after: int, *_: Any, **__: Any
) -> AsyncGenerator[Event]:
    while not (await store.get(run_id)).status.terminal:
        for event in await store.events(run_id, after=after):
            yield event
            after = event.sequence
        await asyncio.sleep(0.01)


async def _never_ends(
    store: Any, run_id: str, after: int, *_: Any, **__: Any
) -> AsyncGenerator[Event]:
    while True:
        for event in await store.events(run_id, after=after):
            yield event
            after = event.sequence
        await asyncio.sleep(0.01)


# --- time --------------------------------------------------------------------------------


async def _all_that_run(self: MemoryStateStore, now: datetime, *, limit: int = 1000) -> Any:
    return await _ABANDONED(self, now + timedelta(days=1), limit=limit)


async def _none_that_run(self: MemoryStateStore, now: datetime, *, limit: int = 1000) -> Any:
    return ()


async def _no_limit(self: MemoryStateStore, now: datetime, *, limit: int = 1000) -> Any:
    return await _ABANDONED(self, now)


async def _told_twice(store: StateStore, record: RunRecord, clock: Clock) -> RunRecord:
    try:
        changed = runs.apply(record, runs.TimeOut("gone"), clock())
        return await store.replace(changed, expected_version=record.version)
    except StateConflict as lost:
        return lost.record


async def _purges_all_that_ended(self: MemoryStateStore, *, limit: int = 1000) -> int:
    gone = [run for run, record in self._records.items() if record.status.terminal]
    for run in gone:
        self._remove(run)
    return len(gone)


def _removes_the_record_alone(self: MemoryStateStore, run_id: str) -> None:
    del self._records[run_id]


async def _events_outlive(self: RunEvents, run: Any) -> None:
    self.forget(run)


DEFECTS: dict[str, Defect] = {
    "batches are doubled": Defect(_memory(append=_no_batches), "a_repeated_batch_is_not_doubled"),
    "batches at once are doubled": Defect(
        _memory(append=_no_batches), "a_batch_at_once_is_stored_once"
    ),
    "any batch of that id": Defect(
        _memory(append=_batches_by_id_alone), "a_batch_id_is_taken_by_other_events"
    ),
    "batches of other runs": Defect(
        _memory(append=_batches_of_all_runs), "a_batch_id_is_taken_by_other_events"
    ),
    "read, then write": Defect(_memory(append=_read_then_write), "many_writers_leave_no_gap"),
    "numbered from zero": Defect(
        _memory(events=_numbered_from_zero), "events_come_back_as_they_were"
    ),
    "the last page": Defect(_memory(events=_last_page), "pages"),
    "half of a batch": Defect(_memory(append=_half_of_a_batch), "a_full_batch"),
    "acknowledging falls": Defect(
        _memory(acknowledge=_acknowledged_last), "acknowledging_never_falls"
    ),
    "anything is acknowledged": Defect(
        _memory(acknowledge=_anything_acknowledged), "acknowledging_never_falls"
    ),
    "a tail ends at a pause": Defect(
        _setting(memory, "tail_events", _ends_at_the_first_pause),
        "a_tail_tells_everything_and_ends",
    ),
    "a tail ends with the record": Defect(
        _setting(memory, "tail_events", _ends_with_the_record), "a_tail_of_a_run_that_has_ended"
    ),
    "a tail never ends": Defect(
        _setting(memory, "tail_events", _never_ends), "several_tails_and_an_end_without_events"
    ),
    "a wake-up is missed for good": Defect(
        lambda patch: (
            patch.setattr(memory._Log, "wake", lambda self: None),
            patch.setattr(tailing, "LONGEST_WAIT", 1e6),
            patch.setattr(tailing.tail_events, "__kwdefaults__", {"longest_wait": 1e6}),
        )[0],
        "a_tail_tells_everything_and_ends",
    ),
    "everyone is abandoned": Defect(
        _memory(abandoned=_all_that_run), "a_run_without_a_heartbeat_is_abandoned"
    ),
    "nobody is abandoned": Defect(
        _memory(abandoned=_none_that_run), "a_run_without_a_heartbeat_is_abandoned"
    ),
    "a limit is no limit": Defect(
        _memory(abandoned=_no_limit), "a_run_without_a_heartbeat_is_abandoned"
    ),
    "reaped twice": Defect(
        _setting(runs, "_reap", _told_twice), "reaping_turns_each_exactly_once", on="s3"
    ),
    "nothing is expired": Defect(
        _setting(RunRecord, "expired", lambda self, now: False), "an_expired_run_is_not_there"
    ),
    "expired a moment late": Defect(
        _setting(
            RunRecord,
            "expired",
            lambda self, now: self.expires_at is not None and self.expires_at < now,
        ),
        "an_expired_run_is_not_there",
    ),
    "events outlive their run": Defect(
        _memory(_remove=_removes_the_record_alone), "its_id_may_be_used_again"
    ),
    "events outlive their run on S3": Defect(
        _setting(RunEvents, "remove", _events_outlive), "its_id_may_be_used_again", on="s3"
    ),
    "what ended is purged": Defect(
        _memory(purge=_purges_all_that_ended), "purging_removes_what_expired_and_nothing_else"
    ),
    "groups are overwritten": Defect(
        lambda patch: patch.setattr(RunObjects, "put", _unconditionally(RunObjects.put)),
        "many_writers_leave_no_gap",
        on="s3",
    ),
    "runs are not marked": Defect(
        _setting(RunMarks, "open", lambda self, run: asyncio.sleep(0)),
        "a_run_without_a_heartbeat_is_abandoned",
        on="s3",
    ),
    "a purge asks nobody": Defect(
        _setting(s3_marks, "_being_purged", lambda stored: True),
        "its_id_may_be_used_again",
        on="s3",
    ),
}


def _unconditionally(put: Any) -> Any:
    async def over(self: Any, key: Any, body: bytes, mode: Any) -> Any:
        await asyncio.sleep(0)
        return await put(self, key, body, "overwrite" if "/events/" in key else mode)

    return over


@pytest.mark.parametrize("name", DEFECTS)
async def test_a_planted_defect_turns_its_test_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringfence.testing._state_events.SOON", 1.0)
    monkeypatch.setattr(s3_marks, "WAIT_SECONDS", 0.3)
    DEFECTS[name].plant(monkeypatch)
    assert await is_red(DEFECTS[name])


@pytest.mark.parametrize("name", DEFECTS)
async def test_without_the_defect_it_is_green(name: str) -> None:
    assert not await is_red(DEFECTS[name])


def test_every_rule_has_a_defect() -> None:
    suites = (_state_time.TimeConformance,)
    rules = {
        name.removeprefix("test_")
        for name in itertools.chain.from_iterable(map(dir, suites))
        if name.startswith("test_")
    }
    seen = {defect.seen_by for defect in DEFECTS.values()}
    assert rules - seen <= {
        "its_events_go_with_it",
        "a_heartbeat_in_time_saves_a_run",
    }, "seen through others of the same rule"
