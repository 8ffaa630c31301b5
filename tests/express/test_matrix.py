"""The isolation matrix on S3 Express, by raw requests: every mode through every name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ringfence.errors import GrantNotEnforceable
from ringfence.scope import AccessMode, Area, Scope
from ringfence.testing.isolation import attack, neighbours_of, probes
from tests.express.installation import Express
from tests.express.tenant import is_asked_for

pytestmark = pytest.mark.engine

Make = Callable[..., Express]

# Which buckets are on Express, with which flags, and the modes that can be fenced then.
INVOKE = (AccessMode.INVOKE_WRITE, AccessMode.INVOKE_READ, AccessMode.INVOKE_NONE)
EXACT: dict[str, tuple[str, dict[str, bool], tuple[AccessMode, ...]]] = {
    "meta": ("meta", {}, (*INVOKE, AccessMode.READ_LOGS)),
    "access points": ("meta content", {"access_points": True}, tuple(AccessMode)),
}
NEAREST = ("app, longer", "user, longer", "app, other case")
"""Whose places are tried in the short form."""

CASES = [(name, mode) for name, (_, _, modes) in EXACT.items() for mode in modes]


def attack_all(installation: Express, scope: Scope, *, thorough: bool = False) -> int:
    """Attacks by every name of the buckets; how many probes that took."""
    credential, count = installation.credential(scope), 0
    case = installation.settings.id_case
    assert all(each.exact for each in credential.enforcement)
    for doors, held in installation.doors(credential):
        near = [n for n in neighbours_of(scope) if thorough or n.kind.endswith(NEAREST)]
        wanted = probes(scope, near, case, held=held, thorough=thorough)
        tenant = installation.tenant(credential, doors)
        asked = [probe for probe in wanted if is_asked_for(probe)]
        report = attack(tenant, installation.owner, asked, held)
        report.check()
        count += report.probes
    return count


@pytest.mark.parametrize(("name", "mode"), CASES, ids=str)
def test_every_mode_is_fenced_in(express: Make, scope: Scope, name: str, mode: AccessMode) -> None:
    on, flags, _ = EXACT[name]
    count = attack_all(express(on, **flags), replace(scope, mode=mode))
    assert count >= 200


@pytest.mark.soak
@pytest.mark.parametrize(("name", "mode"), CASES, ids=str)
def test_every_mode_is_fenced_in_thoroughly(
    express: Make, scope: Scope, name: str, mode: AccessMode
) -> None:
    on, flags, _ = EXACT[name]
    attack_all(express(on, **flags), replace(scope, mode=mode), thorough=True)


@pytest.mark.parametrize(
    ("on", "mode", "area"),
    [
        ("meta", AccessMode.EDIT_APP, Area.META),
        ("meta", AccessMode.READ_APP, Area.META),
        ("content", AccessMode.INVOKE_WRITE, Area.APP),
        ("content", AccessMode.INVOKE_NONE, Area.USER),
        ("log", AccessMode.INVOKE_NONE, Area.LOGS),
        ("log", AccessMode.READ_LOGS, Area.LOGS),
    ],
)
def test_what_only_a_bucket_could_fence_is_refused(
    express: Make, scope: Scope, on: str, mode: AccessMode, area: Area
) -> None:
    installation = express(on)
    held = installation.grants(replace(scope, mode=mode))
    before = len(installation.aws.directory.assumed)
    for ask in (installation.provider.plan, lambda g: installation.provider.issue(g, session="x")):
        with pytest.raises(GrantNotEnforceable, match=f"fence is the whole bucket.* {area} area"):
            ask(held)
    assert len(installation.aws.directory.assumed) == before
