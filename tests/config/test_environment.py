"""Where variables come from, and which wins."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ringfence.config import Environment, Settings, load_environment, process_environment
from ringfence.config.environment import exposed_files
from ringfence.errors import ConfigError
from tests.config.examples import AWS, PAGE_AWS
from tests.config.problems import problem


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_environment_wins_then_the_first_file(folder: Path) -> None:
    write(folder / ".env", "A=file\nB=file\n")
    write(folder / ".ringfence" / "env", "A=engine\nB=engine\nC=engine\n")
    env = load_environment(environ={"A": "real"})
    assert dict(env) == {"A": "real", "B": "file", "C": "engine"}
    assert [env.source(name) for name in "ABCD"] == [
        "environment",
        ".env",
        ".ringfence/env",
        None,
    ]


def test_an_empty_variable_of_the_environment_wins_too(folder: Path) -> None:
    write(folder / ".env", "AWS_ENDPOINT=http://minio:9000")
    assert load_environment(environ={"AWS_ENDPOINT": ""})["AWS_ENDPOINT"] == ""


def test_default_files_may_be_absent_or_no_files(folder: Path) -> None:
    (folder / ".env").mkdir()
    assert dict(load_environment(environ={})) == {}


def test_named_files_replace_the_default_ones(folder: Path) -> None:
    write(folder / ".env", "A=default")
    first, second = write(folder / "one", "B=1"), write(folder / "two", "B=2\nC=2")
    env = load_environment([first, second], environ={})
    assert dict(env) == {"B": "1", "C": "2"}
    assert env.source("B") == str(first)
    assert dict(load_environment([], environ={})) == {}


def test_every_file_that_cannot_be_read_is_reported(folder: Path) -> None:
    bad = write(folder / "bad", "A=1\nsecret words\n")
    (folder / "latin").write_bytes(b"A=\xe9")
    (folder / "long").write_bytes(b"#" * (1 << 20) + b"\n")
    names = [Path("missing"), folder, bad, folder / "latin", folder / "long", Path("nul\0")]
    with pytest.raises(ConfigError) as caught:
        load_environment(names, environ={})
    found = [(each.variable, each.found) for each in caught.value.problems]
    assert found == [
        ("missing", "missing"),
        (str(folder), "not readable (Is a directory)"),
        (f"{bad}, line 2,", "neither NAME=value nor a comment"),
        (str(folder / "latin"), "not UTF-8 text"),
        (str(folder / "long"), "over 1,048,576 bytes"),
        ("nul\0", "not readable (not a path)"),
    ]
    assert "secret words" not in str(caught.value)


def test_a_pipe_is_read_when_it_is_named() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"A=1\n")
    os.close(writing)
    try:
        assert dict(load_environment([Path(f"/dev/fd/{reading}")], environ={})) == {"A": "1"}
    finally:
        os.close(reading)


def test_settings_know_the_file_of_each_variable(folder: Path) -> None:
    write(folder / ".env", PAGE_AWS)
    settings = Settings.from_env(load_environment(environ={"AWS_REGION": "eu-west-1"}))
    assert settings.sources["META_BUCKET"] == ".env"
    assert settings.sources["AWS_REGION"] == "environment"
    assert settings.sources["AWS_USE_PATH_STYLE"] == "default"


def test_a_session_token_left_in_the_shell_is_told_apart(folder: Path) -> None:
    write(folder / ".env", PAGE_AWS)
    found = problem(load_environment(environ={"AWS_SESSION_TOKEN": "left-over"}))
    assert found.variable == "AWS_SESSION_TOKEN"
    assert found.hint == "It comes from the environment, AWS_ACCESS_KEY_ID from .env."


def test_from_env_without_a_mapping_reads_the_process_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / ".env", "LOG_BUCKET=of-the-file")
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().buckets.log == "flow-like-logs"
    assert process_environment().source("LOG_BUCKET") == "environment"


def test_files_with_secrets_that_others_can_read(folder: Path) -> None:
    open_file = write(folder / "open", "AWS_SECRET_ACCESS_KEY=x")
    closed = write(folder / "closed", "REDIS_URL=redis://x")
    dull = write(folder / "dull", "LOG_BUCKET=logs")
    open_file.chmod(0o640)
    closed.chmod(0o600)
    dull.chmod(0o644)
    env = load_environment([open_file, closed, dull], environ={"DATABASE_URL": "x"})
    assert exposed_files(env) == (str(open_file),)


def test_an_environment_is_a_value_that_shows_none() -> None:
    env = load_environment([], environ={"AWS_SECRET_ACCESS_KEY": "the-secret"})
    assert isinstance(env, Environment)
    assert repr(env) == "Environment(1 variables)"
    assert len(env) == 1


def test_importing_loads_nothing_heavy() -> None:
    """`ringfence run` pays for this import at every start."""
    code = (
        "import sys, dataclasses, enum; before = set(sys.modules);"
        "import ringfence.config as c; c.Settings.from_env(dict(META_BUCKET='meta',"
        "CONTENT_BUCKET='content', LOG_BUCKET='logs'));"
        "print(*sorted(m.partition('.')[0] for m in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "ringfence" in loaded
    heavy = {"difflib", "urllib", "json", "base64", "pathlib", "logging", "socket", "asyncio"}
    heavy |= {"rich", "typer", "httpx", "obstore", "botocore", "dotenv", "pydantic"}
    assert not loaded & heavy
