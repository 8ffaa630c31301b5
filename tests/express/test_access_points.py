"""Access points: made once, found ever after, and not used when they are something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from ringfence.errors import (
    BucketMissing,
    GrantNotEnforceable,
    IssueRefused,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.providers.aws import access_points as express_access_points
from ringfence.providers.aws import s3_control
from ringfence.providers.aws.express import AccessPoint, ExpressFence
from ringfence.scope import AccessMode, Area, Scope
from tests.express.control import Point
from tests.express.installation import Express
from tests.express.local_aws import ACCOUNT, EXPRESS, REGION, ROLE, LocalAws
from tests.express.sigv4 import Rejected

pytestmark = pytest.mark.engine

Make = Callable[..., Express]


@pytest.fixture
def installation(express: Make, aws: LocalAws) -> Iterator[Express]:
    points = dict(aws.control.points)
    yield express("meta content", access_points=True)
    aws.control.points, aws.control.limit = points, 10_000
    aws.control.failures.clear()


def points_of(installation: Express, scope: Scope) -> dict[Area, AccessPoint]:
    assert isinstance(installation.provider._fence, ExpressFence)
    ways = {g.area: installation.provider._fence.way(g) for g in installation.grants(scope)}
    return {a: way.access_point for a, way in ways.items() if way and way.access_point}


def test_a_scope_has_one_for_the_app_and_one_for_the_user(
    installation: Express, scope: Scope, aws: LocalAws
) -> None:
    installation.credential(scope)
    points = points_of(installation, scope)
    assert points.keys() == {Area.APP, Area.USER, Area.TMP}
    assert points[Area.USER] == points[Area.TMP] != points[Area.APP]
    made = aws.control.points[points[Area.USER].name]
    app, user = scope.app_id, scope.user_id
    assert made.bucket == EXPRESS.content
    assert set(made.prefixes or ()) == {f"users/{user}/apps/{app}/", f"tmp/user/{user}/apps/{app}/"}
    assert sorted(made.operations or ()) == [
        *("AbortMultipartUpload", "DeleteObject", "GetObject", "ListBucket"),
        *("ListMultipartUploadParts", "PutObject"),
    ]
    policy = json.loads(made.policy or "")
    (statement,) = policy["Statement"]
    assert statement["Principal"] == {"AWS": ROLE}
    assert statement["Action"] == "s3express:CreateSession"
    assert statement["Resource"] == points[Area.USER].arn
    assert statement["Resource"].startswith(f"arn:aws:s3express:{REGION}:{ACCOUNT}:accesspoint/")


def test_the_session_policy_names_access_points_and_no_bucket(
    installation: Express, scope: Scope, aws: LocalAws
) -> None:
    installation.credential(scope)
    statements = json.loads(aws.directory.assumed[-1])["Statement"]
    express = [s for s in statements if s["Action"] == ["s3express:CreateSession"]]
    points = points_of(installation, scope)
    assert [set(s["Resource"]) for s in express] == [{p.arn for p in points.values()}]
    assert EXPRESS.content not in aws.directory.assumed[-1]


def test_who_only_reads_has_one_that_only_reads(
    installation: Express, scope: Scope, aws: LocalAws
) -> None:
    reading = replace(scope, mode=AccessMode.INVOKE_READ)
    installation.credential(reading)
    point = points_of(installation, reading)[Area.APP]
    assert point != points_of(installation, scope)[Area.APP]
    assert sorted(aws.control.points[point.name].operations or ()) == ["GetObject", "ListBucket"]
    condition = {"StringEquals": {"s3express:SessionMode": "ReadOnly"}}
    statements = json.loads(aws.directory.assumed[-1])["Statement"]
    named = [s for s in statements if point.arn in s["Resource"]]
    assert [s.get("Condition") for s in named] == [condition]
    own = json.loads(aws.control.points[point.name].policy or "")["Statement"]
    assert [s.get("Condition") for s in own] == [condition]


def test_it_is_made_once_and_remembered(
    installation: Express, express: Make, scope: Scope, aws: LocalAws
) -> None:
    installation.credential(scope)
    made = len(aws.control.calls)
    installation.credential(scope)
    assert len(aws.control.calls) == made, "remembered in the process"
    express("meta content", access_points=True).credential(scope)
    again = aws.control.calls[made:]
    assert again == ["GET", "GET /scope", "GET /policy"] * 2, "found by the next, and read back"


def test_planning_asks_nobody(installation: Express, scope: Scope, aws: LocalAws) -> None:
    before = len(aws.control.calls), len(aws.directory.assumed)
    (document,) = installation.provider.plan(installation.grants(scope))
    assert all(each.exact for each in document.enforcement)
    assert (len(aws.control.calls), len(aws.directory.assumed)) == before


def test_many_who_make_it_at_once_find_the_same(
    express: Make, installation: Express, scope: Scope, aws: LocalAws
) -> None:
    several = [express("meta content", access_points=True) for _ in range(6)]
    before = set(aws.control.points)
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda each: each.credential(scope), several))
    assert len(done) == 6
    assert len(set(aws.control.points) - before) == 2


def test_one_that_takes_a_moment_to_show_is_waited_for(
    installation: Express, scope: Scope, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(express_access_points, "BACKOFF_SECONDS", 0.001)
    aws.control.lag = 3  # one before the creation, two after it
    installation.credential(scope)
    aws.control.lag = 99
    other = replace(scope, app_id=f"{scope.app_id}x")
    with pytest.raises(GrantNotEnforceable, match="cannot be found"):
        installation.credential(other)
    aws.control.lag = 0


def test_one_whose_maker_died_is_completed(
    installation: Express, scope: Scope, aws: LocalAws
) -> None:
    for point in points_of(installation, scope).values():
        aws.control.points[point.name] = as_made(point)
    installation.credential(scope)
    for point in points_of(installation, scope).values():
        assert aws.control.points[point.name].policy


def as_made(point: AccessPoint) -> Point:
    return Point(point.name, point.bucket, tuple(point.prefixes), point.operations)


SPOILT: dict[str, Callable[[Point], Point]] = {
    "another bucket": lambda p: replace(p, bucket=EXPRESS.meta),
    "no scope": lambda p: replace(p, prefixes=None, operations=None),
    "no prefixes": lambda p: replace(p, prefixes=None),
    "another prefix": lambda p: replace(p, prefixes=("apps/other/",)),
    "a prefix more": lambda p: replace(p, prefixes=(*(p.prefixes or ()), "apps/")),
    "a shorter prefix": lambda p: replace(p, prefixes=((p.prefixes or ("",))[0][:-1],)),
    "every operation": lambda p: replace(p, operations=None),
    "an operation more": lambda p: replace(
        p, operations=(p.operations or frozenset()) | {"ListBucketMultipartUploads"}
    ),
    "another principal": lambda p: replace(p, policy=with_principal(p, "*")),
    "a principal more": lambda p: replace(
        p, policy=with_principal(p, [ROLE, f"arn:aws:iam::{ACCOUNT}:root"])
    ),
    "no policy that can be read": lambda p: replace(p, policy="s3express:CreateSession {"),
}


def with_principal(point: Point, aws: Any) -> str:
    policy = json.loads(point.policy or "")
    policy["Statement"][0]["Principal"] = {"AWS": aws}
    return json.dumps(policy)


@pytest.mark.parametrize("how", SPOILT)
def test_one_that_is_not_what_it_must_be_is_not_used(
    installation: Express, express: Make, scope: Scope, aws: LocalAws, how: str
) -> None:
    installation.credential(scope)
    name = points_of(installation, scope)[Area.APP].name
    aws.control.points[name] = spoilt = SPOILT[how](aws.control.points[name])
    assumed = len(aws.directory.assumed)
    with pytest.raises(GrantNotEnforceable, match=rf"{name}.*It is not used.*delete it"):
        express("meta content", access_points=True).credential(scope)
    assert aws.control.points[name] == spoilt, "nor is it changed"
    assert len(aws.directory.assumed) == assumed


def test_a_policy_that_is_written_otherwise_is_the_same(
    installation: Express, express: Make, scope: Scope, aws: LocalAws
) -> None:
    installation.credential(scope)
    name = points_of(installation, scope)[Area.APP].name
    policy = json.loads(aws.control.points[name].policy or "")
    policy["Statement"] = policy["Statement"][0]
    policy["Statement"]["Action"] = ["s3express:CreateSession"]
    text = json.dumps(policy, indent=2, sort_keys=True)
    aws.control.points[name] = replace(aws.control.points[name], policy=text)
    express("meta content", access_points=True).credential(scope)


def test_the_limit_of_an_account_is_said(
    installation: Express, scope: Scope, aws: LocalAws
) -> None:
    aws.control.limit = 0
    with pytest.raises(GrantNotEnforceable, match=r"as many access points.*10,000.*quota") as said:
        installation.credential(scope)
    assert f"apps/{scope.app_id}/" in str(said.value)


REFUSALS: dict[str, tuple[Rejected, type[RingfenceError], str]] = {
    "denied": (
        Rejected(403, "AccessDenied"),
        IssueRefused,
        "may not use s3express:GetAccessPoint on arn:aws:s3express:",
    ),
    "bad keys": (Rejected(403, "SignatureDoesNotMatch"), IssueRefused, "AWS_SECRET_ACCESS_KEY"),
    "expired": (Rejected(400, "ExpiredToken"), RingfenceError, "AWS_SESSION_TOKEN"),
    "no bucket": (Rejected(400, "NoSuchBucket"), BucketMissing, "does not exist in us-west-2"),
    "odd": (Rejected(400, "Odd"), IssueRefused, "would not GetAccessPoint"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_a_sentence(
    installation: Express, scope: Scope, aws: LocalAws, case: str
) -> None:
    failure, kind, words = REFUSALS[case]
    aws.control.failures.append(failure)
    with pytest.raises(kind, match=words):
        installation.credential(scope)


def test_what_passes_is_tried_again(
    installation: Express, scope: Scope, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_control, "BACKOFF_SECONDS", 0.001)
    aws.control.failures += [Rejected(503, "SlowDown"), Rejected(429, "ThrottlingException")]
    installation.credential(scope)
    aws.control.failures += [Rejected(500, "InternalError")] * 4
    with pytest.raises(StorageUnreachable, match="failed 4 times to GetAccessPoint"):
        installation.credential(replace(scope, app_id=f"{scope.app_id}x"))


def test_prefixes_that_are_too_long_for_one_have_two(
    installation: Express, scope: Scope, aws: LocalAws
) -> None:
    longer = replace(scope, user_id=scope.user_id + "u" * 90, app_id=scope.app_id + "a" * 20)
    credential = installation.credential(longer)
    points = points_of(installation, longer)
    assert points[Area.USER] != points[Area.TMP]
    assert all(each.exact for each in credential.enforcement)


def test_a_prefix_that_is_too_long_is_refused(installation: Express, scope: Scope) -> None:
    longest = replace(scope, user_id="u" * 150, app_id="a" * 100)
    with pytest.raises(GrantNotEnforceable, match=r"is 2\d\d bytes long.*holds 255"):
        installation.credential(longest)


@pytest.mark.parametrize("mode", [AccessMode.INVOKE_NONE, AccessMode.READ_LOGS])
def test_logs_have_none(express: Make, scope: Scope, mode: AccessMode) -> None:
    installation = express("log", access_points=True)
    with pytest.raises(GrantNotEnforceable, match="an access point for each run"):
        installation.credential(replace(scope, mode=mode))
    both = express("log", access_points=True, shared=True)
    credential = both.credential(replace(scope, mode=mode))
    (said,) = (e.coarser for e in credential.enforcement if e.area is Area.LOGS)
    assert said is not None
    assert "bucket-wide" in said
