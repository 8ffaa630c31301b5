"""Events of a run as its command, its code and whoever watches see them."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringfence import AccessMode, Scope, Storage
from ringfence.payloads import whole
from tests.e2e.cli import python, ringfence, start, until

pytestmark = pytest.mark.engine

SCOPE = ("--app", "told", "--user", "u")
EMITTING = (
    "import ringfence, sys\n"
    "attached = ringfence.attach()\n"
    "print(attached.emit({'n': 1}, {'n': 2}, batch='b'))\n"
    "print(attached.emit({'n': 1}, {'n': 2}, batch='b'))\n"
    "print(attached.emit('x' * 2_000_000))\n"
    "try: attached.emit('other', batch='b')\n"
    "except ringfence.UsageError as error: print(error)\n"
    "sys.stdin.readline()\n"
)


async def test_a_command_tells_events(engine: Any, tmp_path: Path) -> None:
    done = ringfence(
        engine.env, "run", *SCOPE, "--run-id", "e-1", "--", *python(EMITTING), cwd=tmp_path
    )
    lines = done.out.splitlines()
    assert lines[:3] == ["range(1, 3)", "range(1, 3)", "range(3, 4)"]
    assert "batch id" in lines[3]
    async with Storage.from_env(engine.env) as storage:
        events = await storage.state.events("e-1")
        assert [event.payload for event in events[:2]] == [{"n": 1}, {"n": 2}]
        logs = storage.open(Scope("told", "u", "e-1", AccessMode.READ_LOGS)).logs
        assert await whole(logs, events[2].payload) == "x" * 2_000_000
        assert await whole(logs, events[0].payload) == {"n": 1}
    log = ringfence(engine.env, "logs", "e-1", cwd=tmp_path).out
    assert log.splitlines() == lines


async def test_a_run_in_python_tells_events(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        async with storage.run("told", "u") as run:
            assert await run.emit("a", "b") == range(1, 3)
            assert await run.emit({"large": "y" * 1_500_000}) == range(3, 4)
        events = [event async for event in storage.state.tail(run.id)]
        assert [event.sequence for event in events] == [1, 2, 3]
        logs = storage.open(Scope("told", "u", run.id, AccessMode.READ_LOGS)).logs
        assert await whole(logs, events[2].payload) == {"large": "y" * 1_500_000}


def test_watching_is_live_and_ends_with_the_run(engine: Any, tmp_path: Path) -> None:
    code = (
        "import ringfence, sys\n"
        "ringfence.attach().emit('first')\n"
        "print('told', flush=True)\n"
        "import time; time.sleep(3)\n"
        "ringfence.attach().emit('second')\n"
    )
    running = start(engine.env, "run", *SCOPE, "--run-id", "w-1", "--", *python(code), cwd=tmp_path)
    assert running.stdout is not None
    assert running.stdout.readline() == "told\n"
    watching = start(engine.env, "runs", "watch", "w-1", "--json", cwd=tmp_path)
    assert watching.stdout is not None
    first = [json.loads(watching.stdout.readline()) for _ in range(2)]
    assert running.poll() is None, "shown only when it was over"
    assert first[0]["run"]["status"] == "RUNNING"
    assert first[1]["event"]["payload"] == "first"
    rest, _ = watching.communicate(timeout=60)
    rows = [json.loads(line) for line in rest.splitlines()]
    assert [row["event"]["payload"] for row in rows if "event" in row] == ["second"]
    assert rows[-1]["run"]["status"] == "COMPLETED"
    assert watching.returncode == 0
    running.communicate(timeout=60)
    plain = ringfence(engine.env, "runs", "watch", "w-1", "--after", "1", cwd=tmp_path)
    assert '#2  "second"' in plain.out
    assert "first" not in plain.out
    assert plain.out.splitlines()[-1].endswith("COMPLETED  100 %")


def test_watching_a_run_that_is_not_there(engine: Any, tmp_path: Path) -> None:
    done = ringfence(engine.env, "runs", "watch", "no-such-run", cwd=tmp_path)
    assert done.code == 2
    assert "no run 'no-such-run'" in done.err


async def test_a_run_whose_runner_is_gone_is_reaped(engine: Any, tmp_path: Path) -> None:
    running = start(
        engine.env, "run", *SCOPE, "--run-id", "g-1", "--", "sh", "-c", "echo on; sleep 60",
        cwd=tmp_path,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == "on\n"
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=60)
    early = ringfence(engine.env, "runs", "reap", "--json", cwd=tmp_path).json
    assert "g-1" not in [record["id"] for record in early["reaped"]]
    later = datetime.now(UTC) + timedelta(seconds=3600)
    async with Storage.from_env(engine.env) as storage:
        from ringfence.runs import reap

        reaped = await reap(storage.state, lambda: later)
        assert "g-1" in [record.id for record in reaped]
        again = await reap(storage.state, lambda: later)
        assert "g-1" not in [record.id for record in again]
    shown = until(
        lambda: ringfence(engine.env, "runs", "show", "g-1", "--json", cwd=tmp_path).json, "shown"
    )
    assert shown["status"] == "TIMEOUT"
    assert "no heartbeat" in shown["error"]
