"""The isolation matrix on Google Cloud Storage: its two APIs raw, obstore, and Google's client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from ringfence.layout import IdCase
from ringfence.providers.gcp import boundary as gcp_boundary
from ringfence.providers.gcp import provider as gcp
from ringfence.providers.gcp.boundary import CREATOR, VIEWER, Boundary, Rule
from ringfence.scope import AccessMode, Scope, grants
from ringfence.testing.isolation import (
    Client,
    Neighbour,
    Operation,
    Probe,
    Report,
    attack,
    neighbours_of,
    probes,
)
from tests.gcp.clients import GoogleTenant, ObstoreTenant
from tests.gcp.installation import Installation
from tests.gcp.raw import NOT_THERE, JsonTenant, RawOwner, XmlTenant, on_gcs, token_of
from tests.isolation.test_matrix import HOSTILE
from tests.isolation.wire import Wire

LEAST_PROBES = 400

modes = pytest.mark.parametrize("mode", AccessMode)
some = pytest.mark.parametrize(
    "mode", [AccessMode.INVOKE_WRITE, AccessMode.INVOKE_READ, AccessMode.READ_LOGS]
)
"""With every set of permissions that there is. The long form has every mode for every client."""


def near(scope: Scope) -> tuple[Neighbour, ...]:
    return tuple(each for each in neighbours_of(scope) if each.near)


def at_tenants(wanted: Iterable[Probe]) -> list[Probe]:
    """Those at own places and at neighbours', without what lies beside and around them."""
    return [probe for probe in wanted if probe.prefix and probe.area]


def besieged(
    gcs: Installation, scope: Scope, wanted: Iterable[Probe], kind: type[Client]
) -> Report:
    """An attack by the scope's own credential, which is always one."""
    held = grants(scope, IdCase.EXACT)
    provider = gcs.provider()
    (credential,) = provider.issue(held, session="matrix")
    owner = RawOwner(Wire(gcs.front.url, None), gcs.buckets, gcs.own_token())
    client = make(kind, gcs, token_of(credential))
    if kind is ObstoreTenant:
        wanted = [probe for probe in wanted if ObstoreTenant.can_ask(probe)]
    try:
        return attack(client, owner, on_gcs(wanted, held), held)
    finally:
        provider.close()


def make(kind: type[Client], gcs: Installation, token: str) -> Client:
    if issubclass(kind, XmlTenant):
        return kind(Wire(gcs.front.url, None), gcs.buckets, token)
    assert issubclass(kind, ObstoreTenant | GoogleTenant)
    return kind(gcs.front.url, gcs.buckets, token)


@modes
def test_every_mode_is_fenced_in(gcs: Installation, scope: Scope, mode: AccessMode) -> None:
    scope = replace(scope, mode=mode)
    wanted = list(probes(scope, neighbours_of(scope), IdCase.EXACT))
    report = besieged(gcs, scope, wanted, XmlTenant)
    report.check()
    assert report.probes >= LEAST_PROBES
    lacking = NOT_THERE | {Operation.DELETE_MANY}
    assert report.skipped == sum(probe.operation in lacking for probe in wanted)


@some
def test_a_mode_is_fenced_in_on_the_json_api(
    gcs: Installation, scope: Scope, mode: AccessMode
) -> None:
    scope = replace(scope, mode=mode)
    wanted = probes(scope, near(scope), IdCase.EXACT)
    besieged(gcs, scope, wanted, JsonTenant).check()


@pytest.mark.parametrize("kind", [ObstoreTenant, GoogleTenant])
@some
def test_a_mode_is_fenced_in_through_an_sdk(
    gcs: Installation, scope: Scope, mode: AccessMode, kind: type[Client]
) -> None:
    scope = replace(scope, mode=mode)
    wanted = at_tenants(probes(scope, near(scope)[:1], IdCase.EXACT))
    besieged(gcs, scope, wanted, kind).check()


