"""The session policy equals the grants: on every generated call, split or whole, at every size."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import strategies as st

from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole, IdCase, Prefix
from ringfence.providers.aws.policy import (
    MAX_POLICY_CHARACTERS,
    partition_of,
    render,
    split,
)
from ringfence.scope import AccessMode, Area, Grant, Grants, Permission, Scope, grants
from tests.policy.effort import effort, hold
from tests.policy.ids import BucketNames, bucket_names, ids, neighbour_of
from tests.policy.matrix import (
    differences,
    disagreements,
    granted,
    layout_calls,
    probe_calls,
    verdicts,
)

GOLDEN = Path(__file__).parent / "golden"
FIXED = Scope("billing", "auth0|42", "0190b1a6")
NAMES: BucketNames = {role: f"acme-{role}" for role in BucketRole}
LONG_NAMES: BucketNames = {role: role[0] * 63 for role in BucketRole}

scopes = st.builds(Scope, ids, ids, st.one_of(st.none(), ids), st.sampled_from(AccessMode))
cases = st.sampled_from(IdCase)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Scope, Scope]:
    """A scope, and another that shares two of its three ids."""
    scope = draw(scopes)
    app, user, run = scope.app_id, scope.user_id, scope.run_id
    match draw(st.integers(0, 2)):
        case 0:
            app = draw(neighbour_of(app))
        case 1:
            user = draw(neighbour_of(user))
        case _:
            run = draw(neighbour_of(run or "run"))
    return scope, Scope(app, user, run, scope.mode)


# The policy equals the grants --------------------------------------------------------------------


@effort(quick=18, soak=1_500)
def test_policy_equals_grants(examples: int) -> None:
    def holds(pair: tuple[Scope, Scope], case: IdCase, buckets: BucketNames) -> None:
        scope, other = pair
        wanted = grants(scope, case)
        text = render(wanted, buckets.__getitem__)
        calls = list(probe_calls(scope, case, buckets, [other]))
        assert differences([text], wanted, buckets, calls) == []
        assert any(granted(wanted, buckets, call) for call in calls)

    hold(examples, holds, pairs(), cases, bucket_names())


@effort(quick=10, soak=700)
def test_folded_policy_holds_where_case_is_ignored(examples: int) -> None:
    """As on SeaweedFS: the policy widens by case alone, and that lets in no key of the layout."""

    def holds(pair: tuple[Scope, Scope], buckets: BucketNames) -> None:
        scope, other = pair
        wanted = grants(scope, IdCase.FOLDED)
        text = render(wanted, buckets.__getitem__)
        calls = probe_calls(scope, IdCase.FOLDED, buckets, [other])
        assert differences([text], wanted, buckets, calls, fold=True) == []
        exact = verdicts(wanted, buckets, layout_calls(scope, IdCase.FOLDED, buckets))
        assert list(disagreements([text], exact, fold=True)) == []

    hold(examples, holds, pairs(), bucket_names())


def test_exact_ids_leak_where_case_is_ignored() -> None:
    # Why ids are folded for such engines, and that the property above can fail.
    wanted = grants(Scope("App1", "user", "run1"), IdCase.EXACT)
    text = render(wanted, NAMES.__getitem__)
    calls = list(layout_calls(Scope("App1", "user", "run1"), IdCase.EXACT, NAMES))
    exact = verdicts(wanted, NAMES, calls)
    assert list(disagreements([text], exact)) == []
    leaks = list(disagreements([text], exact, fold=True))
    assert leaks
    assert all(leak.startswith("LEAK") for leak in leaks)


@effort(quick=10, soak=700)
def test_split_policies_equal_the_grants_together_and_each_its_own(examples: int) -> None:
    def holds(scope: Scope, case: IdCase, buckets: BucketNames, data: st.DataObject) -> None:
        wanted = grants(scope, case)
        alone = [len(render((grant,), buckets.__getitem__)) for grant in wanted]
        whole = len(render(wanted, buckets.__getitem__))
        limit = data.draw(st.integers(max(alone), max(*alone, whole)), label="limit")
        parts = split(wanted, buckets.__getitem__, limit=limit)
        assert Counter(grant for part in parts for grant in part.grants) == Counter(wanted)
        assert all(len(part.text) <= limit for part in parts)
        calls = list(probe_calls(scope, case, buckets))
        assert differences([part.text for part in parts], wanted, buckets, calls) == []
        for part in parts if len(parts) > 1 else ():
            assert differences([part.text], part.grants, buckets, calls) == []

    hold(examples, holds, scopes, cases, bucket_names(), st.data())


@pytest.mark.parametrize("mode", AccessMode)
@pytest.mark.parametrize("run", [None, "run1"])
@pytest.mark.parametrize("case", IdCase)
def test_policy_equals_grants_in_every_mode(
    mode: AccessMode, run: str | None, case: IdCase
) -> None:
    scope = Scope("App1", "auth0|42", run, mode)
    wanted = grants(scope, case)
    text = render(wanted, NAMES.__getitem__)
    assert differences([text], wanted, NAMES, list(probe_calls(scope, case, NAMES))) == []


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
def test_policy_equals_grants_in_another_partition(partition: str) -> None:
    scope = Scope("app1", "user", "run1", AccessMode.INVOKE_READ)
    wanted = grants(scope)
    text = render(wanted, NAMES.__getitem__, partition=partition)
    calls = list(probe_calls(scope, IdCase.EXACT, NAMES))
    assert differences([text], wanted, NAMES, calls, partition=partition) == []
    other = differences([text], wanted, NAMES, calls, partition="aws-iso")
    assert other
    assert all(each.startswith("FALSE REFUSAL") for each in other)


def test_one_bucket_in_two_roles_is_the_union_of_its_grants() -> None:
    shared = {**NAMES, BucketRole.META: NAMES[BucketRole.CONTENT]}
    for mode in AccessMode:
        scope = Scope("app1", "user", "run1", mode)
        wanted = grants(scope)
        text = render(wanted, shared.__getitem__)
        calls = list(probe_calls(scope, IdCase.EXACT, shared))
        assert differences([text], wanted, shared, calls) == []
        for resources in re.findall(r'"Resource":(\[[^]]*\])', text):
            listed = json.loads(resources)
            assert len(set(listed)) == len(listed)


_AREAS = {Area.META: BucketRole.META, Area.LOGS: BucketRole.LOG}


@st.composite
def any_grants(draw: st.DrawFn) -> Grants:
    """Grants that no mode gives: any area, any permissions, prefixes shared or not."""
    prefixes = st.sampled_from(["apps/a/", "apps/b/", "users/u/apps/a/", "runs/a/"])
    permissions = st.frozensets(st.sampled_from(Permission), min_size=1)
    areas = draw(st.lists(st.sampled_from(Area), min_size=1, max_size=5))
    return tuple(
        Grant(
            area,
            _AREAS.get(area, BucketRole.CONTENT),
            Prefix(draw(prefixes)),
            draw(permissions),
        )
        for area in areas
    )


@effort(quick=15, soak=1_500)
def test_any_grants_are_rendered_exactly(examples: int) -> None:
    """The permissions of one prefix never reach another, the prefixes of one bucket no other."""

    def holds(wanted: Grants) -> None:
        text = render(wanted, NAMES.__getitem__)
        calls = list(probe_calls(Scope("a", "u", "b"), IdCase.EXACT, NAMES, [Scope("b", "u")]))
        assert differences([text], wanted, NAMES, calls) == []

    hold(examples, holds, any_grants())


def test_listing_of_one_bucket_is_not_listing_of_another() -> None:
    apart = (
        Grant(Area.META, BucketRole.META, Prefix("apps/a/"), frozenset({Permission.LIST})),
        Grant(Area.LOGS, BucketRole.LOG, Prefix("runs/a/"), frozenset({Permission.LIST})),
    )
    assert render(apart, NAMES.__getitem__).count("s3:ListBucket") == 2
    alike = grants(Scope("a", "u", mode=AccessMode.READ_APP))
    assert render(alike, NAMES.__getitem__).count("s3:ListBucket") == 1


# Sizes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", AccessMode)
@pytest.mark.parametrize("partition", ["aws", "aws-us-gov"])
def test_long_names_and_64_byte_ids_fit_in_one_credential(mode: AccessMode, partition: str) -> None:
    scope = Scope("a" * 64, "u" * 64, "r" * 64, mode)
    (only,) = split(grants(scope), LONG_NAMES.__getitem__, partition=partition)
    assert only.grants == grants(scope)
    assert len(only.text) <= MAX_POLICY_CHARACTERS


@pytest.mark.parametrize("mode", AccessMode)
@pytest.mark.parametrize("case", IdCase)
def test_256_byte_ids_are_split_and_still_exact(mode: AccessMode, case: IdCase) -> None:
    scope = Scope("a" * 256, "u" * 256, "r" * 256, mode)
    wanted = grants(scope, case)
    parts = split(wanted, LONG_NAMES.__getitem__)
    assert (len(parts) > 1) is (len(wanted) > 2)
    assert all(len(part.text) <= MAX_POLICY_CHARACTERS for part in parts)
    calls = list(probe_calls(scope, case, LONG_NAMES))
    assert differences([part.text for part in parts], wanted, LONG_NAMES, calls) == []
    for part in parts:
        assert differences([part.text], part.grants, LONG_NAMES, calls) == []


@effort(quick=60, soak=3_000)
def test_split_is_the_fewest(examples: int) -> None:
    def holds(app: int, user: int, run: int, mode: AccessMode, limit: int) -> None:
        wanted = grants(Scope("a" * app, "u" * user, "r" * run, mode))
        alone = [len(render((grant,), LONG_NAMES.__getitem__)) for grant in wanted]
        limit = max(limit, *alone)
        parts = split(wanted, LONG_NAMES.__getitem__, limit=limit)
        assert len(parts) == fewest(wanted, limit)
        assert parts == split(wanted, LONG_NAMES.__getitem__, limit=limit)

    size = st.integers(1, 256)
    limits = st.one_of(st.just(MAX_POLICY_CHARACTERS), st.integers(1, MAX_POLICY_CHARACTERS))
    hold(examples, holds, size, size, size, st.sampled_from(AccessMode), limits)


def test_keeping_the_earlier_grants_together_does_not_cost_a_policy() -> None:
    # Taking what fits in order gives app with user, then tmp and logs each alone.
    app, user, tmp, logs = wanted = grants(Scope("a" * 64, "u" * 64, "run"))
    limit = len(render((user, logs), NAMES.__getitem__))
    assert len(render((app, user), NAMES.__getitem__)) <= limit
    assert len(render((tmp, logs), NAMES.__getitem__)) > limit
    parts = split(wanted, NAMES.__getitem__, limit=limit)
    assert [part.grants for part in parts] == [(app, tmp), (user, logs)]


def fewest(wanted: Grants, limit: int) -> int:
    """By trying every way to give each grant a number."""
    ways = itertools.product(range(len(wanted)), repeat=len(wanted))
    return min(len(set(way)) for way in ways if fits(wanted, way, limit))


def fits(wanted: Grants, way: tuple[int, ...], limit: int) -> bool:
    parts = (
        tuple(grant for grant, number in zip(wanted, way, strict=True) if number == part)
        for part in set(way)
    )
    return all(len(render(part, LONG_NAMES.__getitem__)) <= limit for part in parts)


# Form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", AccessMode)
def test_golden(mode: AccessMode) -> None:
    scope = Scope(FIXED.app_id, FIXED.user_id, FIXED.run_id, mode)
    expected = (GOLDEN / f"{mode}.json").read_text(encoding="ascii")
    assert render(grants(scope), NAMES.__getitem__) + "\n" == expected


@effort(quick=100, soak=10_000)
def test_text_is_compact_ascii_and_always_the_same(examples: int) -> None:
    def holds(scope: Scope, case: IdCase, buckets: BucketNames) -> None:
        text = render(grants(scope, case), buckets.__getitem__)
        assert text == render(grants(scope, case), buckets.__getitem__)
        # STS takes U+0009, U+000A, U+000D and U+0020-00FF; Ceph fails on white space.
        assert re.fullmatch(r"[!-~]+", text)
        policy = json.loads(text)
        assert text == json.dumps(policy, separators=(",", ":"))
        assert policy["Version"] == "2012-10-17"
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            assert all(re.fullmatch(r"s3:[A-Za-z]+", each) for each in statement["Action"])
            assert ("Condition" in statement) is (statement["Action"] == ["s3:ListBucket"])

    hold(examples, holds, scopes, cases, bucket_names())


def test_resources_and_prefixes_are_written_as_they_are() -> None:
    policy = json.loads(render(grants(FIXED), NAMES.__getitem__, partition="aws-cn"))
    objects, logs, listing = policy["Statement"]
    assert objects["Resource"] == [
        "arn:aws-cn:s3:::acme-content/apps/billing/*",
        "arn:aws-cn:s3:::acme-content/users/auth0%7C42/apps/billing/*",
        "arn:aws-cn:s3:::acme-content/tmp/user/auth0%7C42/apps/billing/*",
    ]
    assert logs["Resource"] == ["arn:aws-cn:s3:::acme-log/runs/billing/0190b1a6/*"]
    assert listing["Resource"] == ["arn:aws-cn:s3:::acme-content"]
    assert listing["Condition"] == {
        "StringLike": {
            "s3:prefix": [
                "apps/billing/*",
                "users/auth0%7C42/apps/billing/*",
                "tmp/user/auth0%7C42/apps/billing/*",
            ]
        }
    }


# Refusals ----------------------------------------------------------------------------------------

BAD_CHARACTERS = [*"*?${}\"\\ \x00\n\x7f\t'|~", "\u00e9", "\u212a"]


def test_no_grants_are_no_policy() -> None:
    for make in (render, split):
        with pytest.raises(ValueError, match="no grants"):
            make((), NAMES.__getitem__)


@pytest.mark.parametrize("bad", [*BAD_CHARACTERS, "/", ":"])
def test_a_bucket_name_that_is_language_is_refused(bad: str) -> None:
    for name in (f"a{bad}b", bad, f"ab{bad}", f"{bad}ab"):
        with pytest.raises(GrantNotEnforceable, match="bucket"):
            render(grants(FIXED), lambda _, name=name: name)  # type: ignore[misc]


@pytest.mark.parametrize("bucket", ["", "-a", ".", "..", "arn:aws:s3:::b"])
def test_what_is_no_bucket_name_is_refused(bucket: str) -> None:
    with pytest.raises(GrantNotEnforceable, match="bucket"):
        render(grants(FIXED), lambda _: bucket)


@pytest.mark.parametrize(
    "prefix",
    [
        *(f"apps/a{bad}b/" for bad in BAD_CHARACTERS),
        "apps//",
        "apps//x/",
        "apps/./",
        "apps/../",
        "../",
        "apps/a/\n/",
    ],
)
def test_a_prefix_that_is_not_made_of_encoded_ids_is_refused(prefix: str) -> None:
    grant = Grant(Area.APP, BucketRole.CONTENT, Prefix(prefix), frozenset(Permission))
    for make in (render, split):
        with pytest.raises(GrantNotEnforceable, match="prefix"):
            make((grant,), NAMES.__getitem__)


def test_a_grant_that_fits_in_no_policy_is_refused() -> None:
    wanted = grants(Scope("a" * 256, "u" * 256, "r", AccessMode.INVOKE_WRITE))
    with pytest.raises(GrantNotEnforceable, match=r"user area alone is .* at most 1200") as caught:
        split(wanted, LONG_NAMES.__getitem__, limit=1200)
    assert caught.value.hint
    assert "shorter" in caught.value.hint


@pytest.mark.parametrize(
    "partition", ["", "AWS", "aws*", "aws-", "aws:s3", 'aws"', "aws\n", "minio"]
)
def test_what_is_no_partition_is_refused(partition: str) -> None:
    with pytest.raises(ValueError, match="partition"):
        render(grants(FIXED), NAMES.__getitem__, partition=partition)


@pytest.mark.parametrize(
    ("arn", "partition"),
    [
        ("arn:aws:iam::123456789012:role/run", "aws"),
        ("arn:aws-cn:iam::123456789012:role/run", "aws-cn"),
        ("arn:aws-us-gov:iam::123456789012:role/run", "aws-us-gov"),
        ("arn:aws-iso-b:iam::123456789012:role/run", "aws-iso-b"),
        ("arn:minio:iam:::role/run", "aws"),
        ("arn:aws-cn", "aws"),
        ("arn:aws-*:iam::1:role/run", "aws"),
        ("", "aws"),
    ],
)
def test_partition_of_a_role(arn: str, partition: str) -> None:
    assert partition_of(arn) == partition
    assert render(grants(FIXED), NAMES.__getitem__, partition=partition_of(arn))
