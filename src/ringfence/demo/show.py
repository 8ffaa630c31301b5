"""The story on a terminal, or in a file: plain text that fits eighty columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import singledispatchmethod
from operator import itemgetter
from typing import Any, Final, Self

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from ringfence.demo import parts
from ringfence.demo.show_attack import print_table, show_attack
from ringfence.logs import LogEntry
from ringfence.scope import Grant, Permission

TAIL: Final = 8
_STATUS: Final = {"COMPLETED": "green", "RUNNING": "cyan", "PENDING": "cyan"}


class Screen:
    """Shows each part as it comes. A context manager, so that no spinner outlives it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rest()

    def show(self, part: parts.Part) -> None:
        """Shows one part."""
        self._rest()
        self._show(part)

    @singledispatchmethod
    def _show(self, _: object) -> None:
        """Each kind of part has its own below."""

    @_show.register
    def _working(self, part: parts.Working) -> None:
        """A spinner until the next part; on a terminal only."""
        if self._console.is_terminal:
            self._status = self._console.status(f"{part.what} ...")
            self._status.start()

    def _rest(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _heading(self, text: str) -> None:
        self._number += 1
        gap = "\n" if self._number > 1 else ""
        self._console.print(Text(f"{gap}{self._number}. {text}", "bold"))

    def _line(self, text: str, style: str = "") -> None:
        # Never folded: a URL or a command that is broken in two cannot be copied.
        self._console.print(Text(text, style), soft_wrap=True)

    @_show.register
    def _engine(self, part: parts.EngineReady) -> None:
        self._heading("The engine")
        since = "started now" if part.started else "was running already"
        self._line(f"{part.version} at {part.endpoint}, {since}")
        self._line(f"folder   {part.folder}")
        self._line(f"buckets  {part.buckets.meta}, {part.buckets.content}, {part.buckets.log}")

    @_show.register
    def _seeded(self, part: parts.Seeded) -> None:
        self._heading("The data: NOAA's daily weather, put in with edit_app credentials")
        rows = [
            (seed.app.id, seed.app.city, f"{seed.rows:,} days", f"{seed.size:,} bytes")
            for seed in part.seeds
        ]
        print_table(self._console, _table(("APP", "CITY", "ROWS", "SIZE"), rows))

    @_show.register
    def _granted(self, part: parts.Granted) -> None:
        scope = part.scope
        self._heading(f"The fence of an execution: {scope.mode} of {scope.app_id}, {scope.user_id}")
        rows = [
            (grant.area.value, part.buckets.of(grant.bucket), grant.prefix, _letters(grant))
            for grant in part.grants
        ]
        print_table(self._console, _table(("AREA", "BUCKET", "PREFIX", "MAY"), rows))
        self._line(f"R read, W write, D delete, L list; enforced by an {part.language}", "dim")

    @_show.register
    def _ran(self, part: parts.Ran) -> None:
        self._heading("The same job for two apps and two users")
        rows = [
            (
                run.app.id,
                run.user.id,
                run.record.id,
                Text(run.record.status, _STATUS.get(run.record.status, "red")),
                _took(run),
            )
            for run in part.runs
        ]
        print_table(self._console, _table(("APP", "USER", "RUN", "STATUS", "TOOK"), rows))
        for failure in filter(None, (run.failure for run in part.runs)):
            self._line(failure.text, "red")

    @_show.register
    def _computed(self, part: parts.Computed) -> None:
        self._heading(f"What it computed: {part.app.city}, {part.user.year}, for {part.user.id}")
        # A report of another shape is told by the verdict.
        with suppress(KeyError, TypeError):
            print_table(self._console, _table(None, _summary(part.report)))
        self._line(part.url, "dim")

    @_show.register
    def _log(self, part: parts.LogRead) -> None:
        self._heading("The end of its log")
        hidden = len(part.entries) - TAIL
        if hidden > 0:
            self._line(f"... {hidden} lines before", "dim")
        for entry in part.entries[-TAIL:]:
            self._line(_log_line(entry))
        self._line(part.url, "dim")

    @_show.register
    def _places(self, part: parts.Places) -> None:
        self._heading("Where everything lies")
        print_table(self._console, _table(None, part.places))
        after = "The engine goes on" if part.running else "The engine is stopped at the end"
        self._line(f"{after}. To look around:", "bold")
        if part.in_the_way:
            names = " ".join(part.in_the_way)
            self._line(f"  unset {names}  # they are set here, and would win", "yellow")
        for command in part.commands:
            self._line(f"  {command}")

    @_show.register
    def _attacked(self, part: parts.Attacked) -> None:
        self._heading("The attack, by one more execution of the same app and user")
        show_attack(self._console, part)

    @_show.register
    def _verdict(self, part: parts.Verdict) -> None:
        self._console.print()
        for failure in part.failures:
            self._line(f"- {failure.text}", "red")
        good = "bold yellow" if part.not_hidden else "bold green"
        style = good if part.exit_code == 0 else "bold red"
        self._line(part.sentence, style)


def _table(names: Sequence[str] | None, rows: Iterable[Sequence[str | Text]]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=names is not None, header_style="bold")
    for row in rows:
        if not table.columns:
            for name in names or [""] * len(row):
                table.add_column(name, overflow="fold")
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return table


def _letters(grant: Grant) -> str:
    return "".join(p.value[0].upper() for p in Permission if p in grant.permissions)


def _took(run: parts.Finished) -> str:
    record = run.record
    if record.started_at is None or record.completed_at is None:
        return ""
    return f"{(record.completed_at - record.started_at).total_seconds():.1f} s"


def _summary(report: Any) -> list[tuple[str, str, str]]:
    hottest, coldest, wettest = report["hottest"], report["coldest"], report["wettest"]
    dry, months = report["dry_spell"], report["months"]
    warmest = max(months, key=itemgetter("mean_c"))
    return [
        ("hottest day", hottest["date"], f"{hottest['temp_max']} C"),
        ("coldest night", coldest["date"], f"{coldest['temp_min']} C"),
        ("wettest day", wettest["date"], f"{wettest['precipitation']} mm"),
        ("warmest month", warmest["month"], f"{warmest['mean_c']} C on average"),
        ("longest dry spell", f"{dry['days']} days", f"{dry['from']} to {dry['to']}"),
    ]


def _log_line(entry: LogEntry) -> str:
    fields = "".join(f" {name}={value}" for name, value in (entry.fields or {}).items())
    level = f"{entry.level.upper()} " if entry.level else ""
    return f"{entry.at:%H:%M:%S.%f}"[:-3] + f" {entry.stream:<6} {level}{entry.text}{fields}"
