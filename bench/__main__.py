"""``python -m bench``: measures, shows, and ends 1 when a bound is missed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Final

from bench import report
from bench.context import Context, NotMeasurable, engine
from bench.figures import Figure
from ringfence.errors import RingfenceError

BENCHES: Final = ("startup", "objects", "vending", "r2", "azure", "gcp", "logs", "state", "express")
"""The benches by name, in order: each a module here with ``run(context)``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benches that were asked for and returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.write_readme and (options.only or options.quick):
        _parser().error("--write-readme keeps whole runs only: leave --only and --quick out.")
    try:
        with engine(options.env_file) as env_file:
            context = Context(env_file, quick=options.quick, say=_say)
            figures = list(_figures(context, options.only or BENCHES))
    except (NotMeasurable, RingfenceError) as error:
        _say(f"bench: {error}")
        return 2
    if options.json:
        sys.stdout.write(report.as_json(figures) + "\n")
    else:
        report.print_table(figures, judged=not options.quick)
    if options.write_readme:
        report.write_readme(figures)
    return _judge(figures, quick=options.quick)


def _figures(context: Context, names: Sequence[str]) -> Iterator[Figure]:
    for name in names:
        with closing(import_module(f"bench.{name}").run(context)) as figures:
            for figure in figures:
                context.say(f"{name}: {figure}")
                yield figure


def _judge(figures: Sequence[Figure], *, quick: bool) -> int:
    missed = [sentence for figure in figures if (sentence := figure.missed)]
    if quick:
        _say("bench: a quick run shows that everything runs; it is too short to judge.")
        return 0
    for sentence in missed:
        _say(f"bench: {sentence}")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHES, help="repeatable")
    parser.add_argument("--quick", action="store_true", help="a few operations, nothing is judged")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--write-readme", action="store_true", help="keep the figures in README.md")
    parser.add_argument(
        "--env-file", type=Path, help="measure on this engine, not on a fresh embedded one"
    )
    return parser


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
