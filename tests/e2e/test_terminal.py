"""What the command line prints, whatever its streams are and whatever a tenant's text holds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import RINGFENCE, environment, ringfence

SCOPE = ("--app", "terminal", "--user", "u")
ESCAPES = "a\x1b[31mred\nringfence: forged\x9b2J"
SHOWN = r"a\x1b[31mred\nringfence: forged\x9b2J"
NOWHERE = {
    "STORAGE_PROVIDER": "aws",
    "META_BUCKET": "a-meta",
    "CONTENT_BUCKET": "a-content",
    "LOG_BUCKET": "a-log",
    "AWS_REGION": "eu-west-1",
    "AWS_ENDPOINT": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_USE_PATH_STYLE": "true",
    "RUNTIME_ROLE_ARN": "arn:aws:iam::123456789012:role/Role",
}


def redirected(
    env: Mapping[str, str], streams: str, *args: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """A command with its streams redirected as a shell does it, and what still came out."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {streams}', "sh", *RINGFENCE, *args],
        env=environment(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--version",), 0),
        (("grants", *SCOPE), 0),
        (("grants", *SCOPE, "--json"), 0),
        (("grants", *SCOPE, "--mode", "root"), 2),
        (("grants", *SCOPE, "--mode", "root", "--json"), 2),
        (("grants",), 2),
        (("runs", "list", "--app", "a"), 4),
    ],
)
def test_a_closed_stream_changes_no_exit_code(
    tmp_path: Path, streams: str, args: tuple[str, ...], code: int
) -> None:
    done = redirected(NOWHERE, streams, *args, cwd=tmp_path)
    assert done.returncode == code, done
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.engine
@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams_runs_and_passes_its_code_on(
    engine: Any, tmp_path: Path, streams: str
) -> None:
    script = ("sh", "-c", "echo out; echo err >&2; exit 7")
    done = redirected(engine.env, streams, "run", *SCOPE, "--", *script, cwd=tmp_path)
    assert done.returncode == 7, done
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.engine
@pytest.mark.parametrize("form", ["env", "json", "duckdb"])
def test_results_that_cannot_be_written_are_an_error(
    engine: Any, tmp_path: Path, form: str
) -> None:
    done = redirected(engine.env, ">/dev/full", "creds", *SCOPE, "--format", form, cwd=tmp_path)
    assert done.returncode == 1
    assert "Standard output cannot be written to (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pipe_that_somebody_set_non_blocking_is_waited_for(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    code = (
        "from ringfence.cli._streams import open_streams; open_streams()\n"
        "print('x' * 999_999, flush=True)"
    )
    with subprocess.Popen([*RINGFENCE[:2], code], stdout=write, cwd=tmp_path) as process:
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            assert len(pipe.read()) == 1_000_000
    assert process.returncode == 0


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_full_disk_is_seen_whatever_the_format(tmp_path: Path, more: tuple[str, ...]) -> None:
    done = redirected(NOWHERE, ">/dev/full", "grants", *SCOPE, *more, cwd=tmp_path)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("args", [("--mode", "root"), ("--mode", "root", "--json"), ()])
def test_messages_that_cannot_be_written_are_lost_and_no_more(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    done = redirected(NOWHERE, ">/dev/full 2>/dev/full", "grants", *SCOPE, *args, cwd=tmp_path)
    assert done.returncode == (2 if args else 1)


@pytest.mark.engine
def test_control_characters_are_shown_and_not_sent(engine: Any, tmp_path: Path) -> None:
    scope = ("--app", ESCAPES, "--user", ESCAPES, "--run-id", ESCAPES)
    started = ringfence(engine.env, "run", *scope, "--", "false", cwd=tmp_path)
    assert started.code == 1
    missing = ringfence(
        engine.env, "run", "--app", ESCAPES, "--user", "u", "--", ESCAPES, cwd=tmp_path
    )
    assert missing.code == 127
    texts = [
        started.text,
        missing.text,
        ringfence(engine.env, "runs", "list", "--app", ESCAPES, cwd=tmp_path).text,
        ringfence(engine.env, "runs", "list", "--app", f"{ESCAPES}-none", cwd=tmp_path).text,
        ringfence(engine.env, "runs", "show", ESCAPES, cwd=tmp_path).text,
        ringfence(engine.env, "runs", "show", f"{ESCAPES}-none", cwd=tmp_path).text,
        ringfence(engine.env, "runs", "watch", ESCAPES, cwd=tmp_path).text,
        ringfence(engine.env, "runs", "cancel", ESCAPES, "--reason", ESCAPES, cwd=tmp_path).text,
        ringfence(engine.env, "grants", *scope[:4], "--mode", ESCAPES, cwd=tmp_path).text,
    ]
    for text in texts:
        assert not set(text) & {"\x1b", "\x9b", "\r"}, text
        assert "\nringfence: forged" not in text
    shown = "".join(texts)
    assert shown.count(SHOWN) >= 5
    # Programs get the text itself.
    row = ringfence(engine.env, "runs", "show", ESCAPES, "--json", cwd=tmp_path).json
    assert (row["id"], row["app_id"], row["user_id"]) == (ESCAPES, ESCAPES, ESCAPES)
