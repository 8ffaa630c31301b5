"""A run's life, as a pure function: what may follow what, and what each change does to the record.

::

    PENDING ── Start ──> RUNNING ── Complete ──> COMPLETED
       │                    ├────── Fail ──────> FAILED
       │                    ├────── Cancel ────> CANCELLED
       │                    └────── TimeOut ───> TIMEOUT
       └── Fail, Cancel, TimeOut: as from RUNNING

A terminal record never changes again, whoever asks.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ringfence.errors import RunNotFound, StateConflict, UsageError
from ringfence.state.record import (
    MAX_COUNT,
    MAX_ERROR_BYTES,
    MAX_TEXT_BYTES,
    RunRecord,
    RunStatus,
    bounded,
)

if TYPE_CHECKING:
    from ringfence.providers.base import Clock
    from ringfence.state.base import StateStore

DEFAULT_ATTEMPTS: Final = 10
DEFAULT_REAPED: Final = 1000


@dataclass(frozen=True, slots=True)
class Start:
    """A runner has taken the run up. A second one is refused."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The runner is alive: its lease begins anew."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is. What is None stays; percent and byte counts never fall.

    Args:
        progress: Percent, 0 to 100.
        step: What it is doing, for people. Cut at 1,024 bytes.
        input_bytes: Read so far.
        output_bytes: Written so far.

    Raises:
        UsageError: a number is out of its range.
    """

    progress: int | None = None
    step: str | None = None
    input_bytes: int | None = None
    output_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.progress is not None and not 0 <= self.progress <= 100:
            raise UsageError(f"The progress is {self.progress}; it is a percentage, 0 to 100.")
        for count in (self.input_bytes, self.output_bytes):
            if count is not None and not 0 <= count <= MAX_COUNT:
                raise UsageError(f"{count} is no count of bytes.")


@dataclass(frozen=True, slots=True)
class Complete:
    """The work is done."""

    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    """The work ended without being done. The error is cut at 4,096 bytes."""

    error: str
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Someone asked for the run to stop."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TimeOut:
    """The run took longer than it may, or its runner is gone."""

    reason: str | None = None


Change = Start | Heartbeat | Progress | Complete | Fail | Cancel | TimeOut

_BECOMES: Final[dict[type[Change], RunStatus]] = {
    Start: RunStatus.RUNNING,
    Heartbeat: RunStatus.RUNNING,
    Progress: RunStatus.RUNNING,
    Complete: RunStatus.COMPLETED,
    Fail: RunStatus.FAILED,
    Cancel: RunStatus.CANCELLED,
    TimeOut: RunStatus.TIMEOUT,
}
_FROM_PENDING: Final = (Start, Fail, Cancel, TimeOut)
_FROM_RUNNING: Final = (Heartbeat, Progress, Complete, Fail, Cancel, TimeOut)


def apply(record: RunRecord, change: Change, now: datetime) -> RunRecord:
    """The record after a change, one version on. Pure.

    The end that a run already has is no change: ``record`` itself comes back, so that repeating
    a request whose answer was lost does no harm. For Complete and Fail that means the same exit
    code and error; for Cancel and TimeOut the status is enough, since the first reason stands.

    A clock that was set back does not take a run back: no time is before the record's last.

    Args:
        record: The run as it is.
        change: What happened to it.
        now: In UTC.

    Raises:
        StateConflict: the record's state does not allow it; the message names both states.
    """
    if record.status.terminal:
        if _already(record, change):
            return record
        raise _conflict(record, change)
    allowed = _FROM_PENDING if record.status is RunStatus.PENDING else _FROM_RUNNING
    if not isinstance(change, allowed):
        raise _conflict(record, change)
    moment = max(now, record.updated_at)
    status = _BECOMES[type(change)]
    return replace(
        record,
        status=status,
        version=record.version + 1,
        updated_at=moment,
        **_life(record, change, moment),
        **(_end(record, moment) if status.terminal else {}),
    )


def _life(record: RunRecord, change: Change, moment: datetime) -> dict[str, Any]:
    match change:
        case Start():
            return {"started_at": moment, "heartbeat_at": moment}
        case Heartbeat():
            return {"heartbeat_at": moment}
        case Progress():
            return {"heartbeat_at": moment, **_advance(record, change)}
        case Complete(exit_code):
            return {"progress": 100, "exit_code": exit_code}
        case Fail(error, exit_code):
            return {"error": bounded(error, MAX_ERROR_BYTES), "exit_code": exit_code}
        case Cancel(reason) | TimeOut(reason):
            return {} if reason is None else {"error": bounded(reason, MAX_ERROR_BYTES)}


def _advance(record: RunRecord, change: Progress) -> dict[str, Any]:
    return {
        "progress": max(record.progress, change.progress or 0),
        "input_bytes": max(record.input_bytes, change.input_bytes or 0),
        "output_bytes": max(record.output_bytes, change.output_bytes or 0),
        "step": record.step if change.step is None else bounded(change.step, MAX_TEXT_BYTES),
    }


def _end(record: RunRecord, moment: datetime) -> dict[str, Any]:
    expires = moment + timedelta(seconds=record.ttl_seconds) if record.ttl_seconds else None
    return {"completed_at": moment, "expires_at": expires}


def _already(record: RunRecord, change: Change) -> bool:
    if _BECOMES[type(change)] is not record.status:
        return False
    match change:
        case Complete(exit_code):
            return exit_code == record.exit_code
        case Fail(error, exit_code):
            told = (bounded(error, MAX_ERROR_BYTES), exit_code)
            return told == (record.error, record.exit_code)
        case _:
            return True


def _conflict(record: RunRecord, change: Change) -> StateConflict:
    target, status = _BECOMES[type(change)], record.status
    if isinstance(change, Heartbeat | Progress):
        why = f"is {status}, not {target}, so it takes no heartbeat and no progress"
    elif target is not status:
        why = f"is {status}; it cannot become {target}"
    elif target is RunStatus.RUNNING:
        why = "is RUNNING already: another runner started it"
    else:
        why = f"is {status} already, with another outcome than this {target}"
    return StateConflict(f"Run {record.id!r} {why}.", record=record)


async def change_run(
    store: StateStore,
    run: str | RunRecord,
    change: Change,
    clock: Clock,
    *,
    attempts: int = DEFAULT_ATTEMPTS,
) -> RunRecord:
    """Applies a change to a run's newest record and swaps it in; again, when another was faster.

    Args:
        store: Where the run is.
        run: Its id; or its record as last seen, which spares the reading of it.
        change: What happened to it.
        clock: The time now, in UTC.
        attempts: How often it tries. In between it waits a random share of 10 ms, doubling.

    Raises:
        StateConflict: the run's state does not allow the change, or every race was lost. ``record``
            is the run as it stands.
        RunNotFound: there is no such run.
    """
    import asyncio

    record = await store.get(run) if isinstance(run, str) else run
    for attempt in itertools.count(1):
        changed = _applied(record, change, clock(), seen=isinstance(run, str) or attempt > 1)
        if changed is None:  # what was last seen does not allow it: it may be out of date
            record = await store.get(record.id)
            continue
        if changed is record:
            break
        try:
            return await store.replace(changed, expected_version=record.version)
        except StateConflict as lost:
            if attempt >= attempts:
                raise
            record = lost.record
        await asyncio.sleep(_pause(attempt))
    return record


def _applied(record: RunRecord, change: Change, now: datetime, *, seen: bool) -> RunRecord | None:
    try:
        return apply(record, change, now)
    except StateConflict:
        if seen:
            raise
        return None


def _pause(attempt: int) -> float:
    """Writers that met once would meet again if they came back at the same time."""
    import random

    return random.uniform(0, 0.01 * 2 ** min(attempt, 6))  # noqa: S311 - an order, not a secret


async def reap(
    store: StateStore, clock: Clock, *, limit: int = DEFAULT_REAPED
) -> tuple[RunRecord, ...]:
    """Turns runs whose runner is gone into TIMEOUT, and returns those that this call turned.

    However many reapers run at once, each run is turned, and returned, exactly once: the record is
    swapped under compare-and-set, and one whose heart beat meanwhile is left alone.

    Args:
        store: Where the runs are.
        clock: The time now, in UTC. Heartbeats are other machines' times: leases should be long
            beside the difference of the clocks.
        limit: Most runs that are looked at.
    """
    reaped = [
        reaped
        for record in await store.abandoned(clock(), limit=limit)
        if (reaped := await _reap(store, record, clock)) is not None
    ]
    return tuple(reaped)


async def _reap(store: StateStore, record: RunRecord, clock: Clock) -> RunRecord | None:
    while record.stale(now := clock()):
        gone = f"Its runner is gone: no heartbeat for over {record.lease_seconds} s."
        try:
            changed = apply(record, TimeOut(gone), now)
            return await store.replace(changed, expected_version=record.version)
        except StateConflict as newer:
            record = newer.record
        except RunNotFound:
            return None
    return None
