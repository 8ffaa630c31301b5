"""``ringfence run``: one execution of a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfence.cli._common import (
    App,
    AsJson,
    EnvFiles,
    Mode,
    User,
    access_mode,
    environment,
    one_of,
    print_json,
    record_as_json,
    say,
    say_error,
)
from ringfence.errors import UsageError

if TYPE_CHECKING:
    from ringfence.config import Environment
    from ringfence.executor.process import Confinement
    from ringfence.executor.run_command import Job, Outcome

ENGINE_FOLDER = ".ringfence"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "run", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False}
    )(run)


def run(
    command: Annotated[list[str], typer.Argument(help="The command, after --.", metavar="CMD...")],
    app: App,
    user: User,
    mode: Mode = "invoke_write",
    run_id: Annotated[
        str | None,
        typer.Option("--run-id", help="The run's id; by default a fresh one.", metavar="ID"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", help="End it after this many seconds.", metavar="SECONDS"),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            help="Give the command this variable too: NAME from here, or NAME=VALUE; repeatable.",
            metavar="NAME[=VALUE]",
        ),
    ] = None,
    credentials: Annotated[
        str,
        typer.Option(
            help="static: keys in the AWS variables, for any tool. refreshing: a source that AWS "
            "SDKs renew from by themselves, for runs longer than a credential.",
        ),
    ] = "static",
    confine: Annotated[
        str,
        typer.Option(
            help="auto: hide the installation's keys from the command where the system can; "
            "required: refuse to run where it cannot; off.",
        ),
    ] = "auto",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing of our own unless it fails.")
    ] = False,
    env_files: EnvFiles = None,
    as_json: AsJson = False,
) -> None:
    """Run a command for an app and a user, fenced to their own prefixes.

    The command gets temporary credentials in the variables its SDK already reads, RINGFENCE_* for
    the rest, and nothing of the installation's own. Its exit code is passed through; 124 is the
    time limit. With --json its output goes to standard error and the run's record to standard
    output.
    """
    from ringfence.config import process_environment
    from ringfence.executor.process import Confine
    from ringfence.executor.run_command import Job

    found = environment(env_files)
    job = Job(
        command=command,
        app=app,
        user=user,
        mode=access_mode(mode),
        run_id=run_id,
        timeout=_limit(timeout),
        environment=process_environment(),
        passed=env or (),
        hide=tuple(_hidden(env_files, process_environment())),
        confine=Confine(one_of("--confine", confine, tuple(Confine))),
        refreshing=one_of("--credentials", credentials, ("static", "refreshing")) == "refreshing",
        output_to_stderr=as_json,
    )
    outcome = _execute(found, job, quiet=quiet or as_json)
    if as_json:
        print_json(record_as_json(outcome.record))
    raise typer.Exit(outcome.exit_code)


def _execute(found: Environment, job: Job, *, quiet: bool) -> Outcome:
    import asyncio

    from ringfence.config import Settings
    from ringfence.executor.run_command import run_command
    from ringfence.storage import Storage

    settings = Settings.from_env(found)

    async def main() -> Outcome:
        async with Storage(settings) as storage:
            return await run_command(
                storage,
                job,
                on_start=lambda run: None if quiet else say(_started(run.id, job)),
                on_confined=lambda got: None if quiet else _say_what_is_open(got),
            )

    outcome = asyncio.run(main())
    if outcome.trouble is not None:
        say_error(outcome.trouble)
    if not quiet:
        say(_ended(outcome))
    return outcome


def _started(run_id: str, job: Job) -> str:
    return f"ringfence: run {run_id} for app {job.app}, user {job.user}, {job.mode}"


def _say_what_is_open(confinement: Confinement) -> None:
    for sentence in confinement.sentences():
        say(f"ringfence: {sentence}")


def _ended(outcome: Outcome) -> str:
    record = outcome.record
    took = ""
    if record.started_at and record.completed_at:
        took = f" after {(record.completed_at - record.started_at).total_seconds():.1f} s"
    return f"ringfence: run {record.id} {record.status}{took}, exit code {outcome.exit_code}"


def _hidden(env_files: list[Path] | None, variables: Mapping[str, str]) -> Iterator[Path]:
    """What holds the installation's keys: settings files, and where SDKs find this user's own.

    Each of the files, and not only those whose values won; for the embedded engine's, its whole
    folder.
    """
    from ringfence.config.environment import DEFAULT_ENV_FILES
    from ringfence.executor.environment import credential_places

    for file in (*(env_files or ()), *map(Path, DEFAULT_ENV_FILES)):
        if file.exists():
            found = file.resolve()
            yield found.parent if _is_engine_folder(found.parent) else found
    yield from credential_places(variables)


def _is_engine_folder(folder: Path) -> bool:
    from ringfence.embedded.statedir import INSTALLATION_FILE

    return folder.name == ENGINE_FOLDER or (folder / INSTALLATION_FILE).exists()


def _limit(timeout: float | None) -> timedelta | None:
    if timeout is None:
        return None
    if not 0 < timeout <= 366 * 86400:
        raise UsageError(f"--timeout {timeout:g} is no time limit.", hint="Give seconds above 0.")
    return timedelta(seconds=timeout)
