"""The attack, as text: each attempt with the other side's own answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ringfence.demo.attempt import Kind, Outcome, Probe
from ringfence.demo.parts import Attacked

_STYLES: Final = {
    Outcome.WORKED: "green",
    Outcome.REFUSED: "green",
    Outcome.NOT_HIDDEN: "yellow",
    Outcome.GOT_THROUGH: "bold red",
    Outcome.UNCLEAR: "red",
}


def show_attack(console: Console, part: Attacked) -> None:
    """Every attempt, by what it reached for, and what was left untouched."""
    console.print(Text(f"run {part.record.id} of {part.app.id}, {part.user.id}"))
    for name, some in groupby(part.probes, key=lambda probe: probe.attempt.group):
        probes = list(some)
        console.print(Text.assemble("\n", (name, "bold"), "  ", _tally(probes)))
        print_table(console, _table(probes))
    console.print()
    console.print(_left(part))
    for sentence in part.missing:
        console.print(Text(sentence, "yellow"))


def print_table(console: Console, table: Table) -> None:
    """Prints a table without the blanks that fill its last column."""
    with console.capture() as printed:
        console.print(table)
    console.file.writelines(f"{line.rstrip()}\n" for line in printed.get().splitlines())
    console.file.flush()  # so that a pipe shows it when it happens


def _tally(probes: Sequence[Probe]) -> Text:
    good = Outcome.WORKED if probes[0].attempt.kind is Kind.OWN else Outcome.REFUSED
    count = sum(probe.outcome is good for probe in probes)
    style = "green" if count == len(probes) else "red"
    return Text(f"{count} of {len(probes)} {good}", style)


def _table(probes: Sequence[Probe]) -> Table:
    # The same columns in every group, and eighty of them in all.
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(width=33, overflow="fold")
    table.add_column(width=21, no_wrap=True)
    table.add_column(overflow="fold")
    for probe in probes:
        answer = Text(str(probe.answer), _STYLES[probe.outcome])
        if probe.outcome not in {Outcome.WORKED, Outcome.REFUSED}:
            answer.append(f"  {probe.outcome}")
        table.add_row(Text(probe.attempt.label), Text(probe.attempt.operation), answer)
    return table


def _left(part: Attacked) -> Text:
    objects = f"{part.others:,} objects outside its fence"
    if not part.harmed:
        return Text(f"Afterwards, all {objects} are as they were before.", "green")
    return Text(f"Of {objects}, {len(part.harmed)} are not as they were.", "bold red")
