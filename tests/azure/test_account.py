"""Whether an account can hold a fence: found out once, and nothing is issued before."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from ringfence.config import Buckets
from ringfence.errors import (
    AccessDenied,
    BucketMissing,
    GrantNotEnforceable,
    IssueRefused,
    StorageUnreachable,
)
from ringfence.layout import FENCE_PROBE_PREFIX, BucketRole
from ringfence.providers.azure.account import PROBE_GRANT
from ringfence.providers.azure.provider import AzureProvider
from ringfence.scope import AccessMode, Area, Scope, grants
from ringfence.secret import Secret
from ringfence.testing.isolation import Expected, Ground, Operation, Outcome, Place, Probe
from ringfence.vending import refuse_coarse
from tests.azure.front import Front, Principal
from tests.azure.installation import (
    TTL,
    Installation,
    by_principal,
    provider_of,
)

HELD = grants(Scope("app1", "user", "run1"))


def test_it_is_asked_once_and_then_never_again(installation: Installation) -> None:
    with installation.front.recording() as requests:
        installation.issue(HELD)
        first = len(requests)
        installation.issue(HELD)
        assert len(requests) == first
    assert sum("restype=account" in each.target for each in requests) == 1
    assert first <= 13


def test_no_tenant_is_ever_granted_the_place_of_the_canaries() -> None:
    for mode in AccessMode:
        for grant in grants(Scope("execution", "execution", "fence", mode)):
            assert not FENCE_PROBE_PREFIX.startswith(grant.prefix)
            assert not grant.prefix.startswith("execution/")


def test_the_canaries_stay(installation: Installation) -> None:
    installation.issue(HELD)
    there = installation.owner.under(BucketRole.META, FENCE_PROBE_PREFIX)
    assert sorted(there) == ["execution/fence/a/canary", "execution/fence/ab/canary"]
    installation.provider.__dict__.pop("_check_fence")
    installation.issue(HELD)
    assert installation.owner.under(BucketRole.META, FENCE_PROBE_PREFIX) == there


def test_a_flat_account_that_knows_no_directory_sas_is_refused(
    installation: Installation,
) -> None:
    front = installation.front
    with (
        front.with_rules(hierarchical=False, directory_sas=False),
        pytest.raises(GrantNotEnforceable, match="no hierarchical namespace") as refused,
    ):
        installation.issue(HELD)
    assert "Data Lake Storage Gen2" in str(refused.value.hint)
    assert installation.issue(HELD), "an error is not kept"


def test_a_flat_account_that_enforces_one_is_good(installation: Installation) -> None:
    with installation.front.with_rules(hierarchical=False):
        assert len(installation.issue(HELD)) == len(HELD)


LEAKS = {
    "path": "reads the directory beside it",
    "list prefix": "lists the",
    "list beside": "lists the names in the directory beside it",
    "letters": "although it may only read",
}


@pytest.mark.parametrize("hierarchical", [True, False])
@pytest.mark.parametrize("check", LEAKS)
def test_an_account_whose_fence_has_a_hole_is_refused(
    installation: Installation, check: str, hierarchical: bool
) -> None:
    """Whatever it says about itself: a sibling must really be denied."""
    installation.front.rules.off.add(check)
    with (
        installation.front.with_rules(hierarchical=hierarchical),
        pytest.raises(GrantNotEnforceable, match=LEAKS[check]),
    ):
        installation.issue(HELD)


def test_a_listing_that_shows_names_that_begin_alike_is_refused_with_the_way_out(
    installation: Installation,
) -> None:
    installation.front.rules.off.add("list beside")
    with pytest.raises(GrantNotEnforceable) as refused:
        installation.issue(HELD)
    assert "RINGFENCE_AZURE_NAMES_SHARED" in str(refused.value.hint)


@pytest.fixture
def sharing_names(keyed: Installation) -> Installation:
    """An installation whose operator set RINGFENCE_AZURE_NAMES_SHARED."""
    keyed.provider._settings = replace(keyed.provider._settings, names_shared=True)
    return keyed


def probe(operation: Operation, key: str) -> Probe:
    """An attempt on a place in the content container that is nobody's own."""
    mode, role = AccessMode.INVOKE_WRITE, BucketRole.CONTENT
    return Probe(mode, operation, None, "beside", role, key, Expected.REFUSED)


