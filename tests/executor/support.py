"""What the executor's tests share: running commands here, and engines in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ringfence.executor.process import Ending, Line, Stream, execute

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src" / "ringfence"
PYTHON = sys.executable
NOBODY = 65534
PATIENCE = 30.0

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own means are tested")


@dataclass
class Result:
    ending: Ending
    lines: list[Line] = field(default_factory=list)

    def text(self, stream: Stream = Stream.STDOUT) -> list[str]:
        return [line.text for line in self.lines if line.stream is stream]


async def run(command: Sequence[str], **options: Any) -> Result:
    """Runs a command here and keeps its lines."""
    lines: list[Line] = []

    async def keep(line: Line) -> None:
        lines.append(line)

    options.setdefault("environment", {"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"})
    options.setdefault("on_output", keep)
    options.setdefault("passthrough", False)
    return Result(await execute(command, **options), lines)


async def run_python(source: str, *arguments: str, **options: Any) -> Result:
    return await run([PYTHON, "-c", source, *arguments], **options)


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Waits for something that takes a moment; the bound only keeps a failure from hanging."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.02)


def processes_with(marker: str) -> list[int]:
    """The living processes that have ``marker`` among their arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in arguments.split(b"\0"):
            found.append(int(folder.name))
    return found


@dataclass
class Engine:
    """How to run ``engine.py``: as whom, and in which world."""

    folder: Path
    python: str = PYTHON
    user: int | None = None
    world: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)

    def start(self, command: Sequence[str], *, passthrough: bool = False, **options: Any) -> Job:
        result = self.folder / f"result-{time.monotonic_ns()}"
        given = {"command": list(command), "result": str(result), "passthrough": passthrough}
        popen = {k: options.pop(k) for k in ("stdin", "stdout", "stderr") if k in options}
        arguments = [self.python, "-B", "-W", "error", str(self.folder / "engine.py")]
        if self.world:
            need_user_namespaces(self.user)
            worlds = [self.python, "-B", str(self.folder / "worlds.py"), self.world]
            arguments = [*worlds, *arguments]
        process = subprocess.Popen(
            [*arguments, json.dumps(given | options)],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.folder), **self.environment},
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
            **popen,
        )
        self.jobs.append(Job(process, result))
        return self.jobs[-1]

    def run(self, command: Sequence[str], **options: Any) -> dict[str, Any]:
        return self.start(command, **options).result()

    def end(self) -> None:
        """Ends what a failed test has left."""
        for job in self.jobs:
            job.process.kill()
            job.process.wait()


@dataclass
class Job:
    process: subprocess.Popen[bytes]
    file: Path

    def ready(self) -> None:
        """Waits until the command has printed ``ready``."""
        wait_until(self.file.with_suffix(".started").exists, "the command's first line")

    def result(self) -> dict[str, Any]:
        assert self.process.wait(PATIENCE * 2) == 0
        answer: dict[str, Any] = json.loads(self.file.read_text())
        return answer


def engine_folder(folder: Path) -> Path:
    """A folder with the programs and the package, readable by every user."""
    folder.chmod(0o755)
    shutil.copytree(SOURCE, folder / "ringfence", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("engine.py", "worlds.py", "attack.py"):
        shutil.copy(HERE / name, folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def python_for(user: int) -> str:
    """An interpreter that another user can run, or a skip that says why there is none."""
    for python in dict.fromkeys([PYTHON, "/usr/bin/python3", "/usr/local/bin/python3"]):
        check = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if _succeeds(check, user):
                return python
        except OSError:
            continue
    pytest.skip("no Python 3.11 on this machine that another user may run")


def need_namespaces(user: int | None = None) -> None:
    """Skips where the system allows no namespaces: asked of unshare(1), not of what is tested."""
    rest = ["-mpf", "--mount-proc", "true"]
    if not any(_succeeds(["unshare", *first, *rest], user) for first in ([], ["-Ur"])):
        pytest.skip("this system allows no namespaces with a /proc of their own")


def need_user_namespaces(user: int | None = None) -> None:
    """Skips where the system allows no user namespaces, of which the other worlds are made."""
    if not _succeeds(["unshare", "-Urmpf", "--mount-proc", "true"], user):
        pytest.skip("this system allows no user namespaces")


def _succeeds(command: list[str], user: int | None) -> bool:
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, check=False)
    return done.returncode == 0
