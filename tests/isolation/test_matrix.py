"""The isolation matrix on the embedded engine, by raw requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from ringfence.layout import MAX_ID_BYTES
from ringfence.scope import AccessMode, Scope, grants
from ringfence.testing.isolation import Neighbour, Probe, attack, neighbours_of, probes
from tests.isolation.installation import Installation
from tests.isolation.s3 import RawTenant, target

pytestmark = pytest.mark.engine

LEAST_PROBES = 400

modes = pytest.mark.parametrize("mode", AccessMode)


def near(scope: Scope) -> tuple[Neighbour, ...]:
    return tuple(each for each in neighbours_of(scope) if each.near)


def at_tenants(wanted: Iterable[Probe]) -> list[Probe]:
    """Those at own places and at neighbours', without what lies beside and around them."""
    return [probe for probe in wanted if probe.prefix and probe.area]


@modes
def test_every_mode_is_fenced_in(
    installation: Installation, scope: Scope, mode: AccessMode
) -> None:
    scope = replace(scope, mode=mode)
    wanted = probes(scope, neighbours_of(scope), installation.case)
    held = grants(scope, installation.case)
    report = attack(installation.tenant(scope), installation.owner, wanted, held)
    report.check()
    assert report.probes >= LEAST_PROBES
    assert report.skipped == 0


@pytest.mark.soak
@modes
def test_every_mode_is_fenced_in_thoroughly(
    installation: Installation, scope: Scope, mode: AccessMode
) -> None:
    """Every operation at every neighbour's place."""
    scope = replace(scope, mode=mode)
    wanted = probes(scope, neighbours_of(scope), installation.case, thorough=True)
    held = grants(scope, installation.case)
    attack(installation.tenant(scope), installation.owner, wanted, held).check()


HOSTILE = {
    "wildcards": ("*", "?", "a*"),
    "variables": ("${aws:username}", "${*}", "$"),
    "paths": ("..", "../x", "."),
    "quotes": ('","s3:*"],"x":["', '"', "'"),
    "Unicode": ("\u00e9\U0001f5c4", "e\u0301", "\u212a"),
    "encoded": ("%2F", "%252F", "a%2Fb"),
    "slashes": ("/", "a/b", "//"),
    "capitals": ("APP", "User", "RUN"),
}
"""App, user and run ids of somebody whose own ids are hostile."""


@pytest.mark.parametrize("ids", HOSTILE)
def test_hostile_ids_are_fenced_in_and_get_their_own(
    installation: Installation, tag: str, ids: str
) -> None:
    app, user, run = (f"{tag}{raw}" if raw not in {".", ".."} else raw for raw in HOSTILE[ids])
    scope = Scope(app, user, run)
    near_ones = [replace(each, near=False) for each in near(scope)]
    wanted = at_tenants(probes(scope, near_ones, installation.case))
    held = grants(scope, installation.case)
    attack(installation.tenant(scope), installation.owner, wanted, held).check()


@pytest.mark.parametrize("mode", [AccessMode.READ_LOGS, AccessMode.INVOKE_NONE])
def test_a_scope_without_a_run_has_the_apps_logs(
    installation: Installation, scope: Scope, mode: AccessMode
) -> None:
    scope = replace(scope, run_id=None, mode=mode)
    wanted = at_tenants(probes(scope, near(scope), installation.case))
    held = grants(scope, installation.case)
    attack(installation.tenant(scope), installation.owner, wanted, held).check()


def test_a_split_credential_is_exact_in_each_part(installation: Installation, tag: str) -> None:
    """Ids as long as there are need several credentials; each opens its own areas and no other."""
    app, user, run = (f"{tag}{letter * MAX_ID_BYTES}"[: MAX_ID_BYTES - 1] for letter in "aur")
    scope = Scope(app, user, run)
    held = grants(scope, installation.case)
    parts = installation.provider.issue(held, session="isolation")
    assert len(parts) > 1
    assert {grant for part in parts for grant in part.grants} == set(held)
    for part in parts:
        tenant = RawTenant(installation.holding(part), installation.buckets)
        every = probes(scope, near(scope)[:1], installation.case, held=part.grants)
        wanted = at_tenants(every)
        attack(tenant, installation.owner, wanted, part.grants).check()


@modes
def test_a_missing_key_shows_only_to_who_may_read_it(
    installation: Installation, scope: Scope, mode: AccessMode
) -> None:
    """Recorded, since clouds differ: this engine says 404 to readers and 403 to all others.

    AWS says 403 to readers too unless they may list (GetObject, *Permissions*).
    """
    tenant = installation.fenced(replace(scope, mode=mode))
    readable = mode not in {AccessMode.INVOKE_NONE, AccessMode.READ_LOGS}
    at = target(installation.buckets.content, f"apps/{scope.app_id}/is-not-there")
    assert tenant.send("GET", at).status == (404 if readable else 403)
    elsewhere = target(installation.buckets.content, f"apps/{scope.app_id}0/is-not-there")
    assert tenant.send("GET", elsewhere).status == 403
