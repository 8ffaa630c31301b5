"""The boundary equals the grants: every mode's document by eye, every set of permissions by CEL."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.auth.downscoped import (
    AccessBoundaryRule,
    AvailabilityCondition,
    CredentialAccessBoundary,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole, Prefix
from ringfence.providers.gcp import boundary as gcp_boundary
from ringfence.providers.gcp.boundary import MAX_RULES, Boundary, cel_text, split
from ringfence.scope import AccessMode, Area, Grant, Grants, Permission, Scope, grants
from ringfence.testing.isolation import neighbours_of
from tests.gcp.double.boundary import Need, Rule, allows, parse
from tests.gcp.double.roles import ROLES
from tests.policy.ids import ids

GOLDEN = Path(__file__).parent / "golden"
FIXED = Scope("billing", "auth0|42", "0190b1a6")
NAMES = {role: f"acme-{role}" for role in BucketRole}

R, W, D, L = Permission.READ, Permission.WRITE, Permission.DELETE, Permission.LIST


def boundaries(held: Grants) -> tuple[Boundary, ...]:
    return split(held, NAMES.__getitem__)


def read_by_google(boundary: Boundary) -> tuple[Rule, ...]:
    """The rules as the double's Security Token Service reads them."""
    return parse(quote(json.dumps(boundary.to_json())), ())


# What stands in a document -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", AccessMode)
def test_the_document_of_a_mode_is_the_reviewed_one(mode: AccessMode) -> None:
    (boundary,) = boundaries(grants(replace(FIXED, mode=mode)))
    assert f"{boundary.text}\n" == (GOLDEN / f"{mode}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", AccessMode)
def test_google_auth_renders_the_same(mode: AccessMode) -> None:
    (boundary,) = boundaries(grants(replace(FIXED, mode=mode)))
    rules = [
        AccessBoundaryRule(  # type: ignore[no-untyped-call]
            f"//storage.googleapis.com/projects/_/buckets/{rule.bucket}",
            [f"inRole:{role}" for role in rule.roles],
            AvailabilityCondition(rule.condition),  # type: ignore[no-untyped-call]
        )
        for rule in boundary.rules
    ]
    theirs = CredentialAccessBoundary(rules)  # type: ignore[no-untyped-call]
    assert theirs.to_json() == boundary.to_json()  # type: ignore[no-untyped-call]


# What it allows ----------------------------------------------------------------------------------

NEEDED = {
    "storage.objects.get": {R},
    "storage.objects.create": {W},
    "storage.objects.delete": {D},
    # Metadata of an object: who may replace it may write it with others.
    "storage.objects.update": {R, W, D},
    "storage.multipartUploads.create": {W},
    "storage.multipartUploads.abort": {W},
    "storage.multipartUploads.listParts": {W},
    "storage.folders.create": {W},
    "storage.folders.get": {R},
    "storage.folders.delete": {R, W, D},
}
"""Each permission on an object or a folder, and what a grant must say for it."""


def needs(prefix: str, bucket: str) -> Iterator[tuple[Need, frozenset[Permission]]]:
    """Every permission at a place, and what a grant must have for it at least."""
    inside = f"projects/_/buckets/{bucket}"
    for permission, needed in NEEDED.items():
        kind = "folders" if ".folders." in permission else "objects"
        for name in ("x", "deep/er/x", "deeper/"):
            need = Need(permission, bucket, f"{inside}/{kind}/{prefix}{name}")
            yield need, frozenset(needed)
    for listing in (prefix, f"{prefix}deep", f"{prefix}deeper/"):
        yield Need("storage.objects.list", bucket, inside, listing), frozenset({L})


def over(held: Grants, places: list[tuple[BucketRole, str]]) -> list[str]:
    """Where the boundaries and the grants disagree, over every permission at some places."""
    rules = [rule for boundary in boundaries(held) for rule in read_by_google(boundary)]
    wrong = []
    for role, prefix in places:
        for need, needed in needs(prefix, NAMES[role]):
            here = [g for g in held if g.bucket is role and prefix.startswith(g.prefix)]
            meant = any(needed <= grant.permissions for grant in here)
            if allows(rules, need, ()) is not meant:
                wrong.append(f"{'FALSE REFUSAL' if meant else 'LEAK'}: {need}")
    return wrong


def places(scope: Scope, others: list[Scope]) -> list[tuple[BucketRole, str]]:
    every = [
        (role, grant.prefix)
        for each in (scope, *others)
        for mode in (AccessMode.INVOKE_WRITE, AccessMode.EDIT_APP)
        for grant in grants(replace(each, mode=mode))
        for role in BucketRole
    ]
    return [*every, *((role, "") for role in BucketRole)]


@pytest.mark.parametrize("mode", AccessMode)
def test_a_boundary_equals_its_grants_at_every_neighbours(mode: AccessMode) -> None:
    scope = replace(FIXED, mode=mode)
    others = [neighbour.scope for neighbour in neighbours_of(scope) if neighbour.near]
    assert over(grants(scope), places(scope, others)) == []


def subsets() -> Iterator[frozenset[Permission]]:
    for count in range(1, 5):
        yield from map(frozenset, itertools.combinations(Permission, count))


