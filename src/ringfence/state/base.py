"""What a state store is: run records, kept under compare-and-set, and the events of runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from ringfence.errors import RunExists, RunNotFound, StateConflict, UsageError
from ringfence.layout import Position, parse_position
from ringfence.state.event import Event, Payload
from ringfence.state.record import RunRecord, RunStatus

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000
DEFAULT_SWEEP: Final = 1000
"""Most runs that one call of ``abandoned`` returns, or of ``purge`` removes."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of an app's runs, newest first. ``cursor`` asks for those after; None is the end.

    A page may be shorter than was asked for, even empty, and still have a cursor: a filter that
    matches little is searched for in several calls, each of bounded work.
    """

    records: tuple[RunRecord, ...]
    cursor: str | None


class StateStore(Protocol):
    """Where run records and events live. Safe to use by many tasks, processes and machines at once.

    A store decides nothing about runs: :func:`ringfence.runs.apply` does, and the store swaps one
    version for the next. A run whose ``expires_at`` has come, by the store's clock, is not there
    any more, nor are its events, and its id may be used again.

    Every method may also raise :class:`~ringfence.errors.InvalidId` for an id that cannot be
    encoded, :class:`~ringfence.errors.StorageUnreachable` when there is no answer in time, and
    :class:`~ringfence.errors.AccessDenied` when the answer is no.
    """

    async def create(self, record: RunRecord) -> RunRecord:
        """Stores a new run and returns it.

        Idempotent: where the run exists with the same content (ids, mode, workflow, its version,
        trigger; not the times), nothing is written and the stored record is returned.

        Raises:
            RunExists: the id is taken by a run with other content.
        """
        ...

    async def get(self, run_id: str) -> RunRecord:
        """The newest version of a run's record.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def replace(self, record: RunRecord, *, expected_version: int) -> RunRecord:
        """Stores ``record`` if the stored version is ``expected_version``; all or nothing.

        Raises:
            StateConflict: the stored version is another; the error carries that record.
            RunNotFound: there is no such run.
        """
        ...

    async def list(
        self,
        app_id: str,
        *,
        status: RunStatus | None = None,
        user: str | None = None,
        limit: int = DEFAULT_PAGE,
        cursor: str | None = None,
    ) -> Page:
        """A page of an app's runs: by ``created_at``, newest first, then by encoded id.

        The order is total and the same on every backend, so that pages neither skip nor repeat a
        run that was there when the first page was read, whatever is created in between.

        Args:
            app_id: Whose runs.
            status: Only runs that have this status when they are read.
            user: Only runs of this user.
            limit: At most this many, 1 to 1,000.
            cursor: From the page before. Whoever holds one can see the run id in it, which may be
                one that the filter left out.

        Raises:
            UsageError: the limit is out of range, or the cursor is none of this store's.
        """
        ...

    async def append(
        self, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
    ) -> range:
        """Appends events to a run, all or none, and returns their sequence numbers.

        The numbers of a run's events begin at 1 and leave none out, however many append at once.
        Idempotent by ``batch``: where the run has a batch of that id with the same events, nothing
        is written and the numbers that they have are returned.

        Args:
            run_id: Whose events. Whether the run has ended makes no difference.
            payloads: 1 to 1,000, each what JSON can hold, of 1 MiB at most.
            batch: The client's id for the batch, so that it may be repeated.

        Raises:
            RunNotFound: there is no such run.
            UsageError: the batch is empty or too large, a payload too large or no JSON, or the
                batch id is taken by other events.
        """
        ...

    async def events(
        self, run_id: str, *, after: int = 0, limit: int = DEFAULT_PAGE
    ) -> tuple[Event, ...]:
        """Events of a run in order, from the one after ``after`` on, at most ``limit`` (to 1,000).

        A read ends early once it has 16 MiB of payloads, so only an empty answer says that there
        are no more.

        Raises:
            RunNotFound: there is no such run.
            UsageError: a number is out of its range.
        """
        ...

    def tail(self, run_id: str, *, after: int = 0) -> AsyncGenerator[Event]:
        """Every event after ``after``, as it comes, until the run has ended.

        Whatever was appended before the run became terminal is told; then it ends. Events wait in
        the store and not here: a consumer that takes its time costs no memory.

        Raises:
            RunNotFound: there is no such run, or no longer.
        """
        ...

    async def acknowledge(self, run_id: str, consumer: str, sequence: int) -> int:
        """Notes that a consumer has dealt with every event up to ``sequence``.

        It never falls: the highest that was acknowledged is returned.

        Raises:
            RunNotFound: there is no such run.
            UsageError: the run has no such event yet.
        """
        ...

    async def acknowledged(self, run_id: str, consumer: str) -> int:
        """The highest event that the consumer acknowledged; 0 where it never did.

        Raises:
            RunNotFound: there is no such run.
        """
        ...

    async def abandoned(
        self, now: datetime, *, limit: int = DEFAULT_SWEEP
    ) -> tuple[RunRecord, ...]:
        """RUNNING runs, of every app, whose lease was over at ``now``; at most so many.

        What becomes of them is decided by :func:`ringfence.runs.reap`.
        """
        ...

    async def purge(self, *, limit: int = DEFAULT_SWEEP) -> int:
        """Removes what is left of expired runs, and returns of how many; at most so many.

        Readers do not see an expired run in any case. A store that expires by itself has little or
        nothing to do here.
        """
        ...

    async def close(self) -> None:
        """Closes connections. Idempotent."""
        ...


def check_limit(limit: int) -> int:
    """``limit``, if it is one.

    Raises:
        UsageError: it is not in 1 to 1,000.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise UsageError(f"The limit is {limit}; a page holds 1 to {MAX_PAGE} runs.")
    return limit


def parse_cursor(cursor: str | None) -> Position | None:
    """The position a cursor stands for: that of the last run that was looked at.

    Raises:
        UsageError: it is no cursor. It may come from outside, and becomes part of a key.
    """
    if cursor is None:
        return None
    position = parse_position(cursor)
    if position is None:
        raise UsageError(
            "The cursor is none that a list of runs has returned.",
            hint="Leave it out to start with the newest run.",
        )
    return position


def run_not_found(run_id: str) -> RunNotFound:
    """The error of every store for a run that is not there."""
    return RunNotFound(f"There is no run {run_id!r}.", hint="See `ringfence runs list --app APP`.")


def run_exists(stored: RunRecord) -> RunExists:
    """The error of every store for an id that is taken."""
    return RunExists(
        f"The run id {stored.id!r} is taken by a run with other content "
        f"(created {stored.created_at:%Y-%m-%d %H:%M:%S} UTC).",
        hint="Choose another id; repeating a creation needs the same app, user, mode, workflow and "
        "trigger.",
        record=stored,
    )


def version_conflict(stored: RunRecord, expected_version: int) -> StateConflict:
    """The error of every store for a change that was based on another version."""
    return StateConflict(
        f"Run {stored.id!r} is at version {stored.version} ({stored.status}), not at "
        f"{expected_version}: another writer was there first.",
        record=stored,
    )
