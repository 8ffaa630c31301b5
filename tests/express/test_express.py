"""Names, ARNs and session policies of S3 Express: pure, and held against IAM's rules."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.config import AwsSettings, Buckets, Settings
from ringfence.errors import ConfigError, GrantNotEnforceable
from ringfence.layout import BucketRole, IdCase, Prefix, prefixes_of_user
from ringfence.providers.aws.express import MAX_SCOPE_BYTES, ExpressFence
from ringfence.providers.aws.express_names import check_endpoint, zonal_endpoint, zone_of
from ringfence.providers.aws.policy import MAX_POLICY_CHARACTERS, render, split
from ringfence.providers.aws.provider import AwsProvider
from ringfence.scope import AccessMode, Area, Scope, grants
from tests.express.installation import environment
from tests.express.local_aws import ACCOUNT, EXPRESS, REGION, ROLE, STANDARD
from tests.policy.iam import Request, parse
from tests.policy.ids import ids

ALL = frozenset(BucketRole)
POINTS = ExpressFence(
    AwsSettings(region=REGION, express=ALL - {BucketRole.LOG}, express_access_points=True),
    Buckets(EXPRESS.meta, EXPRESS.content, STANDARD.log),
    ROLE,
)
SHARED = ExpressFence(AwsSettings(region=REGION, express=ALL, express_shared=True), EXPRESS, ROLE)
SCOPE = Scope("app", "user", "run")


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("meta--usw2-az1--x-s3", "usw2-az1"),
        ("a--b--use1-az4--x-s3", "use1-az4"),
        ("point--usw2-lax1-az1--xa-s3", "usw2-lax1-az1"),
    ],
)
def test_a_zone_is_in_the_name(name: str, zone: str) -> None:
    assert zone_of(name) == zone
    wanted = f"https://{name}.s3express-{zone}.us-west-2.amazonaws.com"
    assert zonal_endpoint(name, "us-west-2") == wanted


@pytest.mark.parametrize("name", ["meta", "meta--x-s3", "meta--usw2-az1--y-s3", "m/--a--x-s3"])
def test_other_names_have_none(name: str) -> None:
    with pytest.raises(ValueError, match="not a name of S3 Express"):
        zone_of(name)


def test_without_an_account_there_is_no_arn() -> None:
    fence = replace(SHARED, role_arn="arn:minio:iam:::role/x")
    with pytest.raises(GrantNotEnforceable, match="names no AWS account"):
        fence.way(grants(SCOPE)[0])


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov"])
def test_arns_have_the_partition_of_the_role(partition: str) -> None:
    fence = replace(SHARED, role_arn=ROLE.replace("arn:aws:", f"arn:{partition}:"))
    way = fence.way(grants(SCOPE)[0])
    assert way is not None
    arn = f"arn:{partition}:s3express:{REGION}:{ACCOUNT}:bucket/{EXPRESS.content}"
    assert way.arn == arn


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "https://minio.example.com"])
def test_express_beside_another_engine_is_refused(endpoint: str) -> None:
    cloud = AwsSettings(endpoint=endpoint, express=ALL)
    with pytest.raises(ConfigError, match=r"AWS_ENDPOINT is .*S3 Express One Zone"):
        check_endpoint(cloud)


def test_awss_own_endpoint_is_for_the_standard_buckets() -> None:
    env = {**environment("meta"), "AWS_ENDPOINT": "https://s3.dualstack.us-west-2.amazonaws.com"}
    read = Settings.from_env(env)
    assert isinstance(read.cloud, AwsSettings)
    provider = AwsProvider(read.cloud, read.buckets, credential_ttl=read.credential_ttl)
    app = grants(SCOPE)[0]
    assert provider.address(app)["endpoint"] == env["AWS_ENDPOINT"]
    store = provider.open_bucket(BucketRole.META)
    assert store.config["endpoint"] == zonal_endpoint(EXPRESS.meta, REGION)


# --- names of access points ----------------------------------------------------------------------

NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,48}[a-z0-9]--usw2-az1--xa-s3")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(ids, ids), min_size=2, max_size=6, unique=True))
def test_names_are_legal_and_never_meet(pairs: list[tuple[str, str]]) -> None:
    seen: dict[str, tuple[object, ...]] = {}
    for app, user in pairs:
        for mode in AccessMode:
            for grant in grants(Scope(app, user, "r", mode), IdCase.EXACT):
                try:
                    way = POINTS.way(grant)
                except GrantNotEnforceable:
                    continue
                if way is None:
                    continue
                point = way.access_point
                assert point is not None
                assert NAME.fullmatch(point.name)
                assert len(point.name) <= 50
                assert sum(len(p.encode()) for p in point.prefixes) <= MAX_SCOPE_BYTES
                assert grant.prefix in point.prefixes
                what = (point.bucket, point.prefixes, point.operations)
                assert seen.setdefault(point.name, what) == what


def test_names_stay_what_they_are() -> None:
    """Another derivation would leave every access point of an installation behind."""
    names = {g.area: way.name for g in grants(SCOPE) if (way := POINTS.way(g))}
    assert names == NAMES


NAMES = {
    Area.APP: "rfoftwpyy7mf7itfgamkh3vpmogd--usw2-az1--xa-s3",
    Area.USER: "rfzy5bxolibogee2yc2rof7nd2zb--usw2-az1--xa-s3",
    Area.TMP: "rfzy5bxolibogee2yc2rof7nd2zb--usw2-az1--xa-s3",
}


# --- session policies ----------------------------------------------------------------------------

CREATE = "s3express:CreateSession"


@pytest.mark.parametrize("mode", AccessMode)
@pytest.mark.parametrize("fence", [POINTS, SHARED], ids=["points", "shared"])
def test_a_policy_makes_exactly_its_sessions(fence: ExpressFence, mode: AccessMode) -> None:
    held = grants(replace(SCOPE, mode=mode))
    policy = parse(render(held, fence.buckets.of, ways=fence.way))
    meant: dict[str, set[str]] = {}
    for grant in held:
        if way := fence.way(grant):
            modes = {"ReadOnly"} if way.read_only else {"ReadOnly", "ReadWrite"}
            meant.setdefault(way.arn, set()).update(modes)
    arn = f"arn:aws:s3express:{REGION}:{ACCOUNT}"
    every = {f"{arn}:bucket/{fence.buckets.of(role)}" for role in BucketRole} | {
        way.arn
        for other in (Scope("app0", "user"), Scope("app", "user0"), SCOPE)
        for m in AccessMode
        for grant in grants(replace(other, mode=m))
        if (way := fence.way(grant))
    }
    for resource in every | {f"{resource}x" for resource in every}:
        for session in ("ReadOnly", "ReadWrite"):
            asked = Request(CREATE, resource, {"s3express:SessionMode": session})
            assert policy.allows(asked) is (session in meant.get(resource, ())), resource


def test_standard_and_express_stand_in_one_policy() -> None:
    fence = replace(POINTS, settings=replace(POINTS.settings, express=frozenset({BucketRole.META})))
    held = grants(replace(SCOPE, mode=AccessMode.EDIT_APP))
    (policy,) = split(held, fence.buckets.of, ways=fence.way)
    actions = [tuple(s["Action"]) for s in json.loads(policy.text)["Statement"]]
    assert (CREATE,) in actions
    assert len(actions) == 3


@settings(deadline=None, max_examples=30)
@given(ids, ids)
def test_policies_stay_within_the_limit(app: str, user: str) -> None:
    for mode in AccessMode:
        held = grants(Scope(app, user, "r" * 200, mode))
        for fence in (POINTS, SHARED):
            try:
                parts = split(held, fence.buckets.of, ways=fence.way)
            except GrantNotEnforceable:
                continue
            assert {g for part in parts for g in part.grants} == set(held)
            assert all(len(part.text) <= MAX_POLICY_CHARACTERS for part in parts)


def test_half_of_a_users_access_point_says_what_it_opens_too() -> None:
    held = grants(SCOPE)
    user = tuple(g for g in held if g.area is Area.USER)
    (whole,) = (e for e in POINTS.enforcement(held) if e.area is Area.USER)
    assert whole.exact
    (half,) = POINTS.enforcement(user)
    assert half.coarser == (
        "its access point opens tmp/user/user/apps/app/ too, of the same user and app"
    )


def test_a_users_two_places_are_told_by_either() -> None:
    both = ("users/u/apps/a/", "tmp/user/u/apps/a/")
    assert {prefixes_of_user(Prefix(prefix)) for prefix in both} == {both}
    for other in ("apps/a/", "users/u/apps/a/b/", "users/u/x/a/", "tmp/u/apps/a/"):
        with pytest.raises(ValueError, match="no place of a user"):
            prefixes_of_user(Prefix(other))


def test_one_bucket_wide_session_is_said_of_all_areas_in_that_bucket() -> None:
    """With both flags, what has no access point opens the bucket, whatever fences the rest."""
    both = replace(POINTS.settings, express_shared=True)
    fence = replace(POINTS, settings=both)
    held = grants(Scope("app", "u" * 250, "run"))
    said = {each.area: each.coarser for each in fence.enforcement(held)}
    app = fence.way(held[0])
    assert app is not None
    assert app.access_point is not None
    for area in (Area.APP, Area.USER, Area.TMP):
        assert str(said[area]).startswith(f"bucket-wide: all objects of {EXPRESS.content}")
    assert said[Area.LOGS] is None
    with pytest.raises(GrantNotEnforceable, match="holds 255"):
        POINTS.enforcement(held)
