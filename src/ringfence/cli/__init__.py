"""The command line. Faces only: each command calls the library and shows what it said.

What a command needs is imported inside it, so that ``ringfence --help`` costs little more than
importing the parser.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

import typer

from ringfence.cli import config, creds, demo, engine, grants, logs, run, runs
from ringfence.cli._common import end_with_error
from ringfence.cli._streams import open_streams
from ringfence.errors import EXIT_USAGE, RingfenceError, UsageError

app = typer.Typer(
    name="ringfence",
    help="Storage for multi-tenant workflow engines: every execution gets temporary credentials "
    "fenced to its own prefixes.",
    epilog="Exit codes: 0 done, 1 the work failed, 2 bad usage or configuration, 3 a refusal by "
    "storage or a broken fence, 4 storage out of reach; `run` passes the child's on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _part in (engine, config, run, runs, logs, grants, creds, demo):
    _part.register(app)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"ringfence {installed('ringfence')}")
        raise typer.Exit


def main() -> None:
    """The entry point: runs a command and turns our errors into sentences and exit codes.

    It ends the process without taking the interpreter down. A thread of obstore's that asks for an
    interpreter that is going down is ended by CPython in the midst of Rust, which aborts the
    process: seen once in 150 runs (PyGILState_Ensure, "Cautions regarding runtime finalization").
    """
    open_streams()
    try:
        code = _command(as_json=_wants_json(sys.argv[1:]))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    _end(code)


def _wants_json(arguments: list[str]) -> bool:
    """Whether ``--json`` is ours: what stands after ``--`` is another command's."""
    end = arguments.index("--") if "--" in arguments else None
    return "--json" in arguments[:end]


def _command(*, as_json: bool) -> int:
    try:
        code = app(standalone_mode=False)
        # Here, where a full disk still is an error of this command.
        sys.stdout.flush()
    except _MISUSE as misuse:
        if not as_json:
            misuse.show()
            return EXIT_USAGE
        end_with_error(_in_our_words(misuse), as_json=True)
    except RingfenceError as error:
        end_with_error(error, as_json=as_json)
    except KeyboardInterrupt:
        sys.stderr.write("ringfence: interrupted\n")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone: `ringfence logs RUN | head`, say. Not an error.
        return EXIT_USAGE if not sys.argv[1:] else 0
    return code if isinstance(code, int) else 0


# The parser's own: typer exports but the errors that derive from it.
_MISUSE: Any = typer.BadParameter.__mro__[1]


def _in_our_words(misuse: Any) -> UsageError:
    """What the parser refuses, as an error for programs."""
    hint = f"See `{misuse.ctx.command_path} -h`." if misuse.ctx is not None else None
    return UsageError(misuse.format_message(), hint=hint)


def _end(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
