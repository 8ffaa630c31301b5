"""What an answer means, and what all of them come to: the demo can fail, and says how."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringfence.config import Buckets
from ringfence.demo.attacks import plan
from ringfence.demo.attempt import (
    NEEDS_CERTIFICATE,
    NO_ANSWER,
    Answer,
    Attempt,
    Kind,
    Outcome,
    Probe,
    Target,
    judge,
)
from ringfence.demo.cast import ADA, WEATHER, WEATHER2, examples
from ringfence.demo.parts import Attacked, EngineReady, Finished, Ran, Verdict
from ringfence.demo.story import verdict
from ringfence.layout import IdCase
from ringfence.scope import AccessMode
from ringfence.state.record import RunRecord, RunStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = RunRecord(
    id="r",
    app_id="weather",
    user_id="auth0|ada",
    mode=AccessMode.INVOKE_WRITE,
    status=RunStatus.COMPLETED,
    version=3,
    created_at=NOW,
    updated_at=NOW,
)
TARGET = Target(
    buckets=Buckets(meta="meta", content="content", log="log"),
    id_case=IdCase.FOLDED,
    role_arn="arn:aws:iam::000000000000:role/run",
    run_id="r",
    neighbour_run="n",
    neighbour_log="runs/weather/n/w/0.jsonl",
    doors={"filer": "127.0.0.1:8888"},
    hidden_doors={"s3, socket": "/engine/s3.sock"},
    files={"the engine's keys": Path("/keys")},
    runner=1,
)


def an_attempt(kind: Kind) -> Attempt:
    return Attempt("group", "label", "GetObject", kind, {})


@pytest.mark.parametrize(
    ("kind", "answer", "outcome"),
    [
        (Kind.OWN, Answer(200, "OK"), Outcome.WORKED),
        (Kind.OWN, Answer(204, "OK"), Outcome.WORKED),
        (Kind.OWN, Answer(403, "AccessDenied"), Outcome.UNCLEAR),
        (Kind.OWN, NO_ANSWER, Outcome.UNCLEAR),
        (Kind.STORAGE, Answer(403, "AccessDenied"), Outcome.REFUSED),
        (Kind.STORAGE, Answer(200, "OK"), Outcome.GOT_THROUGH),
        (Kind.STORAGE, Answer(404, "NoSuchKey"), Outcome.UNCLEAR),
        (Kind.STORAGE, Answer(400, "InvalidRequest"), Outcome.UNCLEAR),
        (Kind.STORAGE, Answer(503, "SlowDown"), Outcome.UNCLEAR),
        (Kind.STORAGE, Answer(None, "EndpointConnectionError: refused"), Outcome.UNCLEAR),
        (Kind.STORAGE, Answer(None, "ReadTimeoutError: slow"), Outcome.UNCLEAR),
        (Kind.STORAGE, NO_ANSWER, Outcome.UNCLEAR),
        (Kind.PORT, Answer(401, "Unauthorized"), Outcome.REFUSED),
        (Kind.PORT, Answer(None, NEEDS_CERTIFICATE), Outcome.REFUSED),
        (Kind.PORT, Answer(200, "OK"), Outcome.GOT_THROUGH),
        (Kind.PORT, Answer(None, "ConnectionRefusedError: no"), Outcome.UNCLEAR),
        (Kind.PROCESS, Answer(None, "EACCES"), Outcome.REFUSED),
        (Kind.PROCESS, Answer(None, "OK"), Outcome.GOT_THROUGH),
        (Kind.HIDDEN, Answer(None, "EACCES"), Outcome.REFUSED),
        (Kind.HIDDEN, Answer(None, "ENOENT"), Outcome.REFUSED),
        (Kind.HIDDEN, Answer(404, "Not Found"), Outcome.REFUSED),
        (Kind.HIDDEN, Answer(None, "OK"), Outcome.GOT_THROUGH),
        (Kind.HIDDEN, NO_ANSWER, Outcome.UNCLEAR),
    ],
)
def test_only_the_other_sides_own_no_is_a_refusal(
    kind: Kind, answer: Answer, outcome: Outcome
) -> None:
    assert judge(an_attempt(kind), answer, hiding=True) is outcome


def test_what_a_system_cannot_hide_is_told_and_is_no_breach() -> None:
    attempt = an_attempt(Kind.HIDDEN)
    assert judge(attempt, Answer(None, "OK"), hiding=False) is Outcome.NOT_HIDDEN
    assert judge(attempt, Answer(None, "EACCES"), hiding=False) is Outcome.REFUSED
    # A process of the runner's is closed on every system: it protects itself.
    process = an_attempt(Kind.PROCESS)
    assert judge(process, Answer(None, "OK"), hiding=False) is Outcome.GOT_THROUGH
    told = verdict([attacked(Outcome.REFUSED, Outcome.NOT_HIDDEN)])
    assert told.exit_code == 0
    assert "2 attacks, 1 refused" in told.sentence
    assert "1 files cannot be hidden on this system" in told.sentence


def attacked(*outcomes: Outcome, **changed: Any) -> Attacked:
    probes = tuple(
        Probe(an_attempt(Kind.STORAGE), Answer(None, outcome.value), outcome)
        for outcome in outcomes
    )
    whole = Attacked(
        record=RECORD,
        app=WEATHER,
        user=ADA,
        probes=probes,
        others=5,
        harmed=(),
        missing=(),
    )
    return replace(whole, **changed)


def test_a_held_fence_ends_with_0() -> None:
    told = verdict([attacked(Outcome.REFUSED, Outcome.REFUSED)])
    assert (told.exit_code, told.refused, told.failures) == (0, 2, ())
    assert told.sentence.startswith("The fence held: 2 attacks, 2 refused")


def test_whatever_got_through_ends_with_3() -> None:
    told = verdict([attacked(Outcome.REFUSED, Outcome.GOT_THROUGH)])
    assert told.exit_code == 3
    assert "BROKEN" in told.sentence
    harmed = verdict([attacked(Outcome.REFUSED, harmed=("s3://content/x",))])
    assert harmed.exit_code == 3


@pytest.mark.parametrize(
    "part",
    [
        attacked(Outcome.REFUSED, Outcome.UNCLEAR),
        attacked(Outcome.REFUSED, record=replace(RECORD, status=RunStatus.FAILED)),
        attacked(Outcome.REFUSED, trouble="the log was lost"),
    ],
)
def test_anything_else_that_failed_ends_with_1(part: Attacked) -> None:
    told = verdict([part])
    assert told.exit_code == 1
    assert told.failures
    assert "held" not in told.sentence


def test_a_story_without_an_attack_is_no_success() -> None:
    ready = EngineReady(
        version="1",
        endpoint="e",
        folder=Path(),
        env_file=Path(),
        buckets=TARGET.buckets,
        started=True,
    )
    assert verdict([ready]).exit_code == 1
    assert verdict([attacked()]).exit_code == 1
    failed = replace(RECORD, status=RunStatus.FAILED)
    told = verdict([ready, Ran((Finished(WEATHER, ADA, failed, "it fell over"),))])
    assert told.exit_code == 1
    assert "it fell over" in told.failures[0].text


def test_the_plan_has_controls_and_attacks_on_every_neighbour() -> None:
    attempts = plan(TARGET)
    kinds = [attempt.kind for attempt in attempts]
    assert kinds[0] is kinds[-1] is Kind.OWN
    assert set(kinds) == set(Kind)
    groups = {attempt.group for attempt in attempts}
    assert any(WEATHER2.id in group for group in groups)
    keys = [str(attempt.call.get("Key")) for attempt in attempts if attempt.kind is Kind.STORAGE]
    own = ("apps/weather/", "users/auth0%7Cada/apps/weather/", "tmp/user/auth0%7Cada/apps/weather/")
    reads = [
        attempt
        for attempt in attempts
        if attempt.kind is Kind.STORAGE
        and attempt.call["way"] == "sdk"
        and attempt.call.get("Bucket") == "content"
        and str(attempt.call.get("Key", "")).startswith(own)
    ]
    # Only a copy from the neighbour may have a place of its own as its end.
    assert {attempt.operation for attempt in reads} == {"CopyObject"}
    assert any(key.startswith("execution/runs/r/") for key in keys)


def test_the_examples_are_found() -> None:
    assert (examples() / "weather_report.py").is_file()
    assert (examples() / "data" / WEATHER.source).read_bytes().count(b"\n") == 1462


def test_a_verdict_counts_in_words() -> None:
    one = Verdict(1, 0, verdict([attacked(Outcome.UNCLEAR)]).failures)
    assert one.sentence.startswith("An expectation did not hold")
