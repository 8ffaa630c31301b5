"""One execution of a command: record, fence, child process, log, end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from ringfence.config import is_configuration_variable, secret_values
from ringfence.errors import RingfenceError
from ringfence.executor.environment import child_environment
from ringfence.executor.fenced import fenced_environment
from ringfence.executor.process import (
    Confine,
    Confinement,
    Ending,
    Line,
    execute,
    protect_this_process,
)
from ringfence.executor.service import RunService
from ringfence.logs import LogEntry
from ringfence.running import Run
from ringfence.runs import Cancel, Change, Complete, Fail, TimeOut
from ringfence.scope import AccessMode
from ringfence.state.event import Payload
from ringfence.state.record import RunRecord
from ringfence.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command to run for an app and a user.

    ``environment`` is where the child's harmless variables come from, ``passed`` names (or
    ``NAME=VALUE``) of others that it gets too. ``hide`` are files and folders that it must not
    reach although it runs as the same user: those with the installation's keys. With ``refreshing``
    the AWS variables point at a source that renews itself, in place of keys that expire. Without
    ``passthrough`` its output goes to the log alone.
    """

    command: Sequence[str]
    app: str
    user: str
    mode: AccessMode = AccessMode.INVOKE_WRITE
    run_id: str | None = None
    timeout: timedelta | None = None
    environment: Mapping[str, str] = field(repr=False, default_factory=dict)
    passed: Sequence[str] = ()
    hide: Sequence[Path] = ()
    cwd: Path | None = None
    confine: Confine = Confine.AUTO
    refreshing: bool = False
    passthrough: bool = True
    output_to_stderr: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended. ``trouble`` is what went wrong with the record or the log, if anything."""

    record: RunRecord
    ending: Ending
    trouble: RingfenceError | None

    @property
    def exit_code(self) -> int:
        """The child's exit code; where that is 0, the one of a log or record that was lost."""
        return self.ending.exit_code or (self.trouble.exit_code if self.trouble else 0)


async def run_command(
    storage: Storage,
    job: Job,
    *,
    on_start: Callable[[Run], None] = lambda _: None,
    on_confined: Callable[[Confinement], None] = lambda _: None,
) -> Outcome:
    """Runs a command under its fence and waits for it.

    Args:
        on_start: called when the fence stands, just before the command starts.
        on_confined: called with how far the command is confined, just after its start.

    Raises:
        RingfenceError: it could not be started, or its environment is refused. A child that was
            started always yields an :class:`Outcome`.
    """
    protect_this_process()
    run: Run | None = None
    ending: Ending | None = None
    try:
        async with storage.run(
            job.app, job.user, mode=job.mode, run_id=job.run_id, stop_on_end=False
        ) as run:
            on_start(run)
            ending = await _supervise(storage, job, run, on_confined)
            run.conclude(_conclusion(ending, job))
    except RingfenceError as trouble:
        if run is None or ending is None:
            raise
        return Outcome(run.record, ending, trouble)
    return Outcome(run.record, ending, None)


async def _supervise(
    storage: Storage, job: Job, run: Run, on_confined: Callable[[Confinement], None]
) -> Ending:
    scope = run.workspace.scope

    async def stored(line: Line) -> None:
        await run.output.append(
            LogEntry(line.at, line.stream.value, line.text, partial=line.partial)
        )

    async def emitted(payloads: Sequence[Payload], batch: str | None) -> range:
        return await run.emit(*payloads, batch=batch)

    async def signed(area: str, path: str, method: str, seconds: float) -> str:
        return await storage.sign(
            scope, area, path, method=method, expires_in=timedelta(seconds=seconds)
        )

    service = RunService(
        lambda: storage.vend(scope), run.output.append, emitted, signed, storage.clock
    )
    async with service:
        with TemporaryDirectory(prefix="ringfence-run-") as folder:
            fenced = fenced_environment(
                storage.provider,
                await storage.vend(scope),
                scope,
                service,
                folder=Path(folder),
                refreshing=job.refreshing,
            )
            return await execute(
                job.command,
                environment=_environment(storage, job, fenced),
                on_output=stored,
                passthrough=job.passthrough,
                output_to_stderr=job.output_to_stderr,
                cwd=job.cwd,
                timeout=job.timeout.total_seconds() if job.timeout else None,
                hide=job.hide,
                stop=run.ended_elsewhere,
                confine=job.confine,
                on_confined=on_confined,
            )


def _environment(storage: Storage, job: Job, fenced: Mapping[str, str]) -> dict[str, str]:
    return child_environment(
        job.environment,
        fenced=fenced,
        passed=job.passed,
        secrets=secret_values(storage.settings),
        is_configuration=is_configuration_variable,
    )


def _conclusion(ending: Ending, job: Job) -> Change:
    if ending.timed_out:
        limit = job.timeout.total_seconds() if job.timeout else 0
        return TimeOut(f"The time limit of {limit:g} s was reached.")
    if ending.stopped:
        return Cancel("The run was cancelled.")
    if ending.exit_code == 0:
        return Complete(exit_code=0)
    by = f"was ended by signal {ending.signal}" if ending.signal else "failed"
    return Fail(f"The command {by} (exit code {ending.exit_code}).", exit_code=ending.exit_code)
