"""``ringfence up``, ``down`` and ``status``, as a person and a program meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.embedded.support import RunningEngine

RINGFENCE = Path(sys.executable).with_name("ringfence")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [RINGFENCE, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.engine
def test_a_running_engine_is_shown(engine: RunningEngine) -> None:
    done = run("status", "--dir", engine.state_dir)
    assert done.returncode == 0
    assert "running (SeaweedFS 4." in done.stdout
    assert engine.endpoint in done.stdout
    assert "\x1b[" not in done.stdout
    doors = run("status", "--doors", "--dir", engine.state_dir).stdout
    for port, number in engine.status.ports.items():
        assert f"127.0.0.1:{number}" in doors, port


@pytest.mark.engine
def test_a_running_engine_for_programs(engine: RunningEngine) -> None:
    found = json.loads(run("status", "--json", "--dir", engine.state_dir).stdout)
    assert (found["running"], found["ready"], found["full"]) == (True, True, False)
    assert found["pid"] == engine.status.pid
    assert found["endpoint"] == engine.env["AWS_ENDPOINT"]
    assert found["buckets"]["content"] == engine.env["CONTENT_BUCKET"]
    assert len(found["doors"]) == 14


@pytest.mark.engine
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_engine_on_a_full_disk_is_no_success(
    engine: RunningEngine, more: tuple[str, ...]
) -> None:
    code = (
        "from ringfence.embedded import engine; engine.free_bytes = lambda _: 1 << 20\n"
        "from ringfence.cli import main; main()"
    )
    folder = str(engine.state_dir)
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "--dir", folder, *more],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    if more:
        found = json.loads(done.stdout)
        assert (found["running"], found["ready"], found["full"]) == (True, True, True)
    else:
        assert "nothing can be written" in done.stdout


@pytest.mark.engine
def test_up_again_changes_nothing(engine: RunningEngine) -> None:
    before = engine.status.env_file.read_text()
    found = json.loads(run("up", "--json", "--dir", engine.state_dir).stdout)
    assert (found["started"], found["pid"]) == (False, engine.status.pid)
    assert engine.status.env_file.read_text() == before


def test_no_engine_is_exit_code_four(tmp_path: Path) -> None:
    done = run("status", "--dir", tmp_path / "state")
    assert done.returncode == 4
    assert "ringfence up" in done.stderr
    done = run("status", "--json", "--dir", tmp_path / "state")
    assert done.returncode == 4
    assert json.loads(done.stdout) == {"running": False, "ready": False}


def test_down_without_an_engine_is_no_error(tmp_path: Path) -> None:
    done = run("down", "--dir", tmp_path / "state")
    assert (done.returncode, done.stdout) == (0, "No engine was running.\n")
    done = run("down", "--json", "--dir", tmp_path / "state")
    assert json.loads(done.stdout) == {"stopped": False}


def test_a_folder_that_will_not_do_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    done = run("up", "--dir", tmp_path)
    assert done.returncode == 2
    assert "holds other things" in done.stderr
    done = run("up", "--json", "--dir", tmp_path)
    assert json.loads(done.stdout)["error"]["type"] == "UsageError"
    assert run("up", "--dir", tmp_path / "thesis.tex" / "below").returncode == 1
