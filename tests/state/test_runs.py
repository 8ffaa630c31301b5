"""The pure transitions: what may follow what, and what no clock and no text can break."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.errors import StateConflict, UsageError
from ringfence.runs import (
    Cancel,
    Change,
    Complete,
    Fail,
    Heartbeat,
    Progress,
    Start,
    TimeOut,
    apply,
    change_run,
)
from ringfence.state.memory import MemoryStateStore
from ringfence.state.record import (
    MAX_ERROR_BYTES,
    MAX_TEXT_BYTES,
    RunRecord,
    RunStatus,
    bounded,
)
from ringfence.testing.state import TestClock, new_record

CHANGES = (Start(), Heartbeat(), Progress(1), Complete(0), Fail("e", 1), Cancel(), TimeOut())
ENDS = {Complete: "COMPLETED", Fail: "FAILED", Cancel: "CANCELLED", TimeOut: "TIMEOUT"}

# status: what each of CHANGES makes of it; "same" is the record itself, None a conflict.
TABLE = {
    "PENDING": ("RUNNING", None, None, None, "FAILED", "CANCELLED", "TIMEOUT"),
    "RUNNING": (None, "RUNNING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT"),
    "COMPLETED": (None, None, None, "same", None, None, None),
    "FAILED": (None, None, None, None, "same", None, None),
    "CANCELLED": (None, None, None, None, None, "same", None),
    "TIMEOUT": (None, None, None, None, None, None, "same"),
}


def in_status(status: str) -> RunRecord:
    record = new_record()
    if status != "PENDING":
        record = apply(record, Start(), TestClock(1)())
    for change in CHANGES:
        if ENDS.get(type(change)) == status:
            record = apply(record, change, TestClock(2)())
    assert record.status == status
    return record


@pytest.mark.parametrize("status", TABLE)
@pytest.mark.parametrize("index", range(len(CHANGES)), ids=lambda i: type(CHANGES[i]).__name__)
def test_what_may_follow_what(status: str, index: int) -> None:
    record, change, expected = in_status(status), CHANGES[index], TABLE[status][index]
    if expected is None:
        with pytest.raises(StateConflict) as refused:
            apply(record, change, TestClock(3)())
        assert refused.value.record is record
        target = ENDS.get(type(change), "RUNNING")
        assert status in str(refused.value)
        assert target in str(refused.value)
    elif expected == "same":
        assert apply(record, change, TestClock(3)()) is record
    else:
        changed = apply(record, change, TestClock(3)())
        assert (changed.status, changed.version) == (expected, record.version + 1)


@pytest.mark.parametrize(
    ("ended", "again", "is_repeat"),
    [
        (Complete(0), Complete(3), False),
        (Complete(None), Complete(0), False),
        (Fail("e", 1), Fail("e", 2), False),
        (Fail("e", 1), Fail("f", 1), False),
        (Fail("e" * 9999, 1), Fail("e" * 9999, 1), True),
        (Cancel("mine"), Cancel("yours"), True),
        (TimeOut("limit"), TimeOut("no runner"), True),
    ],
)
def test_the_same_end_again_is_no_change(ended: Change, again: Change, is_repeat: bool) -> None:
    record = apply(in_status("RUNNING"), ended, TestClock(3)())
    if is_repeat:
        assert apply(record, again, TestClock(4)()) is record
    else:
        with pytest.raises(StateConflict, match="another outcome"):
            apply(record, again, TestClock(4)())


# Around the creation, before it and after.
_times = st.integers(-(10**9), 10**9).map(lambda second: TestClock(second)())
_changes = st.one_of(
    st.just(Start()),
    st.just(Heartbeat()),
    st.builds(
        Progress,
        st.none() | st.integers(0, 100),
        st.none() | st.text(),
        st.none() | st.integers(0, 2**63 - 1),
        st.none() | st.integers(0, 2**63 - 1),
    ),
    st.builds(Complete, st.none() | st.integers(-64, 255)),
    st.builds(Fail, st.text(), st.none() | st.integers(-64, 255)),
    st.builds(Cancel, st.none() | st.text()),
    st.builds(TimeOut, st.none() | st.text()),
)


@given(st.lists(st.tuples(_changes, _times), max_size=30), st.integers(0, 10**6))
def test_nothing_ever_goes_back(steps: list[tuple[Change, datetime]], ttl: int) -> None:
    record = replace(new_record(), ttl_seconds=ttl)
    for change, now in steps:
        try:
            changed = apply(record, change, now)
        except StateConflict:
            continue
        if changed is record:
            assert record.status.terminal
            continue
        assert not record.status.terminal
        assert changed.version == record.version + 1
        assert changed.progress >= record.progress
        assert changed.input_bytes >= record.input_bytes
        assert changed.output_bytes >= record.output_bytes
        assert changed.updated_at >= record.updated_at
        assert changed.updated_at >= now
        assert changed.same_run(record)
        assert changed.created_at == record.created_at
        record = changed
    times = [record.created_at, record.started_at, record.heartbeat_at, record.completed_at]
    known = [time for time in times if time is not None]
    assert known == sorted(known)
    assert (record.completed_at is not None) == record.status.terminal
    assert (record.expires_at is not None) == (record.status.terminal and ttl > 0)
    assert record.progress == 100 or record.status is not RunStatus.COMPLETED


@given(st.text(st.characters(), max_size=400), st.integers(3, 300))
def test_texts_are_cut_to_what_every_store_holds(text: str, limit: int) -> None:
    cut = bounded(text, limit)
    assert len(cut.encode()) <= limit
    assert "\x00" not in cut
    whole = text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    if len(whole.encode()) <= limit:
        assert cut == whole
    else:
        assert whole.startswith(cut[:-1])


def test_a_long_error_keeps_its_beginning() -> None:
    failed = apply(in_status("RUNNING"), Fail("begin" + "é" * 5000), TestClock(9)())
    assert failed.error is not None
    assert failed.error.startswith("beginéé")
    assert MAX_ERROR_BYTES - 4 < len(failed.error.encode()) <= MAX_ERROR_BYTES


@pytest.mark.parametrize(
    "fields",
    [
        {"progress": 101},
        {"progress": -1},
        {"input_bytes": -1},
        {"output_bytes": 2**63},
    ],
)
def test_progress_out_of_range(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Progress(**fields)


@pytest.mark.parametrize("zone", [None, timezone(-timedelta(hours=1))])
def test_a_clock_that_is_not_in_utc_is_refused(zone: timezone | None) -> None:
    now = TestClock(999)().replace(tzinfo=zone)
    with pytest.raises((ValueError, TypeError)):
        apply(new_record(), Start(), now)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("workflow", "w" * (MAX_TEXT_BYTES + 1)),
        ("trigger", "a\x00b"),
        ("workflow_version", "\ud800"),
    ],
)
def test_texts_that_no_store_can_hold_are_refused(field: str, value: str) -> None:
    fields: dict[str, Any] = {field: value}
    with pytest.raises(UsageError, match=field.replace("_", " ")):
        replace(new_record(), **fields)


def test_a_lease_ends_when_no_heart_beats() -> None:
    record = replace(new_record(), lease_seconds=10)
    assert not record.stale(TestClock(10_000)()), "a run that waits has no runner to lose"
    running = apply(record, Start(), TestClock(100)())
    assert running.leased_until == TestClock(110)()
    assert not running.stale(TestClock(110)())
    assert running.stale(TestClock(111)())
    beating = apply(running, Heartbeat(), TestClock(109)())
    assert not beating.stale(TestClock(111)())
    assert not apply(beating, Cancel(), TestClock(112)()).stale(TestClock(999)())


class Overtaken(MemoryStateStore):
    """Another writer is always there first."""

    async def replace(self, record: RunRecord, *, expected_version: int) -> RunRecord:
        other = apply(await self.get(record.id), Heartbeat(), record.updated_at)
        await super().replace(other, expected_version=other.version - 1)
        return await super().replace(record, expected_version=expected_version)


async def test_a_change_gives_up_after_so_many_races() -> None:
    store = Overtaken()
    record = await store.create(in_status("RUNNING"))
    with pytest.raises(StateConflict) as lost:
        await change_run(store, record.id, Progress(5), TestClock(9), attempts=3)
    assert lost.value.record == await store.get(record.id)
    assert lost.value.record.version == record.version + 3
