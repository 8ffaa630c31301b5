"""One command, from its start to the end of everything it started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ringfence.errors import ConfinementRefused
from ringfence.executor.child import Child, Report
from ringfence.executor.confine import (
    Confine,
    Confinement,
    Refusal,
    levels,
    protect_this_process,
)
from ringfence.executor.forwarding import Forwarding
from ringfence.executor.order import Order, not_started, take_order
from ringfence.executor.output import Clock, Line, OnOutput, Output, Stream
from ringfence.executor.screen import Screen
from ringfence.executor.watch import Limits, Why, until_ended

__all__ = [
    "Confine",
    "Confinement",
    "Ending",
    "Line",
    "Stream",
    "execute",
    "protect_this_process",
]

GRACE_SECONDS: Final = 5.0

EXIT_TIME_LIMIT: Final = 124
"""As timeout(1) has it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended.

    ``exit_code`` is what a shell would report: the command's own, 128 and the signal's number, 126
    for a command that is not executable, 127 for one that is not there, and 124 for the time limit.
    """

    exit_code: int
    signal: int | None = None
    timed_out: bool = False
    stopped: bool = False
    """Ended because ``stop`` was set, or by a third Ctrl-C."""
    forwarded: tuple[int, ...] = ()
    """Signals that this process got meanwhile and passed on, in order."""
    confinement: Confinement | None = None
    """``None`` when nothing was started."""


def _now() -> datetime:
    return datetime.now(UTC)


async def execute(  # noqa: PLR0913 - one call is one run; all but the command are options by name
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    on_output: OnOutput,
    passthrough: bool = True,
    output_to_stderr: bool = False,
    cwd: Path | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - the command's, not the call's
    grace: float = GRACE_SECONDS,
    hide: Sequence[Path] = (),
    stop: asyncio.Event | None = None,
    confine: Confine = Confine.AUTO,
    on_confined: Callable[[Confinement], None] = lambda _: None,
    clock: Clock = _now,
) -> Ending:
    """Runs a command and waits until nothing of it is left.

    When this returns or raises, no process that the command started is running, whatever the way
    it ended, as far as the system can find them (see :class:`Confinement`). The command inherits
    standard input and nothing else that is open. While it runs, the signals of
    :mod:`~ringfence.executor.forwarding` are passed on to its process group.

    Args:
        command: the program and its arguments; no shell reads them.
        environment: all of the command's variables, see :func:`child_environment`.
        on_output: awaited for one line at a time; while it takes its time, the command waits.
        passthrough: also writes the output, unchanged and at once, to our own.
        output_to_stderr: writes both streams to our standard error.
        timeout: seconds until the command's group gets SIGTERM.
        grace: seconds from SIGTERM, after ``timeout`` or ``stop``, to the end of everything.
        hide: files and folders that the command must not reach although it has the same user. A
            file that is replaced by a rename meanwhile shows again; put it into a hidden folder.
        stop: ends the command when set.
        on_confined: called with what the command was given, just after its start.

    Raises:
        UsageError: the command or the folder cannot be meant.
        ConfinementRefused: confinement is required, and not to be had here.
        RingfenceError: the system would not start it.
    """
    order = take_order(command, environment, cwd, hide, confine)
    if stop is not None and stop.is_set():
        return Ending(128 + signal.SIGTERM, signal.SIGTERM, stopped=True)
    if confine is not Confine.OFF:
        protect_this_process()
    screen = Screen(shown=passthrough, to_stderr=output_to_stderr)
    output = Output(on_output, screen, clock)
    try:
        with Forwarding() as forwarding:
            async with _launched(order) as (child, report, confinement):
                if report.failed is not None:
                    return await _not_started(order, report.failed, output)
                on_confined(confinement)
                forwarding.send_to(child.signal)
                limits = Limits(timeout, grace, stop, forwarding.kill)
                status, why = await _attended(child, output, limits)
            return _ending(status, why, tuple(forwarding.passed), confinement)
    finally:
        await screen.close()


async def _attended(child: Child, output: Output, limits: Limits) -> tuple[int | None, Why]:
    """The command's whole life, and its output to the last line."""
    readers = [output.attach(*pair) for pair in zip(Stream, child.descriptors, strict=True)]
    try:
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(output.pump(reader))
            result = await until_ended(child, limits)
            output.finish()
    except BaseExceptionGroup as errors:
        # Only one can be told, and whoever wrote `on_output` expects their own.
        raise errors.exceptions[0] from None
    return result


@asynccontextmanager
async def _launched(order: Order) -> AsyncIterator[tuple[Child, Report, Confinement]]:
    """Starts the command as confined as it can be; at the exit, nothing of it is left."""
    refused: list[Refusal] = []
    for level in levels(order.confine):
        child = Child.spawn(order.environment)
        try:
            report = await child.start(order.plan(level))
            if report.refused is None:
                noted = [Refusal(level, *note) for note in report.noted]
                yield child, report, _confinement(order, report, (*refused, *noted))
                return
            refused.append(Refusal(level, *report.refused))
        finally:
            await _to_the_end(child.close())
    confinement = Confinement(order.confine, exposed=order.hide, refusals=tuple(refused))
    raise ConfinementRefused(
        f"Confinement is required, and not to be had here. {' '.join(confinement.sentences())}",
        hint="Allow user namespaces to this user, or run with --confine auto.",
    )


def _confinement(order: Order, report: Report, refused: tuple[Refusal, ...]) -> Confinement:
    got = report.achieved
    exposed = tuple(order.hide[index] for index in report.exposed) if "files" in got else order.hide
    return Confinement(
        requested=order.confine,
        privileges_dropped="privileges" in got,
        landlock="landlock" in got,
        own_files="files" in got,
        own_processes="processes" in got,
        user_namespace="user" in got,
        hidden=tuple(path for path in order.hide if path not in exposed),
        exposed=exposed,
        refusals=refused,
    )


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Awaits something short that a cancellation must not cut off; cancels afterwards."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(task)
        raise


async def _not_started(order: Order, failed: tuple[str, int], output: Output) -> Ending:
    reason = not_started(order, *failed)
    await output.say(reason.sentence)
    return Ending(reason.exit_code)


def _ending(
    status: int | None, why: Why, forwarded: tuple[int, ...], confinement: Confinement
) -> Ending:
    # A launcher that was killed took everything with it.
    code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
    by_signal = -code if code < 0 else None
    shown = 128 + by_signal if by_signal else code
    return Ending(
        exit_code=EXIT_TIME_LIMIT if why is Why.TIMED_OUT else shown,
        signal=by_signal,
        timed_out=why is Why.TIMED_OUT,
        stopped=why in {Why.STOPPED, Why.KILLED},
        forwarded=forwarded,
        confinement=confinement,
    )
