"""``ringfence config``: every variable, its value, where it came from, and all that is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringfence.cli._common import AsJson, EnvFiles, environment, print_json, printable, say
from ringfence.errors import EXIT_USAGE, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringfence.config.report import Examination, Row
    from ringfence.errors import Problem

_HEADINGS = ("VARIABLE", "VALUE", "FROM", "DEFAULT")
_NARROW = 100
"""Columns of a terminal below which a table would be folded beyond reading."""
_WIDEST_COLUMN = 40


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("config")(config)


def config(
    everything: Annotated[
        bool, typer.Option("--all", help="The variables of the other providers too.")
    ] = False,
    env_files: EnvFiles = None,
    as_json: AsJson = False,
) -> None:
    """Show every setting, where it came from, and all problems at once. Secrets stay hidden."""
    from ringfence.config.environment import exposed_files
    from ringfence.config.report import examine, rows

    try:
        env = environment(env_files)
    except ConfigError as error:
        _show_problems(error.problems, as_json=as_json)
        raise typer.Exit(EXIT_USAGE) from None
    found = examine(env)
    shown = rows(env, None if everything else found.provider)
    exposed = exposed_files(env)
    if as_json:
        print_json(_as_json(shown, found, exposed))
    else:
        _show(shown)
        for note in _notes(found, exposed):
            say(*_paragraph(f"note: {note['variable']}: {note['text']}"))
        _show_problems(found.problems, as_json=False)
    if found.problems:
        raise typer.Exit(EXIT_USAGE)


def _notes(found: Examination, exposed: Sequence[str]) -> list[dict[str, str]]:
    notes = [{"variable": note.variable, "text": note.text} for note in found.notes]
    text = "holds secrets and can be read by other users; chmod 600 it."
    return [*notes, *({"variable": path, "text": text} for path in exposed)]


def _as_json(shown: Sequence[Row], found: Examination, exposed: Sequence[str]) -> dict[str, Any]:
    return {
        "settings": [_row_as_json(row) for row in shown],
        "problems": [_problem_as_json(problem) for problem in found.problems],
        "notes": _notes(found, exposed),
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.variable.name,
        "value": row.value,
        "source": row.source,
        "default": row.variable.default,
        "fallback": row.variable.fallback,
        "required": row.variable.required,
        "secret": row.variable.secret,
        "meaning": row.variable.meaning,
    }


def _problem_as_json(problem: Problem) -> dict[str, Any]:
    return {
        "variable": problem.variable,
        "found": problem.found,
        "expected": problem.expected,
        "hint": problem.hint,
    }


def _show_problems(problems: Sequence[Problem], *, as_json: bool) -> None:
    if as_json:
        shown = [_problem_as_json(problem) for problem in problems]
        print_json({"settings": [], "problems": shown, "notes": []})
    elif problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        say("", f"ringfence: the configuration has {count}.")
        for problem in problems:
            say("", *_paragraph(str(problem)))


def _paragraph(text: str) -> list[str]:
    """Folded to the terminal; left as one line for a file or a pipe."""
    if not sys.stderr.isatty():
        return [text]
    import shutil
    import textwrap

    width = max(30, min(shutil.get_terminal_size().columns, _NARROW))
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def _show(shown: Sequence[Row]) -> None:
    cells = [_cells(row) for row in shown]
    if not sys.stdout.isatty():
        _show_plain(cells)
        return
    import shutil

    if shutil.get_terminal_size().columns < _NARROW:
        _show_blocks(cells)
    else:
        _show_table(cells)


def _cells(row: Row) -> tuple[str, str, str, str]:
    value = "unset" if row.value is None else printable(row.value)
    source = row.source if row.value is not None and row.source else "-"
    return row.variable.name, value, source, row.variable.otherwise


def _show_plain(cells: Sequence[tuple[str, ...]]) -> None:
    """Aligned columns that are never folded: for grep, cut and diff."""
    lines = [_HEADINGS, *cells]
    widths = [min(max(map(len, column)), _WIDEST_COLUMN) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo(padded.rstrip())


def _show_blocks(cells: Sequence[tuple[str, ...]]) -> None:
    """A few short lines for each variable, for a narrow terminal."""
    for name, value, source, otherwise in cells:
        origin = f"unset: {otherwise}" if source == "-" else f"{value}  (from {source})"
        typer.echo(f"{name}\n  {origin}")


def _show_table(cells: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ringfence.cli._common import console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold", no_wrap=heading == "VARIABLE")
    for name, value, source, otherwise in cells:
        style = "dim" if source in {"-", "default"} else ""
        # Text, not markup: a value may hold brackets.
        table.add_row(
            Text(name), Text(value, style), Text(source, style), Text(otherwise, style="dim")
        )
    console().print(table)
