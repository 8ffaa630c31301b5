"""What the commands share: options, opening the storage, showing results and errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from ringfence.errors import ConfigError, RingfenceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ringfence.config import Environment, Settings
    from ringfence.scope import AccessMode, Scope
    from ringfence.state.record import RunRecord
    from ringfence.storage import Storage

T = TypeVar("T")

EnvFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--env-file",
        help="Read variables from this file; repeatable, the first wins. By default .env, then "
        ".ringfence/env, where they exist. The real environment wins over all.",
        metavar="FILE",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
App = Annotated[str, typer.Option("--app", help="The app's id.", metavar="ID")]
User = Annotated[str, typer.Option("--user", help="The user's id.", metavar="ID")]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        help="invoke_write, invoke_read, invoke_none, edit_app, read_app or read_logs.",
        metavar="MODE",
    ),
]
RunId = Annotated[
    str | None, typer.Option("--run", help="Fence to this run's log too.", metavar="RUN")
]


def environment(env_files: Sequence[Path] | None) -> Environment:
    """The variables of the process and of the files."""
    from ringfence.config import load_environment

    return load_environment(env_files)


def settings(env_files: Sequence[Path] | None) -> Settings:
    """The settings, or every problem with them."""
    from ringfence.config import Settings

    return Settings.from_env(environment(env_files))


def with_storage(env_files: Sequence[Path] | None, work: Callable[[Storage], Awaitable[T]]) -> T:
    """Opens the storage, does the work on an event loop of its own, closes it."""
    configured = settings(env_files)

    async def main() -> T:
        from ringfence.storage import Storage

        async with Storage(configured) as storage:
            return await work(storage)

    import asyncio

    return asyncio.run(main())


def one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    """The value, if it is one of the choices; otherwise a :class:`UsageError` that lists them."""
    if value not in choices:
        raise UsageError(f"{option} {value!r} is not known.", hint=f"One of: {', '.join(choices)}.")
    return value


def access_mode(mode: str) -> AccessMode:
    """The access mode of ``--mode``."""
    from ringfence.scope import AccessMode

    return AccessMode(one_of("--mode", mode, tuple(AccessMode)))


def scope_of(app: str, user: str, mode: str, run_id: str | None) -> Scope:
    """The scope that the options describe."""
    from ringfence.scope import Scope

    return Scope(app, user, run_id, access_mode(mode))


def console(*, stderr: bool = False) -> Console:
    """A terminal to write to; colours only where it is one and NO_COLOR is not set."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    # Piped output is for grep and diff: never folded to the width of a terminal that is not there.
    width = None if stream.isatty() else 200
    return Console(stderr=stderr, highlight=False, soft_wrap=False, width=width, emoji=False)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def record_as_json(record: RunRecord) -> dict[str, Any]:
    """A run's record for programs: every field, times in ISO 8601 and UTC."""
    from dataclasses import asdict
    from datetime import UTC, datetime

    def plain(value: Any) -> Any:
        return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value

    return {name: plain(value) for name, value in asdict(record).items()}


def printable(text: object) -> str:
    """The text, with what is not to be seen written as ``repr`` does: ``\\x1b``, ``\\n``.

    Ids, commands and the fields of records are a tenant's: they must neither steer the terminal nor
    make lines that look like ours.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)


def say(*lines: str) -> None:
    """Lines for the person at the terminal, apart from what the command prints."""
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    sys.stderr.flush()


def end_with_error(error: RingfenceError, *, as_json: bool) -> NoReturn:
    """Says what is wrong, on standard error or as JSON, and ends with the error's exit code."""
    if not as_json or not _printed(error):
        say_error(error)
    sys.exit(error.exit_code)


def say_error(error: RingfenceError) -> None:
    """Says what is wrong: a line, one more for each problem of a configuration, and the hint."""
    say(f"ringfence: {_headline(error)}")
    if isinstance(error, ConfigError):
        say(*(f"  - {problem}" for problem in error.problems))
    if error.hint:
        say(f"  {error.hint}")


def _printed(error: RingfenceError) -> bool:
    try:
        print_json({"error": error_as_json(error)})
        sys.stdout.flush()
    except OSError:
        return False  # it may be what the error is about
    return True


def _headline(error: RingfenceError) -> str:
    """A message is one line; that of a :class:`ConfigError` goes on with its problems."""
    if isinstance(error, ConfigError) and error.problems:
        return error.message.partition("\n")[0]
    return error.message


def error_as_json(error: RingfenceError) -> dict[str, Any]:
    """An error for programs."""
    row: dict[str, Any] = {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }
    if isinstance(error, ConfigError):
        row["problems"] = [
            {
                "variable": problem.variable,
                "found": problem.found,
                "expected": problem.expected,
                "hint": problem.hint,
            }
            for problem in error.problems
        ]
    return row
