"""The command line. Faces only: each command calls the library and shows what it said.

What a command needs is imported inside it, so that ``ringfence --help`` costs little more than
importing the parser.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

import typer

from ringfence.cli import config, creds, demo, engine, grants, logs, run, runs
from ringfence.cli._common import end_with_error
from ringfence.errors import EXIT_USAGE, RingfenceError

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
    try:
        _command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    _end(code)


def _command() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # Ids and logs hold any text; a terminal that cannot show it must not end a command.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
        sys.stdout.flush()
    except RingfenceError as error:
        end_with_error(error, as_json="--json" in sys.argv)
    except KeyboardInterrupt:
        sys.stderr.write("ringfence: interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone: `ringfence logs RUN | head`, say. Not an error.
        sys.exit(EXIT_USAGE if not sys.argv[1:] else 0)


def _end(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
