"""The suite's own test: a defect planted in each rule turns the test of that rule red."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import pytest
from obstore.store import MemoryStore

from ringfence import layout, runs
from ringfence.errors import RingfenceError
from ringfence.layout import Key, Position
from ringfence.runs import Change, Complete, Progress, apply
from ringfence.state import base, codec, memory, s3_index, s3_objects, scanning
from ringfence.state.base import Page, StateStore, run_exists
from ringfence.state.memory import MemoryStateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.state.s3 import S3StateStore
from ringfence.state.s3_index import RunIndex
from ringfence.state.s3_objects import RunObjects
from ringfence.testing.state import ManualClock, StateStoreConformance
from tests.state import test_s3
from tests.state.doubles import Unordered, as_store

Plant = Callable[[pytest.MonkeyPatch], None]

# --- the transitions -------------------------------------------------------------------------


def _applying(broken: Callable[[RunRecord, Change, datetime], RunRecord]) -> Plant:
    return lambda patch: patch.setattr(runs, "apply", broken)


def _progress_falls(record: RunRecord, change: Change, now: datetime) -> RunRecord:
    changed = apply(record, change, now)
    if isinstance(change, Progress) and change.progress is not None:
        return replace(changed, progress=change.progress)
    return changed


def _time_goes_back(record: RunRecord, change: Change, now: datetime) -> RunRecord:
    changed = apply(record, change, now)
    return changed if changed is record else replace(changed, updated_at=now)


def _ends_are_overwritten(record: RunRecord, change: Change, now: datetime) -> RunRecord:
    return apply(replace(record, status=RunStatus.RUNNING), change, now)


def _pending_completes(record: RunRecord, change: Change, now: datetime) -> RunRecord:
    if isinstance(change, Complete) and not record.status.terminal:
        record = replace(record, status=RunStatus.RUNNING)
    return apply(record, change, now)


def _versions_stand_still(record: RunRecord, change: Change, now: datetime) -> RunRecord:
    return replace(apply(record, change, now), version=record.version)


def _nothing_expires(record: RunRecord, change: Change, now: datetime) -> RunRecord:
    return replace(apply(record, change, now), expires_at=None)


# --- the memory store, as any backend's author might get it wrong ------------------------------


async def _swap_without_compare(
    self: MemoryStateStore, record: RunRecord, *, expected_version: int
) -> RunRecord:
    await self.get(record.id)
    self._records[record.id] = record
    return record


async def _swap_for_a_later_version(
    self: MemoryStateStore, record: RunRecord, *, expected_version: int
) -> RunRecord:
    stored = await self.get(record.id)
    if stored.version > expected_version:
        raise base.version_conflict(stored, expected_version)
    self._records[record.id] = record
    return record


async def _conflict_with_the_loser(
    self: MemoryStateStore, record: RunRecord, *, expected_version: int
) -> RunRecord:
    if (await self.get(record.id)).version != expected_version:
        raise base.version_conflict(record, expected_version)
    self._records[record.id] = record
    return record


async def _swap_makes_runs(
    self: MemoryStateStore, record: RunRecord, *, expected_version: int
) -> RunRecord:
    if record.id in self._records:
        return await _REPLACE(self, record, expected_version=expected_version)
    self._records[record.id] = record
    return record


async def _creation_overwrites(self: MemoryStateStore, record: RunRecord) -> RunRecord:
    self._records[record.id] = record
    return record


async def _creation_is_never_repeated(self: MemoryStateStore, record: RunRecord) -> RunRecord:
    if record.id in self._records:
        raise run_exists(self._records[record.id])
    return await _CREATE(self, record)


async def _ids_without_case(self: MemoryStateStore, record: RunRecord) -> RunRecord:
    self._records = _Folded(self._records)
    return await _CREATE(self, record)


class _Folded(dict[str, RunRecord]):
    def setdefault(self, key: str, default: Any = None) -> RunRecord:
        same = [stored for stored in self if stored.lower() == key.lower()]
        return super().setdefault(same[0] if same else key, default)


def _listing(**broken: Any) -> Plant:
    """Lists with some of the arguments replaced, or their result changed by ``then``."""
    then: Callable[[Page], Page] = broken.pop("then", lambda page: page)

    async def listed(self: MemoryStateStore, app_id: str, **asked: Any) -> Page:
        return then(await _LIST(self, app_id, **{**asked, **broken}))

    return lambda patch: patch.setattr(MemoryStateStore, "list", listed)


def _pages_by_number(patch: pytest.MonkeyPatch) -> None:
    async def listed(
        self: MemoryStateStore, app_id: str, *, limit: int = 100, cursor: str | None = None
    ) -> Page:
        everything = (await _LIST(self, app_id, limit=1000)).records
        start = int(cursor or 0)
        after = start + limit
        more = str(after) if after < len(everything) else None
        return Page(everything[start:after], more)

    patch.setattr(MemoryStateStore, "list", listed)


def _positions(broken: Callable[[Position], str]) -> Plant:
    healthy = layout.run_position
    return lambda patch: patch.setattr(memory, "run_position", lambda *of: broken(healthy(*of)))


def _cursor_of_a_moment(patch: pytest.MonkeyPatch) -> None:
    def parsed(cursor: str | None) -> str | None:
        return cursor and cursor.split("-")[0] + "~"

    patch.setattr(memory, "parse_cursor", parsed)


def _apps_by_beginning(patch: pytest.MonkeyPatch) -> None:
    async def listed(self: MemoryStateStore, app_id: str, **asked: Any) -> Page:
        found = {r.app_id for r in self._records.values() if r.app_id.startswith(app_id)}
        pages = [await _LIST(self, app, **asked) for app in sorted(found)]
        return Page(tuple(record for page in pages for record in page.records), None)

    patch.setattr(MemoryStateStore, "list", listed)


_CREATE, _REPLACE, _LIST = (
    MemoryStateStore.create,
    MemoryStateStore.replace,
    MemoryStateStore.list,
)


def _memory(method: str, broken: Any) -> Plant:
    return lambda patch: patch.setattr(MemoryStateStore, method, broken)


# --- the S3 store ----------------------------------------------------------------------------


def _unconditional(patch: pytest.MonkeyPatch) -> None:
    healthy = RunObjects.swap

    async def swap(self: RunObjects, key: Key, record: RunRecord, write: str, mode: Any) -> bool:
        return await healthy(self, key, record, write, "overwrite")

    patch.setattr(RunObjects, "swap", swap)


def _one_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(s3_objects, "encode_record", lambda record, _: codec.encode_record(record, "t"))
    patch.setattr(secrets, "token_hex", lambda _: "t")


def _own_writes_unknown(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(s3_objects, "encode_record", lambda record, _: codec.encode_record(record, "t"))


def _entries_are_believed(patch: pytest.MonkeyPatch) -> None:
    async def read_at(self: S3StateStore, batch: list[Position]) -> list[Any]:
        stored = [await self._objects.read(layout.position_record_key(each)) for each in batch]
        return [(each, found.record) for each, found in zip(batch, stored, strict=True) if found]

    patch.setattr(S3StateStore, "_read_at", read_at)


def _entries_are_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RunObjects, "discard", _nothing)


async def _nothing(*_: Any) -> None:
    pass


def _record_before_entry(patch: pytest.MonkeyPatch) -> None:
    async def create(self: S3StateStore, record: RunRecord) -> RunRecord:
        key, write = self._record_key(record.id), self._token()
        if await self._objects.swap(key, record, write, "create"):
            await self._objects.mark(self._entry_key(record))
            return record
        stored = await self._objects.read(key)
        assert stored is not None
        return stored.record

    patch.setattr(S3StateStore, "create", create)


def _newest_in_one_key(patch: pytest.MonkeyPatch) -> None:
    healthy = RunObjects.mark

    async def enter(self: RunObjects, entry: Key) -> None:
        await healthy(self, entry)
        await self.store.put_async(f"{entry.split('/runs/')[0]}/newest", entry.encode())

    patch.setattr(RunObjects, "mark", enter)


def _reads_the_rest(patch: pytest.MonkeyPatch) -> None:
    healthy = RunIndex.positions

    async def positions(self: RunIndex, after: Position | None) -> AsyncGenerator[Position]:
        for position in [each async for each in healthy(self, after)]:
            yield position

    patch.setattr(RunIndex, "positions", positions)


def _unbounded_scan(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scanning, "MAX_SCAN", 10**9)


def _unsorted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(s3_index, "sorted", list, raising=False)


def _seconds_only(patch: pytest.MonkeyPatch) -> None:
    write, read = codec._CODECS["created_at"]
    patch.setitem(codec._CODECS, "created_at", (lambda t: write(t.replace(microsecond=0)), read))


def _field_is_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.delitem(codec._CODECS, "exit_code")


class Defect(NamedTuple):
    """What is wrong, which test must see it, and on which store."""

    plant: Plant
    seen_by: str
    on: str = "memory"


DEFECTS = {
    "progress falls": Defect(_applying(_progress_falls), "progress_and_time_never_fall"),
    "time goes back": Defect(_applying(_time_goes_back), "progress_and_time_never_fall"),
    "ends are overwritten": Defect(_applying(_ends_are_overwritten), "an_end_is_final"),
    "pending completes": Defect(_applying(_pending_completes), "pending_is_not_completed"),
    "versions stand still": Defect(_applying(_versions_stand_still), "a_life"),
    "nothing expires": Defect(_applying(_nothing_expires), "a_life"),
    "no compare": Defect(
        _memory("replace", _swap_without_compare), "a_stale_writer_is_told_the_newer_record"
    ),
    "compare by order": Defect(
        _memory("replace", _swap_for_a_later_version), "a_version_that_is_not_reached_yet"
    ),
    "the loser is told its own": Defect(
        _memory("replace", _conflict_with_the_loser), "a_stale_writer_is_told_the_newer_record"
    ),
    "a swap makes runs": Defect(_memory("replace", _swap_makes_runs), "a_run_that_is_not_there"),
    "a creation overwrites": Defect(
        _memory("create", _creation_overwrites), "an_id_is_taken_by_other_content"
    ),
    "a creation is never repeated": Defect(
        _memory("create", _creation_is_never_repeated), "creating_again_returns_the_stored_record"
    ),
    "ids without case": Defect(_memory("create", _ids_without_case), "ids_are_taken_as_they_are"),
    "ids are not checked": Defect(
        lambda patch: patch.setattr(memory, "encode_id", lambda raw, *_, **__: raw),
        "an_id_that_cannot_be_encoded",
    ),
    "pages by number": Defect(_pages_by_number, "pages_hold_while_runs_are_created"),
    "a page skips runs of one moment": Defect(_cursor_of_a_moment, "newest_first_in_pages"),
    "a page repeats its last": Defect(
        lambda patch: patch.setattr(memory, "parse_cursor", lambda cursor: cursor and cursor[:-1]),
        "newest_first_in_pages",
    ),
    "oldest first": Defect(
        _listing(then=lambda page: Page(page.records[::-1], page.cursor)), "newest_first_in_pages"
    ),
    "no order in a moment": Defect(
        _positions(lambda at: at[:21] + at[21:][::-1]), "runs_of_one_moment_have_an_order"
    ),
    "status is no filter": Defect(_listing(status=None), "filters"),
    "user is no filter": Defect(_listing(user=None), "filters"),
    "the limit is none": Defect(_listing(limit=1000), "a_page_is_as_long_as_asked"),
    "any limit": Defect(
        lambda patch: patch.setattr(memory, "check_limit", lambda limit: limit),
        "a_limit_out_of_range",
    ),
    "any cursor": Defect(
        lambda patch: patch.setattr(memory, "parse_cursor", lambda cursor: cursor),
        "a_cursor_that_is_none",
    ),
    "apps by beginning": Defect(_apps_by_beginning, "neighbours_are_not_listed"),
    "unconditional swap": Defect(_unconditional, "one_end_wins", on="s3"),
    "unconditional change": Defect(_unconditional, "changes_at_once_all_count", on="s3"),
    "unconditional creation": Defect(_unconditional, "one_of_many_creators_wins", on="s3"),
    "one token for all": Defect(_one_token, "a_stale_writer_is_told_the_newer_record", on="s3"),
    "own writes unknown": Defect(_own_writes_unknown, "an_answer_that_was_lost_is_no_conflict"),
    "entries are believed": Defect(
        _entries_are_believed, "a_crash_in_a_creation_leaves_nothing_wrong"
    ),
    "entries are left": Defect(_entries_are_left, "a_repeated_creation_takes_its_entry_back"),
    "record before entry": Defect(
        _record_before_entry, "a_crash_in_a_creation_leaves_nothing_wrong"
    ),
    "a hot key": Defect(_newest_in_one_key, "no_key_is_written_by_two_runs"),
    "reads the rest": Defect(_reads_the_rest, "the_newest_page_costs_the_same_among_any_number"),
    "unbounded scan": Defect(_unbounded_scan, "a_filter_that_matches_little_is_bounded_work"),
    "unsorted": Defect(_unsorted, "newest_first_in_pages", on="unordered"),
    "seconds only": Defect(_seconds_only, "reads_back_what_was_created", on="s3"),
    "a field is dropped": Defect(_field_is_dropped, "keeps_every_field_through_a_change", on="s3"),
}


def stores(kind: str, clock: ManualClock) -> tuple[StateStore, StateStore]:
    """A store and its rival."""
    if kind == "memory":
        store = MemoryStateStore(clock=clock)
        return store, store
    bucket = MemoryStore()
    ordered = kind == "s3"
    opened = bucket if ordered else as_store(Unordered(bucket))
    first, second = (
        S3StateStore(opened, bucket="meta", ordered=ordered, clock=clock) for _ in range(2)
    )
    return first, second


def cases(function: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The arguments that pytest would call a parametrized test with."""
    marks = [m.args for m in getattr(function, "pytestmark", ()) if m.name == "parametrize"]
    for values in itertools.product(*(values for _, values in marks)):
        yield {name: value for (name, _), value in zip(marks, values, strict=True)}