def test_names_that_begin_alike_may_be_accepted_and_are_called_coarser(
    sharing_names: Installation,
) -> None:
    installation = sharing_names
    installation.front.rules.off.add("list beside")
    issued = installation.issue(HELD)
    said = {each.area: each.coarser or "" for one in issued for each in one.enforcement}
    planned = installation.provider.plan(HELD)
    assert said == {e.area: e.coarser or "" for one in planned for e in one.enforcement}
    assert "apps/app1," in said[Area.APP]
    assert not said[Area.LOGS], "nothing is listed there"
    with pytest.raises(GrantNotEnforceable, match="RINGFENCE_STRICT"):
        refuse_coarse(planned)
    beside, other = (Place(BucketRole.CONTENT, f"apps/{at}/theirs") for at in ("app10", "app2"))
    ground = Ground(b"what is theirs")
    for place in (beside, other):
        installation.owner.plant(place, ground.body)
    tenant = installation.tenant(Scope("app1", "user", "run1"))
    try:
        shown = tenant.attempt(probe(Operation.LIST, "apps/app1"), ground).keys
        assert beside.key in shown
        assert other.key not in shown
        assert tenant.attempt(probe(Operation.GET, beside.key), ground).outcome is Outcome.REFUSED
    finally:
        installation.owner.clear((beside, other), ())


@pytest.mark.parametrize("check", sorted(LEAKS.keys() - {"list beside"}))
def test_whoever_accepts_names_accepts_nothing_else(
    sharing_names: Installation, check: str
) -> None:
    sharing_names.front.rules.off.add(check)
    with pytest.raises(GrantNotEnforceable, match=LEAKS[check]):
        sharing_names.issue(HELD)


def test_an_account_that_does_not_say_is_tried_all_the_same(installation: Installation) -> None:
    front = installation.front
    with front.with_rules(information=False):
        assert installation.issue(HELD)
        installation.provider.__dict__.pop("_check_fence")
        front.rules.off.add("path")
        with pytest.raises(GrantNotEnforceable, match="does not say its kind"):
            installation.issue(HELD)


def test_a_wrong_key_is_told_by_its_variable(keyed: Installation) -> None:
    wrong = Secret("QUFBQQ==")
    keyed.provider._settings = replace(keyed.provider._settings, account_key=wrong)
    with pytest.raises(AccessDenied, match="AZURE_STORAGE_ACCOUNT_KEY") as raised:
        keyed.issue(HELD)
    assert wrong.reveal() not in str(raised.value)


def test_a_principal_that_may_not_write_is_told_its_role(front: Front) -> None:
    reader = Principal("reads-only", letters="rl", oid="6f1d0b51-0000-4000-8000-00000000000b")
    installation = by_principal(front, reader)
    with (
        closing(installation.provider),
        pytest.raises(AccessDenied, match="Storage Blob Data Contributor"),
    ):
        installation.issue(HELD)


def test_a_missing_meta_container_is_told(keyed: Installation) -> None:
    installation = keyed
    installation.provider._buckets = Buckets("not-there", "ringfence-content", "ringfence-logs")
    with pytest.raises(BucketMissing, match=r"^META_BUCKET does not exist"):
        installation.issue(HELD)
    containers = ("AZURE_META_CONTAINER", "CONTENT_BUCKET", "LOG_BUCKET")
    installation.provider._buckets = Buckets("not-there", "c-1", "l-1", variables=containers)
    installation.provider.__dict__.pop("_check_fence")
    with pytest.raises(BucketMissing, match=r"^AZURE_META_CONTAINER does not exist"):
        installation.issue(HELD)


class Answers(httpx.BaseTransport):
    """Answers every request in one way."""

    def __init__(self, answer: httpx.Response | Exception) -> None:
        self.answer = answer

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Says it."""
        del request
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("no way"),
        httpx.ReadTimeout("too long"),
        httpx.Response(500),
        httpx.Response(404),
        httpx.Response(302, headers={"Location": "http://127.0.0.1:1/"}),
    ],
)
def test_no_usable_answer_issues_nothing(front: Front, answer: Any) -> None:
    provider = provider_of(front, key=True, transport=Answers(answer))
    with closing(provider), pytest.raises(StorageUnreachable) as raised:
        provider.issue(HELD, session="x")
    assert "sig=" not in str(raised.value)


def test_a_probe_says_less_than_any_mode_gives() -> None:
    assert PROBE_GRANT.prefix.startswith(FENCE_PROBE_PREFIX)
    assert PROBE_GRANT.permissions < frozenset(HELD[0].permissions)


def test_strict_and_closed(front: Front) -> None:
    """A provider whose account was never asked closes too."""
    provider: AzureProvider = provider_of(front, key=True, credential_ttl=TTL)
    provider.close()
    provider.close()


def test_a_principal_without_a_token_is_told(front: Front) -> None:
    def none() -> Any:
        raise IssueRefused("azure-identity's default chain has no token for storage.")

    installation = by_principal(front, tokens=none)
    with closing(installation.provider), pytest.raises(IssueRefused, match="no token"):
        installation.issue(HELD)