def grant(permissions: frozenset[Permission], prefix: str = "apps/a/") -> Grant:
    return Grant(Area.APP, BucketRole.CONTENT, Prefix(prefix), permissions)


@pytest.mark.parametrize("permissions", list(subsets()), ids=lambda each: "+".join(sorted(each)))
def test_every_set_of_permissions_is_exact_or_refused(permissions: frozenset[Permission]) -> None:
    held = (grant(permissions),)
    beside = [(role, prefix) for role in BucketRole for prefix in ("apps/a/", "apps/ab/", "")]
    if D in permissions and W not in permissions:
        with pytest.raises(GrantNotEnforceable, match=r"no predefined role .* delete"):
            boundaries(held)
    else:
        assert over(held, beside) == []


def test_no_role_is_wider_than_what_it_stands_for() -> None:
    """By the roles' contents: no policy, no lock, no bucket but what a condition cuts."""
    used = {role for roles in gcp_boundary._ROLES.values() for role in roles}
    assert used <= set(ROLES)
    contained = frozenset().union(*(ROLES[role] for role in used))
    assert not {each for each in contained if "IamPolicy" in each or "Retention" in each}
    assert {each for each in contained if each.startswith("storage.buckets.")} == {
        "storage.buckets.get"  # of legacyBucketWriter; no condition of ours is true of a bucket
    }


@settings(max_examples=12, deadline=None)
@given(ids, ids, ids, st.sampled_from(AccessMode))
def test_any_ids_are_held_to_their_places(app: str, user: str, run: str, mode: AccessMode) -> None:
    scope = Scope(app, user, run, mode)
    others = [Scope(f"{app}0"[:80], user, run), Scope(user[:80], app[:80], run)]
    others = [each for each in others if (each.app_id, each.user_id) != (app, user)]
    assert over(grants(scope), places(scope, others)[:40]) == []


# Limits and escapes ------------------------------------------------------------------------------


def test_more_than_ten_rules_are_two_tokens() -> None:
    held = tuple(grant(frozenset({R}), f"apps/a{number}/") for number in range(23))
    made = boundaries(held)
    assert [len(boundary.rules) for boundary in made] == [MAX_RULES, MAX_RULES, 3]
    assert tuple(each for boundary in made for each in boundary.grants) == held
    assert over(held, [(BucketRole.CONTENT, "apps/a22/"), (BucketRole.CONTENT, "apps/a2/")]) == []


def test_the_rules_of_one_grant_stay_in_one_token() -> None:
    """A grant of write and list takes two rules; ten of them fill two tokens."""
    held = tuple(grant(frozenset({W, L}), f"apps/a{number}/") for number in range(7))
    assert [len(boundary.rules) for boundary in boundaries(held)] == [10, 4]


def test_no_grants_are_no_token() -> None:
    assert boundaries(()) == ()


HOSTILE = ("a'b", "a\\'b", "a\\", "') || ('a' == 'a", "a' + 'b", '"', "${a}")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_leaves_its_quotes(text: str) -> None:
    """The encoding of ids lets none of these through; a prefix from elsewhere might hold one."""
    wanted = grant(frozenset({R, L}), f"apps/{text}/")
    (boundary,) = boundaries((wanted,))
    rules = read_by_google(boundary)
    inside = f"projects/_/buckets/{NAMES[BucketRole.CONTENT]}/objects"
    bucket = NAMES[BucketRole.CONTENT]
    assert allows(rules, Need("storage.objects.get", bucket, f"{inside}/apps/{text}/x"), ())
    for other in ("a", "apps/x", "apps/a/x", "apps/ab/x"):
        assert not allows(rules, Need("storage.objects.get", bucket, f"{inside}/{other}"), ())


@pytest.mark.parametrize("text", ["a\nb", "a\0b", "\x7f", "\u2028"])
def test_a_control_character_is_refused(text: str) -> None:
    with pytest.raises(GrantNotEnforceable, match="control character"):
        cel_text(text)


# That the tests above can fail -------------------------------------------------------------------


def no_slash(document: str) -> str:
    return document.replace("/')", "')")


def no_condition_on_listing(document: str) -> str:
    return document.replace("''", "'apps/billing/'")


def whole_bucket(document: str) -> str:
    return document.replace("/objects/apps/billing/", "/objects/")


def a_wider_role(document: str) -> str:
    return document.replace("objectCreator", "objectUser")


def another_bucket(document: str) -> str:
    return document.replace("buckets/acme-log", "buckets/acme-meta")


SPOILT = (no_slash, no_condition_on_listing, whole_bucket, a_wider_role, another_bucket)


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_spoilt_boundary_is_seen(spoil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [neighbour.scope for neighbour in neighbours_of(FIXED) if neighbour.near]

    def spoilt(self: Boundary) -> dict[str, Any]:
        rows = [rule.to_json() for rule in self.rules]
        text = json.dumps({"accessBoundary": {"accessBoundaryRules": rows}})
        assert spoil(text) != text
        changed: dict[str, Any] = json.loads(spoil(text))
        return changed

    monkeypatch.setattr(Boundary, "to_json", spoilt)
    assert over(grants(FIXED), places(FIXED, others))
