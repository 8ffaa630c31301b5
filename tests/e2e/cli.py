"""Runs the command line as its users do: a process of its own, with the environment it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RINGFENCE = (sys.executable, "-c", "from ringfence.cli import main; main()")
HARMLESS = ("PATH", "HOME", "LANG", "TMPDIR")
WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def text(self) -> str:
        return self.out + self.err


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Only what is given, on top of what any process has."""
    return {name: os.environ[name] for name in HARMLESS if name in os.environ} | dict(env)


def ringfence(env: Mapping[str, str], *args: str, cwd: Path, stdin: str = "") -> Result:
    """One command, to its end."""
    done = subprocess.run(
        [*RINGFENCE, *args],
        env=environment(env),
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


def start(env: Mapping[str, str], *args: str, cwd: Path) -> subprocess.Popen[str]:
    """One command, in the background."""
    return subprocess.Popen(
        [*RINGFENCE, *args],
        env=environment(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def python(code: str) -> Sequence[str]:
    """A command that runs this code with the interpreter of the tests."""
    return (sys.executable, "-c", code)


def until(check: Callable[[], Any], what: str) -> Any:
    """Waits until ``check`` is true, for as long as anybody would."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {WAIT_SECONDS:g} s")
