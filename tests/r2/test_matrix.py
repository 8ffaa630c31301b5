"""The isolation matrix on R2, by raw requests: credentials signed here and those of the API."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from ringfence.providers.base import Credential
from ringfence.scope import AccessMode, Area, Grants, Permission, Scope
from ringfence.testing.isolation import Neighbour, Probe, attack, neighbours_of, probes
from tests.r2.installation import R2Installation

pytestmark = pytest.mark.engine

LEAST_PROBES = 300

modes = pytest.mark.parametrize("mode", AccessMode)


NEAREST = {"app, longer", "app, other case", "user, longer", "run, longer"}


def nearest(scope: Scope) -> list[Neighbour]:
    """Those that a fence with a flaw would let in first."""
    return [each for each in neighbours_of(scope) if each.kind in NEAREST]


def longer(scope: Scope) -> list[Neighbour]:
    """``app10`` beside ``app1``."""
    return [each for each in neighbours_of(scope) if each.kind == "app, longer"]


def at_tenants(wanted: Iterable[Probe]) -> list[Probe]:
    """Those at own places and at neighbours', without what lies beside and around them."""
    return [probe for probe in wanted if probe.prefix and probe.area]


def as_enforced(credential: Credential) -> Grants:
    """The grants with what the credential itself says that it allows beyond them.

    So the matrix shows that this sentence is true: that much, and no more.
    """
    coarser = {each.area: each.coarser for each in credential.enforcement}
    return tuple(
        replace(grant, permissions=grant.permissions | said(coarser[grant.area]))
        for grant in credential.grants
    )


def said(sentence: str | None) -> frozenset[Permission]:
    """The permissions that a sentence of an enforcement names."""
    match = re.search(r"may also ([a-z, ]+) under ", sentence or "")
    words = re.split(r", | and ", match[1]) if match else []
    return frozenset(Permission(word) for word in words if word in set(Permission))


def loose(credential: Credential) -> frozenset[Area]:
    """The areas that show a little more than any permission says: the parts of own uploads.

    Own places may then answer either way; that nothing changes there is looked at all the same.
    """
    return frozenset(
        each.area for each in credential.enforcement if "list the parts" in (each.coarser or "")
    )


def in_areas(wanted: Iterable[Probe], held: Grants) -> list[Probe]:
    """Of these, those in the areas that a credential is about, own and neighbours'."""
    areas = {grant.area for grant in held}
    return [probe for probe in at_tenants(wanted) if probe.area in areas]


def attack_all(
    installation: R2Installation,
    scope: Scope,
    neighbours: Iterable[Neighbour],
    *,
    thorough: bool = False,
) -> None:
    every = tuple(neighbours)
    for credential in installation.credentials(scope):
        held = as_enforced(credential)
        tried = probes(
            scope,
            every,
            installation.case,
            held=held,
            coarse=loose(credential),
            thorough=thorough,
        )
        tenant = installation.tenant(credential)
        report = attack(tenant, installation.owner, tried, held)
        report.check()
        assert report.probes >= LEAST_PROBES
        assert report.skipped == 0


@modes
def test_every_mode_is_fenced_in(local: R2Installation, scope: Scope, mode: AccessMode) -> None:
    scope = replace(scope, mode=mode)
    attack_all(local, scope, nearest(scope))


@modes
def test_every_mode_is_fenced_in_by_the_api(
    by_api: R2Installation, scope: Scope, mode: AccessMode
) -> None:
    scope = replace(scope, mode=mode)
    attack_all(by_api, scope, longer(scope))


@pytest.mark.soak
@pytest.mark.parametrize("installation", ["local", "by_api", "over_tls"], indirect=True)
@modes
def test_every_mode_is_fenced_in_thoroughly(
    installation: R2Installation, scope: Scope, mode: AccessMode
) -> None:
    """Every operation at every neighbour's place."""
    scope = replace(scope, mode=mode)
    attack_all(installation, scope, neighbours_of(scope), thorough=True)


HOSTILE = {
    "wildcards": ("*", "?", "a*"),
    "paths": ("..", "../x", "."),
    "quotes": ('","actions":["', '"', "\\"),
    "Unicode": ("\u00e9\U0001f5c4", "e\u0301", "\u212a"),
    "encoded": ("%2F", "%252F", "a%2Fb"),
    "slashes": ("/", "a/b", "//"),
    "capitals": ("APP", "User", "RUN"),
}
"""App, user and run ids of somebody whose own ids are hostile."""


@pytest.mark.parametrize("ids", HOSTILE)
def test_hostile_ids_are_fenced_in_and_get_their_own(
    local: R2Installation, tag: str, ids: str
) -> None:
    app, user, run = (f"{tag}{raw}" if raw not in {".", ".."} else raw for raw in HOSTILE[ids])
    scope = Scope(app, user, run)
    for credential in local.credentials(scope):
        every = probes(scope, longer(scope), local.case, held=credential.grants)
        wanted = in_areas(every, credential.grants)
        attack(local.tenant(credential), local.owner, wanted, credential.grants).check()
