"""``ringfence demo``: the whole story on the embedded engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ringfence.cli._common import AsJson, console, print_json

if TYPE_CHECKING:
    from ringfence.demo.parts import Part

DEFAULT_FOLDER = Path(".demo")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", help="Where the engine keeps its data.", metavar="FOLDER")
    ] = DEFAULT_FOLDER,
    keep: Annotated[
        bool | None,
        typer.Option(
            "--keep/--stop",
            help="Leave the engine running, or stop it. By default it is left as it was found.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole story on the embedded engine, in a folder of its own.

    Runs real work for two apps and two users, each fenced, then attacks the fence. Ends with 0 if
    every expectation held, 3 if the fence was broken, 1 if anything else went wrong.
    """
    from ringfence.demo.play import play_on_engine

    if as_json:
        seen: list[Part] = []
        verdict = play_on_engine(folder, keep=keep, show=seen.append)
        from ringfence.demo.as_json import document

        print_json(document(seen))
    else:
        from ringfence.demo.show import Screen

        with Screen(console()) as screen:
            verdict = play_on_engine(folder, keep=keep, show=screen.show)
    raise typer.Exit(verdict.exit_code)