def _in_suite(test: str) -> bool:
    return hasattr(StateStoreConformance, f"test_{test}")


async def is_red(defect: Defect) -> bool:
    """Whether one of the test's cases fails."""
    home = StateStoreConformance if _in_suite(defect.seen_by) else test_s3
    function = getattr(home, f"test_{defect.seen_by}")
    wants = inspect.signature(function).parameters
    for case in cases(function):
        clock = ManualClock()
        store, rival = stores(defect.on, clock)
        suite = StateStoreConformance()
        given = {"self": suite, "store": store, "rival": rival, "clock": clock}
        arguments = {name: given[name] for name in wants if name in given} | case
        try:
            async with asyncio.timeout(30):
                await function(**arguments)
        except (AssertionError, RingfenceError, TimeoutError, pytest.fail.Exception):
            return True
    return False


@pytest.mark.parametrize("name", DEFECTS)
async def test_a_planted_defect_turns_its_test_red(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    DEFECTS[name].plant(monkeypatch)
    assert await is_red(DEFECTS[name])


@pytest.mark.parametrize(
    "name", [name for name, defect in DEFECTS.items() if _in_suite(defect.seen_by)]
)
async def test_without_the_defect_it_is_green(name: str) -> None:
    assert not await is_red(DEFECTS[name])
