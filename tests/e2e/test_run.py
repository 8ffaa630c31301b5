"""``ringfence run``, ``runs`` and ``logs`` as their users see them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import python, ringfence, start, until

pytestmark = pytest.mark.engine

SCOPE = ("--app", "billing", "--user", "auth0|42")


def test_the_exit_code_the_output_the_record_and_the_log(engine: Any, tmp_path: Path) -> None:
    code = "import sys; print('to out'); print('to err', file=sys.stderr); sys.exit(7)"
    done = ringfence(
        engine.env, "run", *SCOPE, "--run-id", "r-7", "--", *python(code), cwd=tmp_path
    )
    assert done.code == 7
    assert done.out == "to out\n"
    assert "to err" in done.err
    assert "r-7 FAILED" in done.err
    record = ringfence(engine.env, "runs", "show", "r-7", "--json", cwd=tmp_path).json
    assert (record["status"], record["exit_code"], record["user_id"]) == ("FAILED", 7, "auth0|42")
    log = ringfence(engine.env, "logs", "r-7", "--json", cwd=tmp_path)
    lines = [json.loads(line) for line in log.out.splitlines()]
    assert {(line["stream"], line["text"]) for line in lines} == {
        ("stdout", "to out"),
        ("stderr", "to err"),
    }
    plain = ringfence(engine.env, "logs", "r-7", cwd=tmp_path)
    assert sorted(plain.out.splitlines()) == ["to err", "to out"]


def test_json_is_the_record_alone_on_standard_output(engine: Any, tmp_path: Path) -> None:
    done = ringfence(engine.env, "run", *SCOPE, "--json", "--", "echo", "noise", cwd=tmp_path)
    assert done.json["status"] == "COMPLETED"
    assert "noise" in done.err


def test_options_of_the_command_are_its_own(engine: Any, tmp_path: Path) -> None:
    done = ringfence(engine.env, "run", *SCOPE, "-q", "--", "echo", "--json", "-x", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "--json -x\n", "")


def test_standard_input_reaches_the_command(engine: Any, tmp_path: Path) -> None:
    done = ringfence(engine.env, "run", *SCOPE, "--", "cat", cwd=tmp_path, stdin="hello")
    assert done.out == "hello"


def test_the_newest_run_comes_first_and_filters_hold(engine: Any, tmp_path: Path) -> None:
    scope = ("--app", "listed", "--user", "u")
    for number, command in enumerate(("true", "false", "true")):
        ringfence(engine.env, "run", *scope, "--run-id", f"l{number}", "--", command, cwd=tmp_path)
    page = ringfence(engine.env, "runs", "list", "--app", "listed", "--json", cwd=tmp_path).json
    assert [run["id"] for run in page["runs"]] == ["l2", "l1", "l0"]
    failed = ringfence(
        engine.env, "runs", "list", "--app", "listed", "--status", "failed", "--json", cwd=tmp_path
    ).json
    assert [run["id"] for run in failed["runs"]] == ["l1"]
    first = ringfence(
        engine.env, "runs", "list", "--app", "listed", "--limit", "2", "--json", cwd=tmp_path
    ).json
    rest = ringfence(
        engine.env,
        *("runs", "list", "--app", "listed", "--json", "--cursor", first["cursor"]),
        cwd=tmp_path,
    ).json
    assert [run["id"] for run in first["runs"] + rest["runs"]] == ["l2", "l1", "l0"]


def test_a_time_limit_ends_it(engine: Any, tmp_path: Path) -> None:
    done = ringfence(
        engine.env,
        *("run", *SCOPE, "--run-id", "slow", "--timeout", "0.5", "--", "sleep", "60"),
        cwd=tmp_path,
    )
    assert done.code == 124
    record = ringfence(engine.env, "runs", "show", "slow", "--json", cwd=tmp_path).json
    assert record["status"] == "TIMEOUT"


def test_a_signal_is_passed_on_and_the_record_ends(engine: Any, tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    running = start(engine.env, "run", *SCOPE, "--run-id", "sig", "--", *python(code), cwd=tmp_path)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 9
    record = ringfence(engine.env, "runs", "show", "sig", "--json", cwd=tmp_path).json
    assert record["status"] == "FAILED"


def test_cancel_reaches_a_running_command(engine: Any, tmp_path: Path) -> None:
    env = {**engine.env, "RINGFENCE_HEARTBEAT_SECONDS": "1"}
    running = start(env, "run", *SCOPE, "--run-id", "off", "--", "sleep", "60", cwd=tmp_path)

    def status() -> Any:
        shown = ringfence(env, "runs", "show", "off", "--json", cwd=tmp_path)
        return shown.code == 0 and shown.json["status"] == "RUNNING"

    until(status, "the run is RUNNING")
    cancelled = ringfence(env, "runs", "cancel", "off", "--json", cwd=tmp_path)
    assert cancelled.json["status"] == "CANCELLED"
    _, err = running.communicate(timeout=60)
    assert running.returncode not in {0, None}
    assert "CANCELLED" in err
    again = ringfence(env, "runs", "cancel", "off", "--json", cwd=tmp_path)
    assert (again.code, again.json["status"]) == (0, "CANCELLED")


def test_following_a_log_shows_lines_as_they_come(engine: Any, tmp_path: Path) -> None:
    code = (
        "import time, pathlib\n"
        "print('first', flush=True)\n"
        "gate = pathlib.Path('gate')\n"
        "while not gate.exists(): time.sleep(0.05)\n"
        "print('last', flush=True)"
    )
    running = start(
        engine.env, "run", *SCOPE, "--run-id", "tailed", "--", *python(code), cwd=tmp_path
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "first\n"
    following = start(engine.env, "logs", "tailed", "--follow", cwd=tmp_path)
    assert following.stdout is not None
    assert following.stdout.readline() == "first\n"
    (tmp_path / "gate").touch()
    rest, err = following.communicate(timeout=60)
    assert (rest, err, following.returncode) == ("last\n", "", 0)
    running.communicate(timeout=60)


def test_the_command_finds_its_places_without_our_library(engine: Any, tmp_path: Path) -> None:
    """What boto3 reads from the environment is enough."""
    code = (
        "import boto3, os\n"
        "s3 = boto3.client('s3')\n"
        "at = dict(Bucket=os.environ['RINGFENCE_APP_BUCKET'],"
        " Key=os.environ['RINGFENCE_APP_PREFIX'] + 'k')\n"
        "s3.put_object(Body=b'v', **at)\n"
        "print(s3.get_object(**at)['Body'].read().decode())"
    )
    for how in ("static", "refreshing"):
        done = ringfence(
            engine.env, "run", *SCOPE, "--credentials", how, "-q", "--", *python(code), cwd=tmp_path
        )
        assert (done.code, done.out) == (0, "v\n"), done.err


def test_attach_opens_the_same_workspace(engine: Any, tmp_path: Path) -> None:
    code = (
        "import ringfence\n"
        "with ringfence.attach() as ws:\n"
        "    ws.app.put('x', b'1')\n"
        "    ws.user.put('y', b'2')\n"
        "    ws.tmp.put('z', b'3')\n"
        "    ws.log.info('stored', count=3)\n"
        "    print(ws.run_id, bytes(ws.app.get('x').bytes()).decode())"
    )
    done = ringfence(
        engine.env, "run", *SCOPE, "--run-id", "att", "--", *python(code), cwd=tmp_path
    )
    assert (done.code, done.out) == (0, "att 1\n"), done.err
    log = ringfence(engine.env, "logs", "att", "--json", cwd=tmp_path)
    lines = [json.loads(line) for line in log.out.splitlines()]
    (logged,) = [line for line in lines if line["stream"] == "log"]
    assert (logged["text"], logged["level"], logged["fields"]) == ("stored", "info", {"count": 3})


def test_attach_outside_an_execution_says_so(tmp_path: Path) -> None:
    import subprocess

    from tests.e2e.cli import environment

    code = (
        "import ringfence\ntry: ringfence.attach()\n"
        "except ringfence.UsageError as error: print(error)"
    )
    done = subprocess.run(
        python(code), env=environment({}), capture_output=True, text=True, check=True
    )
    assert "ringfence run" in done.stdout


def test_a_run_id_that_is_taken_starts_nothing(engine: Any, tmp_path: Path) -> None:
    first = start(
        engine.env, "run", *SCOPE, "--run-id", "t-1", "--", "sh", "-c", "echo on; sleep 4",
        cwd=tmp_path,
    )  # fmt: skip
    assert first.stdout is not None
    assert first.stdout.readline() == "on\n"
    marker = tmp_path / "marker"
    for _ in range(2):  # while it runs, and when it has ended
        again = ringfence(
            engine.env, "run", *SCOPE, "--run-id", "t-1", "--", "touch", str(marker), cwd=tmp_path
        )
        assert again.code == 2
        assert "t-1" in again.err
        first.communicate(timeout=60)
    assert not marker.exists()
    assert first.returncode == 0
    record = ringfence(engine.env, "runs", "show", "t-1", "--json", cwd=tmp_path).json
    assert (record["status"], record["error"]) == ("COMPLETED", None)