@pytest.mark.soak
@pytest.mark.parametrize("kind", [XmlTenant, JsonTenant, ObstoreTenant, GoogleTenant])
@modes
def test_every_mode_is_fenced_in_thoroughly(
    gcs: Installation, scope: Scope, mode: AccessMode, kind: type[Client]
) -> None:
    """Every operation at every neighbour's place, through every client."""
    scope = replace(scope, mode=mode)
    wanted = probes(scope, neighbours_of(scope), IdCase.EXACT, thorough=True)
    if kind in {ObstoreTenant, GoogleTenant}:
        wanted = iter(at_tenants(wanted))  # they rewrite the odd keys
    besieged(gcs, scope, wanted, kind).check()


@pytest.mark.parametrize("ids", HOSTILE)
def test_hostile_ids_are_fenced_in_and_get_their_own(gcs: Installation, tag: str, ids: str) -> None:
    app, user, run = (f"{tag}{raw}" if raw not in {".", ".."} else raw for raw in HOSTILE[ids])
    scope = Scope(app, user, run)
    near_ones = [replace(each, near=False) for each in near(scope)[:2]]
    wanted = at_tenants(probes(scope, near_ones, IdCase.EXACT))
    besieged(gcs, scope, wanted, XmlTenant).check()


@pytest.mark.parametrize("mode", [AccessMode.READ_LOGS, AccessMode.INVOKE_NONE])
def test_a_scope_without_a_run_has_the_apps_logs(
    gcs: Installation, scope: Scope, mode: AccessMode
) -> None:
    scope = replace(scope, run_id=None, mode=mode)
    wanted = at_tenants(probes(scope, near(scope), IdCase.EXACT))
    besieged(gcs, scope, wanted, XmlTenant).check()


# Planted defects: the matrix must see each of them ----------------------------------------------

Spoil = Callable[[Rule], Rule]


def no_last_slash(rule: Rule) -> Rule:
    return replace(rule, condition=rule.condition.replace("/')", "')"))


def whole_bucket(rule: Rule) -> Rule:
    return replace(rule, condition=f"{rule.condition} || resource.name.startsWith('projects/')")


def any_listing(rule: Rule) -> Rule:
    return replace(rule, condition=f"{rule.condition} || resource.name.endsWith('{rule.bucket}')")


def logs_can_be_read(rule: Rule) -> Rule:
    return replace(rule, roles=(*rule.roles, VIEWER))


def nothing_can_be_deleted(rule: Rule) -> Rule:
    return replace(rule, roles=(VIEWER, CREATOR))


WIDER: dict[Spoil, set[Operation]] = {
    no_last_slash: {Operation.GET, Operation.PUT, Operation.LIST, Operation.COPY_FROM},
    whole_bucket: {Operation.GET, Operation.DELETE, Operation.UPLOAD_ABORT},
    any_listing: {Operation.LIST, Operation.LIST_V1, Operation.LIST_AFTER},
    logs_can_be_read: {Operation.GET, Operation.GET_RANGE, Operation.COPY_FROM},
}
"""Each widening, and some of the operations by which it must show."""


def attack_with(
    gcs: Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope, spoil: Spoil
) -> Report:
    def spoilt(*args: Any) -> tuple[Boundary, ...]:
        return tuple(
            replace(each, rules=tuple(map(spoil, each.rules))) for each in gcp_boundary.split(*args)
        )

    monkeypatch.setattr(gcp, "split", spoilt)
    longer = [each for each in neighbours_of(scope) if each.kind == "app, longer"]
    return besieged(gcs, scope, at_tenants(probes(scope, longer, IdCase.EXACT)), XmlTenant)


def seen(report: Report, what: str) -> set[Operation]:
    return {v.probe.operation for v in report.violations if v.what == what and v.probe}


@pytest.mark.parametrize("spoil", WIDER, ids=lambda spoil: spoil.__name__)
def test_a_wider_boundary_is_seen(
    gcs: Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope, spoil: Spoil
) -> None:
    assert WIDER[spoil] <= seen(attack_with(gcs, monkeypatch, scope, spoil), "LEAK")


def test_a_narrower_boundary_is_seen(
    gcs: Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    report = attack_with(gcs, monkeypatch, scope, nothing_can_be_deleted)
    assert {Operation.DELETE, Operation.PUT} <= seen(report, "FALSE REFUSAL")
