"""A run in progress: its record kept true, its workspace open, its log written.

The record is PENDING before anything else happens, RUNNING once the fence stands, and terminal in
the end whatever the work does; a runner that dies leaves it RUNNING with a heartbeat that grows
old. What may follow what is decided by :func:`ringfence.runs.apply` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from ringfence.errors import (
    RingfenceError,
    RunCancelled,
    RunExists,
    StateConflict,
    StorageUnreachable,
)
from ringfence.logs import LogWriter
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
)
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.workspace import Workspace

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from ringfence.providers.base import Clock
    from ringfence.state.event import Payload

CONCLUDE_SECONDS: Final = 30.0
"""How long a run tries to store its end while storage is out of reach."""
RETRY_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class RunLog:
    """What the run itself has to say: lines with a level and structured fields."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def debug(self, text: str, **fields: Any) -> None:
        """Logs a line at level ``debug``."""
        self._writer.log("debug", text, fields)

    def info(self, text: str, **fields: Any) -> None:
        """Logs a line at level ``info``."""
        self._writer.log("info", text, fields)

    def warning(self, text: str, **fields: Any) -> None:
        """Logs a line at level ``warning``."""
        self._writer.log("warning", text, fields)

    def error(self, text: str, **fields: Any) -> None:
        """Logs a line at level ``error``."""
        self._writer.log("error", text, fields)


class Run:
    """One execution, as a context manager. Made by :meth:`ringfence.storage.Storage.run`."""

    def __init__(
        self,
        record: RunRecord,
        workspace: Workspace,
        state: StateStore,
        *,
        clock: Clock,
        heartbeat_seconds: float,
        timeout_seconds: float | None = None,
        stop_on_end: bool = True,
    ) -> None:
        self._record = record
        self._state = state
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._timeout = asyncio.timeout(timeout_seconds)
        self._stop_on_end = stop_on_end
        self._changing = asyncio.Lock()
        self._conclusion: Change | None = None
        self._interrupted = False
        self._pulse: asyncio.Task[None] | None = None
        self.workspace = workspace
        self.ended_elsewhere = asyncio.Event()
        """Set when the record became terminal by another hand: cancelled, or taken for dead."""

    # --- what the work uses ------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id."""
        return self._record.id

    @property
    def record(self) -> RunRecord:
        """The record as last known here."""
        return self._record

    @property
    def app(self) -> ObjectStore:
        """The app's own place, shared by its users."""
        return self.workspace.app

    @property
    def user(self) -> ObjectStore:
        """What this user keeps in this app."""
        return self.workspace.user

    @property
    def tmp(self) -> ObjectStore:
        """Scratch space of this user in this app."""
        return self.workspace.tmp

    async def progress(self, percent: int, step: str | None = None) -> None:
        """Says how far the run is, 0 to 100. Progress never falls."""
        await self._change(Progress(progress=percent, step=step))

    async def emit(self, *payloads: Payload, batch: str | None = None) -> range:
        """Appends events to the run and returns their numbers.

        A payload over 1 MiB is stored under the run's log prefix, and the event refers to it
        (:mod:`ringfence.payloads`).

        Args:
            payloads: What JSON can hold, 64 MiB each at most.
            batch: An id of the caller's, by which a repeated batch is known and not doubled.

        Raises:
            UsageError: a payload is no JSON or too large, or the batch id is taken.
            RingfenceError: the state store or storage refuses, or is out of reach.
        """
        from ringfence.payloads import slimmed  # OpenSSL behind it takes 4 ms to load

        slim = [await slimmed(self.workspace.logs, payload) for payload in payloads]
        return await self._state.append(self._record.id, slim, batch=batch)

    def conclude(self, change: Change) -> None:
        """Decides how the run ends, in place of COMPLETED, once the block is left."""
        self._conclusion = change

    # --- its life ----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._record = await self._state.create(self._record)
        self._require_startable()
        try:
            await self.workspace
            self.output = LogWriter(self.workspace.logs, clock=self._clock)
            self.log = RunLog(self.output)
            await self._start()
        except BaseException as error:
            await self._give_up(_ending(error))
            raise
        owner = asyncio.current_task()
        assert owner is not None  # noqa: S101 - a coroutine always runs in a task
        self._owner = owner
        self._pulse = asyncio.create_task(self._beat(), name="ringfence-heartbeat")
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        limit: TimeoutError | None = None
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as reached:
            error = limit = reached
            self._conclusion = self._conclusion or TimeOut("The time limit was reached.")
        # Shielded: a second Ctrl-C must not leave a run RUNNING that has ended.
        await asyncio.shield(self._finish(error))
        if self._interrupted and isinstance(error, asyncio.CancelledError):
            self._owner.uncancel()
            raise RunCancelled(
                f"Run {self.id} is {self._record.status}: it was ended elsewhere.",
                record=self._record,
            )
        if limit is not None:
            raise limit
        return None

    async def _finish(self, error: BaseException | None) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pulse
        change = _ending(error) if error and self._conclusion is None else self._conclusion
        try:
            await self.output.close()
        except RingfenceError as lost:
            if isinstance(change or Complete(), Complete):
                change = Fail(str(lost))
            await self._end(change or Complete())
            raise
        await self._end(change or Complete())

    def _require_startable(self) -> RunRecord:
        """The record once started; refused where another runner has the run, or it has ended."""
        try:
            return apply(self._record, Start(), self._clock())
        except StateConflict as conflict:
            raise RunExists(
                conflict.message,
                hint="Nothing was done. Choose another id, or leave it out for a new one.",
                record=conflict.record,
            ) from None

    async def _start(self) -> None:
        """Takes the run up. Whoever does so first owns it; from then on its record is theirs."""
        while True:
            started = self._require_startable()
            try:
                self._record = await self._state.replace(
                    started, expected_version=self._record.version
                )
            except StateConflict as newer:
                self._record = newer.record
            else:
                return

    async def _give_up(self, change: Change) -> None:
        """Ends a run that was not taken up here. One that another runner has is left to them."""

        async def end() -> None:
            if self._record.status is RunStatus.PENDING:
                ended = apply(self._record, change, self._clock())
                with contextlib.suppress(StateConflict):
                    await self._state.replace(ended, expected_version=self._record.version)

        await self._insistently(end)

    async def _end(self, change: Change) -> None:
        await self._insistently(lambda: self._change(change))

    async def _insistently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Tries for half a minute while storage is out of reach."""
        deadline = asyncio.get_running_loop().time() + CONCLUDE_SECONDS
        while True:
            try:
                await work()
            except StorageUnreachable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _change(self, change: Change) -> None:
        """Applies a change to the newest record. One that is terminal already stays as it is."""
        async with self._changing:
            while not self._record.status.terminal:
                changed = apply(self._record, change, self._clock())
                try:
                    self._record = await self._state.replace(
                        changed, expected_version=self._record.version
                    )
                except StateConflict:
                    self._record = await self._state.get(self._record.id)
                else:
                    return
            self.ended_elsewhere.set()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            try:
                await self._change(Heartbeat())
            except RingfenceError as error:
                _log.warning("The heartbeat of run %s was not stored: %s", self.id, error)
            if self.ended_elsewhere.is_set():
                if self._stop_on_end:
                    self._interrupted = self._owner.cancel()
                return


def _ending(error: BaseException) -> Change:
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return Cancel("The runner was interrupted.")
    return Fail(f"{type(error).__name__}: {error}")


__all__ = ["Run", "RunLog", "RunStatus"]
