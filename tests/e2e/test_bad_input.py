"""What is wrong is said in a sentence, with the right exit code, and nothing is half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import ringfence

pytestmark = pytest.mark.engine

SCOPE = ("--app", "billing", "--user", "u")
ROLE = "arn:aws:iam::111122223333:role/NoSuchRole"

# change to the environment, command, exit code, words that help
CASES: dict[str, tuple[dict[str, str], tuple[str, ...], int, tuple[str, ...]]] = {
    "no bucket": ({"META_BUCKET": ""}, ("run", *SCOPE, "--", "true"), 2, ("META_BUCKET",)),
    "typo": (
        {"META_BUCKET": "", "META_BUKET": "x-meta"},
        ("run", *SCOPE, "--", "true"),
        2,
        ("META_BUKET", "META_BUCKET"),
    ),
    "two at once": (
        {"AWS_USE_PATH_STYLE": "maybe", "EXECUTION_STATE_BACKEND": "mysql"},
        ("run", *SCOPE, "--", "true"),
        2,
        ("AWS_USE_PATH_STYLE", "EXECUTION_STATE_BACKEND"),
    ),
    "another cloud": (
        {"STORAGE_PROVIDER": "tape"},
        ("run", *SCOPE, "--", "true"),
        2,
        ("STORAGE_PROVIDER",),
    ),
    "unreachable": (
        {"AWS_ENDPOINT": "http://127.0.0.1:1"},
        ("run", *SCOPE, "--", "true"),
        4,
        ("127.0.0.1:1",),
    ),
    "missing bucket": (
        {"META_BUCKET": "no-such-bucket"},
        ("run", *SCOPE, "--", "true"),
        2,
        ("META_BUCKET", "no-such-bucket"),
    ),
    "wrong secret": (
        {"AWS_SECRET_ACCESS_KEY": "x" * 40},
        ("run", *SCOPE, "--", "true"),
        2,
        ("AWS_SECRET_ACCESS_KEY",),
    ),
    "foreign token": (
        {"AWS_SESSION_TOKEN": "not-a-token"},
        ("run", *SCOPE, "--", "true"),
        2,
        ("AWS_SESSION_TOKEN",),
    ),
    "no such role": (
        {"RUNTIME_ROLE_ARN": ROLE},
        ("run", *SCOPE, "--", "true"),
        3,
        ("RUNTIME_ROLE_ARN",),
    ),
    "long id": ({}, ("run", "--app", "x" * 300, "--user", "u", "--", "true"), 2, ("app id", "256")),
    "empty id": ({}, ("run", "--app", "", "--user", "u", "--", "true"), 2, ("app id",)),
    "bad mode": ({}, ("run", *SCOPE, "--mode", "root", "--", "true"), 2, ("invoke_write",)),
    "bad limit": ({}, ("run", *SCOPE, "--timeout", "-1", "--", "true"), 2, ("--timeout",)),
    "no command": ({}, ("run", *SCOPE), 2, ("CMD",)),
    "not found": ({}, ("run", *SCOPE, "--", "no-such-command-here"), 127, ("no-such-command",)),
    "not executable": ({}, ("run", *SCOPE, "--", "/etc/passwd"), 126, ("/etc/passwd",)),
    "a secret passed": (
        {},
        ("run", *SCOPE, "--env", "AWS_SECRET_ACCESS_KEY", "--", "true"),
        2,
        ("AWS_SECRET_ACCESS_KEY",),
    ),
    "no such run": ({}, ("runs", "show", "nope"), 2, ("nope",)),
    "no such log": ({}, ("logs", "nope"), 2, ("nope",)),
    "bad cursor": ({}, ("runs", "list", "--app", "a", "--cursor", "../../x"), 2, ("cursor",)),
    "no env file": ({}, ("config", "--env-file", "missing.env"), 2, ("missing.env",)),
    "log mode": ({}, ("run", *SCOPE, "--mode", "read_logs", "--", "true"), 2, ("read_logs",)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_sentence_and_the_right_exit_code(engine: Any, tmp_path: Path, name: str) -> None:
    change, command, code, words = CASES[name]
    done = ringfence({**engine.env, **change}, *command, cwd=tmp_path)
    assert done.code == code, done.text
    assert not [word for word in words if word not in done.err], done.err
    assert "Debug source" not in done.text
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_could_not_begin_leaves_no_record_running(engine: Any, tmp_path: Path) -> None:
    scope = ("--app", "begun", "--user", "u")
    done = ringfence(engine.env, "run", *scope, "--", "no-such-command-here", cwd=tmp_path)
    assert done.code == 127
    refused = ringfence(
        engine.env, "run", *scope, "--env", "AWS_SECRET_ACCESS_KEY", "--", "true", cwd=tmp_path
    )
    assert refused.code == 2
    page = ringfence(engine.env, "runs", "list", "--app", "begun", "--json", cwd=tmp_path).json
    assert {run["status"] for run in page["runs"]} == {"FAILED"}
