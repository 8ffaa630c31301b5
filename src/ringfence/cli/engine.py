"""``ringfence up``, ``down`` and ``status``: the embedded engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringfence.cli._common import AsJson, console, print_json, say
from ringfence.errors import EXIT_FAILED, EXIT_UNREACHABLE

if TYPE_CHECKING:
    from ringfence.embedded import Engine

Folder = Annotated[
    Path, typer.Option("--dir", help="The engine's folder.", metavar="DIR", show_default=True)
]
Doors = Annotated[
    bool,
    typer.Option(
        "--doors", help="Every port and socket, and what keeps each closed; `up` has tried them."
    ),
]
_DEFAULT = Path(".ringfence")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)


def up(
    folder: Folder = _DEFAULT,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds to wait.", metavar="SECONDS")
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Start the embedded engine, make its buckets and write its settings."""
    from ringfence import embedded

    with _progress() as report:
        engine = embedded.up(folder, timeout=timeout, on_progress=report)
    if as_json:
        print_json({"started": engine.started, **_as_json(engine)})
        return
    _show(engine, doors=False)
    env = _relative(engine.env_file)
    # The default folder's settings are found without being named.
    option = "" if env == str(_DEFAULT / "env") else f"--env-file {env} "
    typer.echo(f"next      ringfence run {option}--app APP --user USER -- CMD")


def down(folder: Folder = _DEFAULT, as_json: AsJson = False) -> None:
    """Stop the embedded engine. Its data stays, and `up` continues with it."""
    from ringfence import embedded

    stopped = embedded.down(folder)
    if as_json:
        print_json({"stopped": stopped})
    else:
        typer.echo("The engine was stopped." if stopped else "No engine was running.")


def status(folder: Folder = _DEFAULT, doors: Doors = False, as_json: AsJson = False) -> None:
    """Say how the embedded engine is. Ends with 4 when it does not answer, 1 when it is full."""
    from ringfence import embedded

    engine = embedded.status(folder)
    if as_json:
        print_json(_as_json(engine))
    elif engine is None:
        say(f"ringfence: no engine was ever started in {folder}.")
        say("  Start one with `ringfence up`.")
    else:
        _show(engine, doors=doors)
    if engine is None or not engine.ready:
        raise typer.Exit(EXIT_UNREACHABLE)
    if engine.full:
        # It answers, and keeps nothing: no script should go on to write.
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _progress() -> Iterator[Callable[[str], None] | None]:
    """Shows what is being done, where somebody is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    with console(stderr=True).status("Starting") as line:
        yield line.update


def _show(engine: Engine, *, doors: bool) -> None:
    from rich.text import Text

    word, style = _state(engine)
    process = f", process {engine.pid}" if engine.pid else ""
    rows = [
        ("engine", Text.assemble((word, style), f" (SeaweedFS {engine.version}{process})")),
        ("endpoint", Text(engine.endpoint)),
        ("buckets", Text(", ".join(engine.buckets.values()))),
        ("settings", Text(_relative(engine.env_file))),
        ("data", Text(f"{_relative(engine.data_dir)}, {_room(engine)}")),
        ("log", Text(_relative(engine.log_file))),
    ]
    out = console()
    for name, value in rows:
        out.print(Text(name.ljust(10), "dim").append_text(value), soft_wrap=True)
    if doors:
        _show_doors(engine)


def _show_doors(engine: Engine) -> None:
    from ringfence import embedded

    found = embedded.doors(engine)
    width = max(len(door.name) for door in found)
    typer.echo("\nEvery door, and what keeps it closed:")
    for door in found:
        typer.echo(f"  {door.name.ljust(width)}  {door.closed.value.ljust(11)}  {door.address}")


def _state(engine: Engine) -> tuple[str, str]:
    if not engine.running:
        return "not running", "bold red"
    if not engine.ready:
        return "running, but does not answer", "bold red"
    if engine.full:
        return "running, but the disk is full: nothing can be written", "bold yellow"
    return "running", "bold green"


def _room(engine: Engine) -> str:
    return f"{engine.free_bytes / (1 << 30):.1f} GiB free on its disk"


def _relative(path: Path) -> str:
    """The path as short as it can be said from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _as_json(engine: Engine | None) -> dict[str, Any]:
    if engine is None:
        return {"running": False, "ready": False}
    from ringfence import embedded

    return {
        "running": engine.running,
        "ready": engine.ready,
        "full": engine.full,
        "pid": engine.pid,
        "version": engine.version,
        "endpoint": engine.endpoint,
        "buckets": {role.value: name for role, name in engine.buckets.items()},
        "state_dir": str(engine.state_dir),
        "env_file": str(engine.env_file),
        "log_file": str(engine.log_file),
        "data_dir": str(engine.data_dir),
        "free_bytes": engine.free_bytes,
        "ports": {port.value: number for port, number in engine.ports.items()},
        "doors": [
            {"name": door.name, "address": door.address, "closed": door.closed.value}
            for door in embedded.doors(engine)
        ],
    }
