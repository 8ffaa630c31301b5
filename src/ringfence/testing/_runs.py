"""Runs to test with: records, a clock, and helpers that read and race."""

# ruff: noqa: S101 - asserting is what a test suite does

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ringfence.errors import StateConflict
from ringfence.layout import IdCase, encode_id, run_position
from ringfence.runs import Cancel, Change, Complete, Fail, Start, TimeOut, apply, change_run
from ringfence.scope import AccessMode
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord, RunStatus

ENDS: tuple[Change, ...] = (
    Complete(exit_code=0),
    Fail("it broke", exit_code=1),
    Cancel("no longer needed"),
    TimeOut("too slow"),
)
EPOCH: Final = datetime(2026, 1, 1, microsecond=123_457, tzinfo=UTC)


class TestClock:
    """A clock that goes on by a second each time it is read, from so many seconds after 2026."""

    __test__ = False

    def __init__(self, second: int = 0) -> None:
        self.second = second

    def __call__(self) -> datetime:
        now = EPOCH + timedelta(seconds=self.second)
        self.second += 1
        return now


class ManualClock:
    """A clock that stands until it is moved: the one that a store under test is opened with."""

    def __init__(self, now: datetime = EPOCH) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Moves it on."""
        self.now += timedelta(seconds=seconds)


def unique(prefix: str) -> str:
    """An id that no other test has."""
    return prefix + uuid.uuid4().hex[:16]


def new_record(
    app: str | None = None,
    *,
    id: str | None = None,  # noqa: A002 - it is the field's name
    user_id: str = "user",
    mode: AccessMode = AccessMode.INVOKE_WRITE,
    at: datetime = EPOCH,
) -> RunRecord:
    """A PENDING run, with ids of its own where none are given."""
    return RunRecord(
        id=id or unique("run-"),
        app_id=app or unique("app-"),
        user_id=user_id,
        mode=mode,
        status=RunStatus.PENDING,
        version=1,
        created_at=at,
        updated_at=at,
    )


def in_order(records: Sequence[RunRecord], case: IdCase) -> list[RunRecord]:
    """As a list must show them: by time, newest first, then by encoded id."""
    return sorted(records, key=lambda r: run_position(r.created_at, encode_id(r.id, case)))


async def read_all(
    store: StateStore,
    app: str,
    *,
    limit: int = 100,
    status: RunStatus | None = None,
    user: str | None = None,
) -> list[RunRecord]:
    """Every page of a list, one after the other."""
    found: list[RunRecord] = []
    cursor = None
    for _ in range(1000):
        page = await store.list(app, status=status, user=user, limit=limit, cursor=cursor)
        assert len(page.records) <= limit
        found += page.records
        if (cursor := page.cursor) is None:
            return found
    raise AssertionError("the list does not end")


async def race_to_the_end(store: StateStore, rival: StateStore, *, writers: int) -> RunRecord:
    """Lets writers end one run in different ways at once, and checks that just one did.

    Returns:
        The record that the winner wrote.
    """
    record = await store.create(new_record())
    started = await change_run(store, record.id, Start(), TestClock(1))
    ends = [_numbered(ENDS[i % len(ENDS)], i) for i in range(writers)]
    told = await settle(
        *(
            change_run(rival if i % 2 else store, record.id, end, TestClock(2 + i))
            for i, end in enumerate(ends)
        )
    )
    final = await store.get(record.id)
    assert final.status.terminal
    assert final.version == 3, "the run ended more than once"
    for answer in told:
        heard = answer.record if isinstance(answer, StateConflict) else answer
        assert heard == final, "a writer was told of a record that is not the run's"
    winners = [end for end in ends if apply(started, end, final.updated_at) == final]
    assert len(winners) == 1, "the record is not what one writer wrote"
    return final


def _numbered(end: Change, number: int) -> Change:
    match end:
        case Complete():
            return Complete(exit_code=number)
        case Fail():
            return Fail(f"{number}", exit_code=number)
        case Cancel():
            return Cancel(f"{number}")
        case _:
            return TimeOut(f"{number}")


async def settle(*work: Coroutine[Any, Any, RunRecord]) -> list[RunRecord | StateConflict]:
    """Runs all of it at once; conflicts are answers, other errors are raised."""

    async def answer(one: Coroutine[Any, Any, RunRecord]) -> RunRecord | StateConflict:
        try:
            return await one
        except StateConflict as conflict:
            return conflict

    return await asyncio.gather(*map(answer, work))
