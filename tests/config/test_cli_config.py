"""``ringfence config``: for a person at a terminal wide or narrow, for a pipe, and for programs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ringfence.cli import app
from ringfence.config import VARIABLES, ProviderName
from tests.config.examples import AWS, FULL, LEAST, PAGE_AWS, PAGE_R2

COMMAND = [sys.executable, "-c", "from ringfence.cli import main; main()", "config"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in VARIABLES:
        monkeypatch.delenv(variable.name, raising=False)
    return tmp_path


def config(*arguments: str, env: Mapping[str, str]) -> Result:
    return CliRunner().invoke(app, ["config", *arguments], env=dict(env))


def as_json(*arguments: str, env: Mapping[str, str]) -> tuple[int, Any]:
    result = config("--json", *arguments, env=env)
    assert result.stderr == ""
    return result.exit_code, json.loads(result.stdout)


def at_terminal(columns: int, env: Mapping[str, str]) -> str:
    """What a terminal of that width shows."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    environ = {**inherited, "TERM": "xterm", "COLUMNS": str(columns), **env}
    with subprocess.Popen(COMMAND, stdout=theirs, stderr=theirs, stdin=theirs, env=environ):
        os.close(theirs)
        shown = bytearray()
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    return shown.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux answers EIO once the other side is closed.
        return b""


@pytest.mark.parametrize("provider", ProviderName)
def test_json_has_every_relevant_variable_and_no_secret(provider: ProviderName) -> None:
    code, document = as_json(env=FULL[provider])
    assert code == 0
    assert list(document) == ["settings", "problems", "notes"]
    assert document["problems"] == []
    names = [row["name"] for row in document["settings"]]
    assert names == [each.name for each in VARIABLES if provider in each.providers]
    assert "secret-" not in json.dumps(document)
    by_name = {row["name"]: row for row in document["settings"]}
    assert by_name["REDIS_URL"]["value"] == f"set ({len(FULL[provider]['REDIS_URL'])} characters)"
    assert by_name["RINGFENCE_CREDENTIAL_TTL"] == {
        "name": "RINGFENCE_CREDENTIAL_TTL",
        "value": "900",
        "source": "environment",
        "default": "3600",
        "fallback": None,
        "required": False,
        "secret": False,
        "meaning": "Life of a credential in seconds, 900 to 43200",
    }


def test_all_shows_the_other_providers_too() -> None:
    _, document = as_json("--all", env=AWS)
    assert [row["name"] for row in document["settings"]] == [each.name for each in VARIABLES]


def test_sources_and_the_default_files(folder: Path) -> None:
    (folder / ".env").write_text(PAGE_AWS)
    (folder / ".env").chmod(0o644)
    code, document = as_json(env={"AWS_REGION": "eu-west-1"})
    assert code == 0
    rows = {row["name"]: (row["value"], row["source"]) for row in document["settings"]}
    assert rows["META_BUCKET"] == ("flow-like-meta", ".env")
    assert rows["AWS_REGION"] == ("eu-west-1", "environment")
    assert rows["AWS_USE_PATH_STYLE"] == ("false", "default")
    assert rows["RUNTIME_ROLE_ARN"] == (None, None)
    notes = {note["variable"]: note["text"] for note in document["notes"]}
    assert "placeholder" in notes["AWS_SECRET_ACCESS_KEY"]
    assert "chmod 600" in notes[".env"]
    assert "cannot be opened without it" in notes["DATABASE_URL"]


def test_problems_are_all_told_on_stderr_one_paragraph_each(folder: Path) -> None:
    (folder / "r2.env").write_text(PAGE_R2)
    env = {"LOG_BUCKET": "Logs", "RINGFENCE_STRCIT": "1"}
    result = config("--env-file", "r2.env", env=env)
    assert result.exit_code == 2
    assert "META_BUCKET" in result.stdout
    first, *paragraphs = result.stderr.partition("ringfence: ")[2].strip().split("\n\n")
    assert first == "the configuration has 3 problems."
    assert [each.split()[0] for each in paragraphs] == [
        "LOG_BUCKET",
        "R2_ENDPOINT",
        "RINGFENCE_STRCIT",
    ]
    assert all("\n" not in each for each in paragraphs)
    assert "Traceback" not in result.stderr


def test_problems_in_json() -> None:
    code, document = as_json(env={**AWS, "META_BUCKET": "", "META_BUKET": "x"})
    assert code == 2
    assert document["problems"] == [
        {
            "variable": "META_BUCKET",
            "found": "empty",
            "expected": "the name of the bucket for app metadata and execution state",
            "hint": "META_BUKET is set. Did you mean META_BUCKET?",
        }
    ]
    assert {row["name"] for row in document["settings"]} >= {"META_BUCKET", "CONTENT_BUCKET"}


def test_the_default_of_path_style_is_the_providers() -> None:
    for provider, default in ((ProviderName.AWS, "false"), (ProviderName.R2, "true")):
        for arguments in ([], ["--all"]):
            _, document = as_json(*arguments, env=LEAST[provider])
            rows = {row["name"]: row for row in document["settings"]}
            row = rows["AWS_USE_PATH_STYLE"]
            found = (row["value"], row["source"], row["default"])
            assert found == (default, "default", default)


def test_an_ip_address_without_path_style_ends_with_2() -> None:
    code, document = as_json(env={**AWS, "AWS_ENDPOINT": "http://127.0.0.1:9"})
    assert code == 2
    (found,) = document["problems"]
    assert (found["variable"], found["found"]) == ("AWS_USE_PATH_STYLE", None)


def test_a_missing_env_file() -> None:
    result = config("--env-file", "nowhere", env=AWS)
    assert result.exit_code == 2
    assert "nowhere is missing: expected a readable file of NAME=value lines." in result.stderr
    code, document = as_json("--env-file", "nowhere", env=AWS)
    assert code == 2
    assert document["settings"] == []
    assert document["problems"][0]["found"] == "missing"


def test_a_pipe_gets_one_unfolded_line_for_each_variable() -> None:
    role = "arn:aws:iam::111122223333:role/" + "a-rather-long-name/" * 6 + "Role"
    result = config(env={**AWS, "RUNTIME_ROLE_ARN": role[:79]})
    heading, *lines = result.stdout.splitlines()
    assert heading.split() == ["VARIABLE", "VALUE", "FROM", "DEFAULT"]
    assert len(lines) == len([each for each in VARIABLES if ProviderName.AWS in each.providers])
    assert any(role[:79] in line for line in lines)
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_a_terminal_shows_whole_names_at_any_width(columns: int) -> None:
    shown = at_terminal(columns, {**AWS, "RINGFENCE_STRICT": "maybe"})
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r", "")
    names = [each.name for each in VARIABLES if ProviderName.AWS in each.providers]
    assert all(re.search(rf"^{name}\b", plain, re.MULTILINE) for name in names)
    assert "flow-like-content" in plain
    assert "RINGFENCE_STRICT is 'maybe'" in " ".join(plain.split())
    if columns >= 80:
        assert max(map(len, plain.splitlines())) <= columns


def test_colours_only_at_a_terminal_that_wants_them() -> None:
    assert "\x1b[" in at_terminal(120, AWS)
    bold_at_most = re.findall(r"\x1b\[([0-9;]*)m", at_terminal(120, {**AWS, "NO_COLOR": "1"}))
    assert set(bold_at_most) <= {"0", "1", "2"}


def test_markup_in_a_value_is_shown_as_it_is() -> None:
    shown = at_terminal(120, {**AWS, "LOG_BUCKET": "[red]logs[/red]"})
    assert "[red]logs[/red]" in shown
