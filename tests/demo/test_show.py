"""How the story looks: eighty columns, colours on a terminal only, and JSON of the same parts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ringfence.demo import parts
from ringfence.demo.as_json import document
from ringfence.demo.attacks import plan
from ringfence.demo.attempt import NEEDS_CERTIFICATE, Answer, Attempt, Kind, Outcome, Probe, judge
from ringfence.demo.cast import ADA, GRACE, WEATHER, WEATHER2
from ringfence.demo.show import Screen
from ringfence.demo.story import verdict
from ringfence.logs import LogEntry
from ringfence.scope import Scope, grants
from tests.demo.test_judge import NOW, RECORD, TARGET

RUN = replace(
    RECORD,
    id="01a2032405f8f491f623ba68d16b5a48",
    started_at=NOW,
    completed_at=NOW + timedelta(seconds=1.25),
)
DAY = {"date": "2014-08-11", "temp_max": 35.6, "temp_min": 17.8, "precipitation": 46.7}
REPORT = {
    "days": 365,
    "hottest": DAY,
    "coldest": DAY,
    "wettest": DAY,
    "dry_spell": {"days": 23, "from": "2014-06-29", "to": "2014-07-21"},
    "months": [{"month": "2014-07", "mean_c": 20.7, "rain_mm": 19.6, "wet_days": 2}],
}


def probe(attempt: Attempt) -> Probe:
    answer = {
        Kind.OWN: Answer(200, "OK"),
        Kind.STORAGE: Answer(403, "AccessDenied"),
        Kind.PORT: Answer(None, NEEDS_CERTIFICATE),
        Kind.PROCESS: Answer(None, "ENOENT"),
        Kind.HIDDEN: Answer(None, "EACCES"),
    }[attempt.kind]
    return Probe(attempt, answer, judge(attempt, answer, hiding=True))


ATTACKED = parts.Attacked(
    record=RUN,
    app=WEATHER,
    user=ADA,
    probes=tuple(map(probe, plan(replace(TARGET, run_id=RUN.id)))),
    others=24,
    harmed=(),
    missing=(),
)
SCOPE = Scope(WEATHER.id, ADA.id, RUN.id)
STORY: tuple[parts.Part, ...] = (
    parts.Working("Starting the engine"),
    parts.EngineReady(
        version="SeaweedFS 4.48",
        endpoint="http://127.0.0.1:23333",
        folder=Path(".demo/.ringfence"),
        env_file=Path(".demo/.ringfence/env"),
        buckets=TARGET.buckets,
        started=True,
    ),
    parts.Seeded((parts.Seed(WEATHER, "s3://content/apps/weather/seattle.csv", 1461, 41488),)),
    parts.Granted(SCOPE, grants(SCOPE), TARGET.buckets, "AWS IAM session policy"),
    parts.Working("Running"),
    parts.Ran(
        tuple(
            parts.Finished(app, user, replace(RUN, app_id=app.id, user_id=user.id), None)
            for app in (WEATHER, WEATHER2)
            for user in (ADA, GRACE)
        )
    ),
    parts.Computed(WEATHER, ADA, "s3://content/users/auth0%7Cada/apps/weather/r.json", REPORT),
    parts.LogRead(
        RUN,
        "s3://log/runs/weather/r/",
        (
            *(LogEntry(NOW, "stdout", f"line {number}") for number in range(12)),
            LogEntry(NOW, "log", "stored", "info", {"months": 12}),
        ),
    ),
    ATTACKED,
    parts.Places((("logs", "s3://log/runs/weather/"),), ("ringfence up",), False, ("AWS_REGION",)),
)


def shown(story: tuple[parts.Part, ...], *, terminal: bool) -> str:
    file = StringIO()
    console = Console(
        file=file,
        width=80,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        highlight=False,
        emoji=False,
    )
    with Screen(console) as screen:
        for part in (*story, verdict(story)):
            screen.show(part)
    return file.getvalue()


def test_a_pipe_gets_plain_text_of_eighty_columns() -> None:
    text = shown(STORY, terminal=False)
    assert "\x1b" not in text
    wide = [line for line in text.splitlines() if len(line) > 80 and "://" not in line]
    assert wide == []
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert [line[:2] for line in text.splitlines() if line[1:3] == ". "] == [
        f"{number}." for number in range(1, 9)
    ]
    assert text.rstrip().splitlines()[-1].startswith("The fence held: ")
    assert "Starting the engine" not in text


def test_a_terminal_gets_colours_and_what_is_being_done() -> None:
    text = shown(STORY, terminal=True)
    assert "\x1b[32m" in text
    assert "Starting the engine" in text


@pytest.mark.parametrize("terminal", [False, True])
def test_what_got_through_is_seen_by_words_and_not_by_colour_alone(terminal: bool) -> None:
    first, *rest = (each for each in ATTACKED.probes if each.attempt.kind is Kind.STORAGE)
    through = replace(first, answer=Answer(200, "OK"), outcome=Outcome.GOT_THROUGH)
    broken = replace(ATTACKED, probes=(through, *rest), harmed=("s3://content/x",))
    text = shown((broken,), terminal=terminal)
    assert "200 OK" in text
    assert "GOT THROUGH" in text
    assert "THE FENCE IS BROKEN" in text
    assert "s3://content/x was touched" in text


def test_a_failed_run_is_told_with_its_reason() -> None:
    failed = parts.Finished(WEATHER, ADA, RUN, "No module named 'x'")
    text = shown((parts.Ran((failed,)),), terminal=False)
    assert "No module named 'x'" in text
    assert text.rstrip().endswith("An expectation did not hold; nothing got through the fence.")


def test_the_json_says_the_same() -> None:
    story = (*STORY, verdict(STORY))
    whole = json.loads(json.dumps(document(story)))
    assert sorted(whole) == [
        *("attack", "commands", "data", "engine", "grants", "in_the_way", "log", "places"),
        *("report", "running", "runs", "scope", "verdict"),
    ]
    assert whole["verdict"]["exit_code"] == 0
    assert len(whole["attack"]["attempts"]) == len(ATTACKED.probes)
    assert {each["outcome"] for each in whole["attack"]["attempts"]} == {"worked", "refused"}
