"""The isolation matrix on Azure, by raw requests: with the account's key and by user delegation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from ringfence.scope import AccessMode, Grants, Scope, grants
from ringfence.testing.isolation import (
    Expected,
    Neighbour,
    Probe,
    Report,
    attack,
    neighbours_of,
    probes,
)
from tests.azure.installation import Installation
from tests.azure.wire import tenant_of

LEAST_PROBES = 350

modes = pytest.mark.parametrize("mode", AccessMode)


def on_azure(wanted: Iterable[Probe], held: Grants) -> Iterator[Probe]:
    """The probes as they are, but for an own directory's own name, which is in its SAS.

    What is called ``apps/a1`` beside ``apps/a1/`` belongs to nobody else, and a directory SAS of
    ``apps/a1`` covers it: harmless, which still means that nothing of another's may come back.
    """
    bare = {(grant.bucket, grant.prefix.removesuffix("/")) for grant in held}
    for probe in wanted:
        at_own_name = (probe.bucket, probe.key) in bare
        yield replace(probe, expected=Expected.HARMLESS) if at_own_name else probe


KINDS = frozenset(
    {
        *("app, longer", "app, other case", "user, longer", "run, longer"),
        *("app, below", "app, encoded slash", "app and user exchanged"),
    }
)
"""The neighbours of the short form: those of whom a flaw of this cloud's would let one in."""


def few(scope: Scope) -> tuple[Neighbour, ...]:
    return tuple(each for each in neighbours_of(scope) if each.kind in KINDS)


def attacked(installation: Installation, scope: Scope, neighbours: Iterable[Neighbour]) -> Report:
    held = grants(scope, installation.case)
    wanted = on_azure(probes(scope, neighbours, installation.case), held)
    return attack(installation.tenant(scope), installation.owner, wanted, held)


@modes
def test_every_mode_is_fenced_in(keyed: Installation, scope: Scope, mode: AccessMode) -> None:
    scope = replace(scope, mode=mode)
    report = attacked(keyed, scope, few(scope))
    report.check()
    assert report.probes >= LEAST_PROBES


@pytest.mark.parametrize("mode", [AccessMode.INVOKE_READ, AccessMode.READ_LOGS])
def test_user_delegation_is_fenced_in(
    delegated: Installation, scope: Scope, mode: AccessMode
) -> None:
    scope = replace(scope, mode=mode)
    attacked(delegated, scope, few(scope)).check()


@pytest.mark.soak
@modes
def test_every_mode_beside_every_neighbour(
    installation: Installation, scope: Scope, mode: AccessMode
) -> None:
    """Account key and user delegation, each neighbour that there is."""
    scope = replace(scope, mode=mode)
    report = attacked(installation, scope, neighbours_of(scope))
    report.check()
    assert report.probes >= 2 * LEAST_PROBES


HOSTILE = {
    "wildcards": ("*", "?", "a*"),
    "paths": ("..", "../x", "."),
    "quotes": ("'", '"', "&sp=rcwdl"),
    "encoded": ("%2F", "%252F", "a%2Fb"),
    "slashes": ("/", "a/b", "//"),
    "Unicode": ("\u00e9\U0001f5c4", "e\u0301", "\u212a"),
    "capitals": ("APP", "User", "RUN"),
    "dots": ("a.", "b..", "c. "),
}


@pytest.mark.parametrize("ids", HOSTILE)
def test_hostile_ids_are_fenced_in_and_get_their_own(
    keyed: Installation, tag: str, ids: str
) -> None:
    app, user, run = (f"{tag}{raw}" if raw not in {".", ".."} else raw for raw in HOSTILE[ids])
    scope = Scope(app, user, run)
    longer = [each for each in neighbours_of(scope) if each.kind.endswith("longer")]
    held = grants(scope, keyed.case)
    every = probes(scope, [replace(each, near=False) for each in longer], keyed.case)
    wanted = [probe for probe in on_azure(every, held) if probe.prefix and probe.area]
    attack(keyed.tenant(scope), keyed.owner, wanted, held).check()


def test_each_sas_by_itself_is_exact(keyed: Installation, scope: Scope) -> None:
    """Each credential opens its own area and no other of the same scope."""
    for credential in keyed.of(scope):
        held = credential.grants
        every = probes(scope, (), keyed.case, held=held)
        wanted = [probe for probe in on_azure(every, held) if probe.prefix and probe.area]
        tenant = tenant_of(keyed.front, keyed.buckets, (credential,))
        attack(tenant, keyed.owner, wanted, held).check()
