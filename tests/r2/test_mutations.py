"""Planted defects in what the provider asks for: the matrix must see each, or it proves nothing.

The double enforces the spoilt credential, really.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from ringfence.providers.r2 import api as r2_api
from ringfence.providers.r2.fence import R2Fence
from ringfence.providers.r2.sign import LocalSigner
from ringfence.scope import Area, Permission, Scope
from ringfence.testing.isolation import Operation, Report, attack, probes
from tests.r2.installation import R2Installation
from tests.r2.sessions import ACTIONS
from tests.r2.test_matrix import as_enforced, at_tenants, in_areas, longer

pytestmark = pytest.mark.engine

Claims = dict[str, Any]
Spoil = Callable[[Claims], None]


def no_paths(claims: Claims) -> None:
    """What an empty list of prefixes comes to."""
    del claims["paths"]


def empty_paths(claims: Claims) -> None:
    claims["paths"] = {"prefixPaths": [], "objectPaths": []}


def no_last_slash(claims: Claims) -> None:
    paths = claims["paths"]
    paths["prefixPaths"] = [prefix.removesuffix("/") for prefix in paths["prefixPaths"]]


def another_app(claims: Claims) -> None:
    paths = claims["paths"]
    paths["prefixPaths"] += [p.replace("-app1/", "-app10/") for p in paths["prefixPaths"]]


def a_category_for_operations(claims: Claims) -> None:
    del claims["actions"]
    claims["scope"] = "object-read-write"


def a_copy_for_who_may_write(claims: Claims) -> None:
    claims["actions"] = [*claims["actions"], "CopyObject", "UploadPartCopy"]


def every_operation(claims: Claims) -> None:
    claims["actions"] = sorted(ACTIONS)


def another_bucket(claims: Claims) -> None:
    claims["bucket"] = claims["bucket"].replace("logs", "content")
    claims["paths"] = {"prefixPaths": ["runs/", "users/", "tmp/"], "objectPaths": []}


def nothing_is_deleted(claims: Claims) -> None:
    claims["actions"] = [name for name in claims["actions"] if "Delete" not in name]


def seen(report: Report, what: str) -> set[Operation]:
    return {v.probe.operation for v in report.violations if v.what == what and v.probe}


def attack_with(
    installation: R2Installation,
    monkeypatch: pytest.MonkeyPatch,
    scope: Scope,
    area: Area,
    spoil: Spoil,
) -> Report:
    claims_of = LocalSigner.claims

    def spoilt(self: LocalSigner, fence: R2Fence) -> Claims:
        claims = claims_of(self, fence)
        before = repr(claims)
        spoil(claims)
        assert repr(claims) != before
        return claims

    with monkeypatch.context() as patch:
        patch.setattr(LocalSigner, "claims", spoilt)
        credential = installation.credential(scope, area)
    every = probes(scope, longer(scope), installation.case, held=credential.grants)
    wanted = in_areas(every, credential.grants) if area is Area.APP else at_tenants(every)
    return attack(installation.tenant(credential), installation.owner, wanted, credential.grants)


WIDER: Final[dict[Spoil, tuple[Area, set[Operation]]]] = {
    no_paths: (Area.APP, {Operation.GET, Operation.PUT, Operation.LIST, Operation.DELETE_MANY}),
    empty_paths: (Area.APP, {Operation.GET, Operation.PUT, Operation.LIST_LEVEL}),
    no_last_slash: (Area.APP, {Operation.GET, Operation.LIST, Operation.COPY_FROM}),
    another_app: (Area.APP, {Operation.GET, Operation.PART_COPY_FROM, Operation.UPLOAD_ABORT}),
    a_category_for_operations: (Area.LOGS, {Operation.GET, Operation.DELETE, Operation.LIST_V1}),
    a_copy_for_who_may_write: (Area.LOGS, {Operation.COPY_FROM, Operation.PART_COPY_FROM}),
    every_operation: (Area.LOGS, {Operation.GET, Operation.DELETE_MANY, Operation.HEAD}),
    another_bucket: (Area.LOGS, {Operation.PUT}),
}
"""Each widening, the credential that has it, and operations by which it must show."""


@pytest.mark.parametrize("spoil", WIDER, ids=lambda spoil: spoil.__name__)
def test_a_wider_credential_is_seen(
    local: R2Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope, spoil: Spoil
) -> None:
    area, operations = WIDER[spoil]
    report = attack_with(local, monkeypatch, scope, area, spoil)
    assert operations <= seen(report, "LEAK")


def test_a_narrower_credential_is_seen(
    local: R2Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    report = attack_with(local, monkeypatch, scope, Area.APP, nothing_is_deleted)
    assert seen(report, "LEAK") == set()
    assert {Operation.DELETE, Operation.DELETE_MANY} <= seen(report, "FALSE REFUSAL")


@pytest.mark.parametrize("prefixes", [[], ["apps/"]])
def test_a_wider_request_to_the_api_is_seen(
    by_api: R2Installation,
    monkeypatch: pytest.MonkeyPatch,
    scope: Scope,
    prefixes: list[str],
) -> None:
    body_of = r2_api.body

    def spoilt(*given: Any) -> Claims:
        return {**body_of(*given), "prefixes": prefixes}

    with monkeypatch.context() as patch:
        patch.setattr(r2_api, "body", spoilt)
        credential = by_api.credential(scope, Area.APP)
    every = probes(scope, longer(scope), by_api.case, held=credential.grants)
    wanted = in_areas(every, credential.grants)
    report = attack(by_api.tenant(credential), by_api.owner, wanted, credential.grants)
    assert {Operation.GET, Operation.PUT, Operation.LIST} <= seen(report, "LEAK")


def test_an_enforcement_that_says_too_little_is_seen(by_api: R2Installation, scope: Scope) -> None:
    """The API's credential for logs, held against the grant and not against its own sentence."""
    credential = by_api.credential(scope, Area.LOGS)
    wanted = at_tenants(probes(scope, (), by_api.case, held=credential.grants))
    report = attack(by_api.tenant(credential), by_api.owner, wanted, credential.grants)
    assert {Operation.GET, Operation.LIST, Operation.DELETE} <= seen(report, "LEAK")
    held = as_enforced(credential)
    assert held[0].permissions == set(Permission)
