"""What is wrong is said in a sentence, with the right exit code, and nothing is half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import ringfence

pytestmark = pytest.mark.engine

SCOPE = ("--app", "billing", "--user", "u")
ROLE = "arn:aws:iam::111122223333:role/NoSuchRole"

NO_KEYS = {
    "AWS_ACCESS_KEY_ID": "",
    "AWS_SECRET_ACCESS_KEY": "",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_CONFIG_FILE": "/dev/null",
}

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
    "a secret passed that is not set": (
        {"AWS_SESSION_TOKEN": ""},
        ("run", *SCOPE, "--env", "AWS_SESSION_TOKEN", "--", "true"),
        2,
        ("AWS_SESSION_TOKEN belongs to the installation's configuration",),
    ),
    "no such profile": (
        {**NO_KEYS, "AWS_PROFILE": "nope"},
        ("run", *SCOPE, "--", "true"),
        2,
        ("AWS_PROFILE is 'nope', which does not exist",),
    ),
    "no such profile for creds": (
        {**NO_KEYS, "AWS_PROFILE": "nope"},
        ("creds", *SCOPE),
        2,
        ("AWS_PROFILE is 'nope', which does not exist",),
    ),
    "no keys at all": (NO_KEYS, ("run", *SCOPE, "--", "true"), 2, ("AWS_ACCESS_KEY_ID is not",)),
    "no certificates": (
        {"AWS_ENDPOINT": "https://127.0.0.1:1", "SSL_CERT_FILE": "/nope"},
        ("run", *SCOPE, "--", "true"),
        2,
        ("SSL_CERT_FILE", "/nope", "ca-certificates"),
    ),
    "no certificates for sts": (
        {"AWS_STS_ENDPOINT": "https://127.0.0.1:1", "SSL_CERT_FILE": "/nope"},
        ("creds", *SCOPE),
        2,
        ("SSL_CERT_FILE", "/nope", "ca-certificates"),
    ),
    "no proxy": (
        {"AWS_ENDPOINT": "http://s3.example.invalid", "HTTP_PROXY": "http://[::bad"},
        ("run", *SCOPE, "--", "true"),
        2,
        ("HTTP_PROXY is set, but to no URL of a proxy",),
    ),
    "no proxy for sts": (
        {"AWS_STS_ENDPOINT": "http://s3.example.invalid", "all_proxy": "http://[::bad"},
        ("creds", *SCOPE),
        2,
        ("all_proxy is set, but to no URL of a proxy",),
    ),
    "a format that is none": (
        {},
        ("creds", *SCOPE, "--format", "x"),
        2,
        ("--format 'x'", "duckdb"),
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


MISUSES: dict[str, tuple[str, ...]] = {
    "missing option": ("runs", "list", "--json"),
    "bad number": ("runs", "list", "--app", "a", "--limit", "many", "--json"),
    "unknown command": ("rums", "--json"),
    "unknown option": ("status", "--jason", "--json"),
    "missing command": ("run", *SCOPE, "--json"),
    "a format that is none": ("creds", *SCOPE, "--format", "x", "--json"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_json_for_programs_and_text_for_people(tmp_path: Path, name: str) -> None:
    args = MISUSES[name]
    done = ringfence({}, *args, cwd=tmp_path)
    assert (done.code, done.err) == (2, "")
    error = done.json["error"]
    assert (error["type"], error["exit_code"]) == ("UsageError", 2)
    assert error["message"]
    plain = ringfence({}, *[arg for arg in args if arg != "--json"], cwd=tmp_path)
    assert (plain.code, plain.out) == (2, "")
    assert error["message"] in plain.err


def test_the_options_of_a_command_are_its_own(tmp_path: Path) -> None:
    done = ringfence({}, "run", *SCOPE, "--mode", "root", "--", "tool", "--json", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "invoke_write" in done.err


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_an_engine_on_this_machine_is_asked_directly(
    engine: Any, tmp_path: Path, proxy: str
) -> None:
    # Nobody listens there: whatever is sent to it fails.
    env = {**engine.env, proxy: "http://127.0.0.1:9"}
    done = ringfence(env, "run", *SCOPE, "--", "true", cwd=tmp_path)
    assert done.code == 0, done.text


def test_buckets_on_s3_express_beside_another_engine_are_refused(tmp_path: Path) -> None:
    env = {
        "META_BUCKET": "meta--usw2-az1--x-s3",
        "META_BUCKET_EXPRESS_ZONE": "true",
        "CONTENT_BUCKET": "content",
        "LOG_BUCKET": "logs",
        "AWS_ENDPOINT": "http://localhost:9000",
        "AWS_ACCESS_KEY_ID": "AKIAABCDEFGHIJKLMNOP",
        "AWS_SECRET_ACCESS_KEY": "x" * 40,
        "EXECUTION_STATE_BACKEND": "s3",
    }
    done = ringfence(env, "runs", "list", "--app", "a", cwd=tmp_path)
    assert done.code == 2
    assert "AWS_ENDPOINT" in done.err
    assert "S3 Express One Zone" in done.err
