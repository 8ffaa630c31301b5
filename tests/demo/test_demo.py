"""`ringfence demo`, whole, as a user calls it: on an engine of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ringfence.embedded import down, status

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("demo")]

RINGFENCE = str(Path(sys.executable).with_name("ringfence"))
SECONDS = 120

OTHERS = {
    "AWS_ACCESS_KEY_ID": "AKIAUSERSOWN",
    "AWS_SECRET_ACCESS_KEY": "users-own-secret-that-must-not-be-used",
    "AWS_ENDPOINT": "http://127.0.0.1:9",
    "META_BUCKET": "users-own-bucket",
}
"""What a user's shell may be set to: another installation, which the demo must leave alone."""


def clean_environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | more


def call(
    command: Sequence[str], folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@dataclass(frozen=True, slots=True)
class Played:
    """A demo that was played with --json and left its engine running."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    @property
    def engine(self) -> Path:
        return self.folder / ".demo" / ".ringfence"

    @property
    def story(self) -> dict[str, Any]:
        story: dict[str, Any] = json.loads(self.done.stdout)
        return story


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("demo")
    (folder / ".env").write_text("STORAGE_PROVIDER=nonsense\n")
    done = call([RINGFENCE, "demo", "--keep", "--json"], folder, **OTHERS)
    try:
        yield Played(folder, done)
    finally:
        down(folder / ".demo" / ".ringfence")


def test_every_expectation_holds(played: Played) -> None:
    assert played.done.returncode == 0, played.done.stdout + played.done.stderr
    verdict = played.story["verdict"]
    assert verdict["held"] is True
    assert verdict["failures"] == []
    assert verdict["refused"] >= 50


def test_each_run_did_its_work_and_is_on_record(played: Played) -> None:
    runs = played.story["runs"]
    assert {(run["app"], run["user"]) for run in runs} == {
        (app, user)
        for app in ("weather", "weather2")
        for user in ("auth0|ada", "grace@example.org")
    }
    assert {(run["status"], run["exit_code"]) for run in runs} == {("COMPLETED", 0)}
    report = played.story["report"]["content"]
    # From the data, by hand: the hottest day of Seattle in 2014.
    assert (report["hottest"]["date"], report["hottest"]["temp_max"]) == ("2014-08-11", 35.6)
    assert report["dry_spell"] == {"days": 23, "from": "2014-06-29", "to": "2014-07-21"}
    assert len(report["months"]) == 12


def test_the_log_has_what_the_job_printed_and_what_it_logged(played: Played) -> None:
    entries = played.story["log"]["entries"]
    printed = [entry["text"] for entry in entries if entry["stream"] == "stdout"]
    assert [line[:7] for line in printed] == [f"2014-{month:02}" for month in range(1, 13)]
    logged = {entry["text"]: entry for entry in entries if entry["stream"] == "log"}
    assert set(logged) == {"read", "stored"}
    assert logged["read"]["fields"] == {"source": "seattle.csv", "year": "2014", "days": 365}


def test_each_refusal_is_the_engines_own(played: Played) -> None:
    attack = played.story["attack"]
    storage = [each for each in attack["attempts"] if each["kind"] == "storage"]
    assert len(storage) >= 35
    assert {each["status"] for each in storage} == {403}
    assert {each["code"] for each in storage} == {"AccessDenied", "Forbidden"}
    bare = {each["operation"] for each in storage if each["code"] == "Forbidden"}
    assert bare == {"HeadObject"}
    own = [each for each in attack["attempts"] if each["kind"] == "own"]
    assert all(each["outcome"] == "worked" and each["status"] in {200, 204} for each in own)
    doors = [each for each in attack["attempts"] if each["kind"] == "port"]
    assert len(doors) >= 7
    assert attack["harmed"] == []
    assert attack["objects_outside"] > 10


def test_no_secret_is_shown_and_none_is_left_for_others_to_read(played: Played) -> None:
    keys = json.loads((played.engine / "conf" / "keys.json").read_text())
    secrets = [text for text in _strings(keys) if len(text) >= 16]
    assert secrets
    shown = played.done.stdout + played.done.stderr
    assert [secret for secret in secrets if secret in shown] == []
    for path in (played.folder / ".demo").rglob("*"):
        if path.is_file() and path.stat().st_mode & 0o077:
            text = path.read_bytes()
            assert not any(secret.encode() in text for secret in secrets), path


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


def test_a_second_time_it_leaves_the_engine_as_it_was(played: Played) -> None:
    again = call([RINGFENCE, "demo"], played.folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "was running already" in again.stdout
    assert again.stdout.rstrip().splitlines()[-1].startswith("The fence held: ")
    assert "\x1b" not in again.stdout
    assert not [line for line in again.stdout.splitlines() if line != line.rstrip()]
    found = status(played.engine)
    assert found is not None
    assert found.running


def test_what_it_says_about_the_users_environment(played: Played) -> None:
    assert played.story["in_the_way"] == sorted(OTHERS)


# How it ends when something is wrong --------------------------------------------------------------

BROKEN = """
from dataclasses import replace
from ringfence.demo import attacks, cast, house
from ringfence.cli import main
attacks.WEATHER2 = cast.WEATHER   # the "neighbour" is what it may touch
whole = house._house
house._house = lambda *a, **k: replace(whole(*a, **k), hidden=())
main()
"""


def test_a_fence_with_holes_is_told_apart(played: Played) -> None:
    done = call([sys.executable, "-c", BROKEN, "demo"], played.folder)
    assert done.returncode == 3, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("THE FENCE IS BROKEN")
    through = [line for line in lines if line.endswith("GOT THROUGH")]
    assert any("GetObject" in line and "200 OK" in line for line in through)
    assert any(line.startswith("the master's keys") for line in through)
    assert "Traceback" not in done.stderr


FAILING = """
from ringfence.demo import work
from ringfence.cli import main
work.JOB = "data/README.md"   # no program
main()
"""


def test_a_job_that_fails_is_no_breach(played: Played) -> None:
    done = call([sys.executable, "-c", FAILING, "demo", "--json"], played.folder)
    assert done.returncode == 1, done.stdout + done.stderr
    story = json.loads(done.stdout)
    assert "attack" not in story
    assert story["verdict"]["held"] is True
    assert len(story["verdict"]["failures"]) == 4
    assert "SyntaxError" in story["verdict"]["failures"][0]["text"]


def test_each_command_that_it_prints_works(played: Played) -> None:
    commands = played.story["commands"]
    assert [shlex.split(command)[1] for command in commands] == [
        *("runs", "logs", "grants", "run", "down")
    ]
    for command in commands:
        done = call(["/bin/sh", "-c", command], played.folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        assert done.stdout, command
    found = status(played.engine)
    assert found is not None
    assert not found.running


@pytest.mark.parametrize(
    ("number", "code", "heading"),
    [(signal.SIGTERM, 143, "3. "), (signal.SIGINT, 130, "6. ")],
    ids=["while its jobs run", "while it attacks"],
)
def test_an_interrupted_demo_leaves_nothing_running(
    tmp_path: Path, number: int, code: int, heading: str
) -> None:
    process = subprocess.Popen(
        [RINGFENCE, "demo"],
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(heading):
                break
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == code, said
    assert "Traceback" not in said
    found = status(tmp_path / ".demo" / ".ringfence")
    assert found is not None
    assert not found.running
    assert _of_session(process.pid) == []


def _of_session(session: int) -> list[str]:
    """Processes that the demo left, in its session or, as the engine's, in its folder."""
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()


def test_a_folder_that_cannot_be_made_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call([RINGFENCE, "demo", "--dir", "file"], tmp_path)
    assert done.returncode in {1, 2}
    assert done.stderr.startswith("ringfence: ")
    assert "Traceback" not in done.stderr
