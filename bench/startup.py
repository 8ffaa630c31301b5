"""Start-up: whole processes, from fork to exit, in turns with what one would start instead."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.context import RINGFENCE, Context, NotMeasurable
from bench.figures import Figure, Unit, compared, count, is_decided
from bench.measure import interleave

LEAST_PAIRS: Final = 15
MOST_PAIRS: Final = 45

SDKS: Final = ("aiobotocore", "azure", "boto3", "botocore", "google", "obstore", "s3fs")
_LOADED: Final = (
    f"import sys, ringfence; print(sum(name.partition('.')[0] in {SDKS!r} for name in sys.modules))"
)
_SCRIPT: Final = str(Path(__file__).parent / "peers" / "assume_and_put.py")


def run(context: Context) -> Iterator[Figure]:
    """The figures of start-up."""
    yield _sdks(context)
    yield _import(context)
    yield _help(context)
    yield _run(context)


def _sdks(context: Context) -> Figure:
    command = [sys.executable, "-c", _LOADED]
    answer = subprocess.run(command, env=_environment(context), capture_output=True, check=True)
    name = "cloud SDK modules that `import ringfence` loads"
    return count("startup.import.sdks", name, int(answer.stdout))


def _import(context: Context) -> Figure:
    return _pair(
        context,
        "startup.import",
        ("import ringfence", [sys.executable, "-c", "import ringfence"]),
        ("python -c pass", [sys.executable, "-c", "pass"]),
    )


def _help(context: Context) -> Figure:
    return _pair(
        context,
        "startup.help",
        ("ringfence --help", [RINGFENCE, "--help"]),
        ("python -c 'import typer'", [sys.executable, "-c", "import typer"]),
    )


def _run(context: Context) -> Figure:
    scope = ["--app", "bench", "--user", "bench"]
    command = [RINGFENCE, "run", *scope, "--env-file", str(context.env_file), "--", "true"]
    script = [sys.executable, _SCRIPT]
    return _pair(
        context,
        "startup.run",
        ("ringfence run -- true", command),
        ("boto3: assume role, put", script),
        {**context.variables, "AWS_DEFAULT_REGION": context.s3.region},
    )


def _pair(
    context: Context,
    figure_id: str,
    ours: tuple[str, list[str]],
    peer: tuple[str, list[str]],
    for_peer: Mapping[str, str] | None = None,
) -> Figure:
    (name, command), (other, instead) = ours, peer
    environment = _environment(context)
    values = interleave(
        {
            name: _process(command, environment),
            other: _process(instead, environment | dict(for_peer or {})),
        },
        context.rounds(LEAST_PAIRS, MOST_PAIRS),
        enough=lambda so_far: is_decided(figure_id, so_far[name], so_far[other]),
    )
    return compared(figure_id, name, Unit.MILLISECONDS, values, ours=name, peer=other)


def _process(command: list[str], environment: Mapping[str, str]) -> Callable[[], float]:
    def measure() -> float:
        began = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        took = time.perf_counter() - began
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip()[-2000:]
            raise NotMeasurable(f"{Path(command[0]).name} ended {done.returncode}: {words}")
        return took * 1000

    return measure


def _environment(context: Context) -> dict[str, str]:
    """The variables of this process without any that configure storage: both sides start alike."""
    ours = set(context.variables)
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(("AWS_", "RINGFENCE_", "PYTHON"))
    }
