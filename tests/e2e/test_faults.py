"""What ``kill -9`` leaves: all that was acknowledged, and no record of what did not happen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ringfence import embedded
from tests.e2e.cli import python, ringfence, start, until

pytestmark = pytest.mark.engine

SCOPE = ("--app", "faults", "--user", "u")
COUNTING = (
    "import itertools, os, time, ringfence\n"
    "ws = ringfence.attach()\n"
    "for n in itertools.count():\n"
    "    ws.app.put(f'{ws.run_id}/{n}', b'x')\n"
    "    print('stored', n, os.getpid(), flush=True)\n"
    "    time.sleep(0.02)\n"
)


def running(env: dict[str, str], run_id: str, cwd: Path) -> subprocess.Popen[str]:
    process = start(env, "run", *SCOPE, "--run-id", run_id, "--", *python(COUNTING), cwd=cwd)
    assert process.stdout is not None
    for _ in range(5):
        assert process.stdout.readline().startswith("stored")
    return process


def acknowledged(env: dict[str, str], run_id: str, cwd: Path) -> list[str]:
    """The lines in the log, which must be a row from the first, without a gap."""
    log = ringfence(env, "logs", run_id, "--json", cwd=cwd)
    lines = [json.loads(line)["text"].split()[1] for line in log.out.splitlines()]
    assert lines == [str(number) for number in range(len(lines))]
    return lines


def show(env: dict[str, str], run_id: str, cwd: Path) -> Any:
    return ringfence(env, "runs", "show", run_id, "--json", cwd=cwd).json


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *descendants(int(child))]
    return found


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in {"Z", "X"}


def test_a_killed_child_is_a_failed_run(engine: Any, tmp_path: Path) -> None:
    process = running(engine.env, "child", tmp_path)
    # The last of the row is the command itself; what stands above it is its launcher.
    os.kill(descendants(process.pid)[-1], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    record = show(engine.env, "child", tmp_path)
    assert (record["status"], record["exit_code"]) == ("FAILED", 137)
    assert len(acknowledged(engine.env, "child", tmp_path)) >= 5


def test_a_killed_runner_takes_its_child_along_and_is_seen_to_be_silent(
    engine: Any, tmp_path: Path
) -> None:
    env = {**engine.env, "RINGFENCE_HEARTBEAT_SECONDS": "1"}
    process = running(env, "runner", tmp_path)
    until(lambda: len(acknowledged(env, "runner", tmp_path)) >= 5, "lines are acknowledged")
    below = descendants(process.pid)
    assert below
    process.kill()
    process.communicate(timeout=60)
    until(lambda: all(gone(pid) for pid in below), "nothing of the run goes on")
    until(lambda: show(env, "runner", tmp_path)["stale"], "the lease runs out")
    assert show(env, "runner", tmp_path)["status"] == "RUNNING"
    assert len(acknowledged(env, "runner", tmp_path)) >= 5


def test_a_killed_engine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    state = tmp_path / "engine"
    engine = embedded.up(state)
    env_file = ("--env-file", str(engine.env_file))
    try:
        code = COUNTING.replace("itertools.count()", "range(60)")
        process = start(
            {}, "run", *env_file, *SCOPE, "--run-id", "e", "--", *python(code), cwd=tmp_path
        )
        assert process.stdout is not None
        stored = [process.stdout.readline() for _ in range(20)]
        assert all(line.startswith("stored") for line in stored)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        # The child's own put may fail now; what it was told is stored must be there after.
        engine = embedded.up(state)
        out, _ = process.communicate(timeout=120)
        record = ringfence({}, "runs", "show", "e", *env_file, "--json", cwd=tmp_path).json
        assert record["status"] == ("COMPLETED" if process.returncode == 0 else "FAILED")
        printed = [*stored, *out.splitlines(keepends=True)]
        count = sum(line.startswith("stored") for line in printed)
        log = ringfence({}, "logs", "e", *env_file, "--json", cwd=tmp_path).out.splitlines()
        texts = [json.loads(line) for line in log]
        told = [row["text"] for row in texts if row["text"].startswith("stored")]
        assert len(told) == count
        keys = _keys(engine.env_file, tmp_path)
        assert {f"e/{number}" for number in range(count)} <= keys
    finally:
        embedded.down(state)


def _keys(env_file: Path, cwd: Path) -> set[str]:
    code = (
        "import ringfence\n"
        "print('\\n'.join(o['path'] for o in ringfence.attach().app.list().collect()))"
    )
    done = ringfence(
        {},
        *("run", "--env-file", str(env_file), *SCOPE, "-q", "--", *python(code)),
        cwd=cwd,
    )
    return set(done.out.splitlines())


def test_an_engine_that_stays_away_is_said_and_nothing_is_completed(tmp_path: Path) -> None:
    state = tmp_path / "engine"
    engine = embedded.up(state)
    env_file = ("--env-file", str(engine.env_file))
    try:
        process = start(
            {},
            *("run", *env_file, *SCOPE, "--run-id", "e", "--", "sh", "-c", "echo on; read x"),
            cwd=tmp_path,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
    finally:
        embedded.down(state)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "is out of reach" in err
    embedded.up(state)
    try:
        record = ringfence({}, "runs", "show", "e", *env_file, "--json", cwd=tmp_path).json
        assert record["status"] in {"RUNNING", "FAILED", "PENDING"}
    finally:
        embedded.down(state)
