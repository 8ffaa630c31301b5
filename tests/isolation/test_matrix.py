"""The isolation matrix on the embedded engine, by raw requests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ringfence.scope import AccessMode, Scope, grants
from ringfence.testing.isolation import attack, neighbours_of, probes
from tests.isolation.installation import Installation

pytestmark = pytest.mark.engine

LEAST_PROBES = 400


@pytest.mark.parametrize("mode", AccessMode)
def test_every_mode_is_fenced_in(
    installation: Installation, scope: Scope, mode: AccessMode
) -> None:
    scope = replace(scope, mode=mode)
    held = grants(scope, installation.case)
    wanted = probes(scope, neighbours_of(scope), installation.case)
    report = attack(installation.tenant(scope), installation.owner, wanted, held)
    print(report)
    report.check()
    assert report.probes >= LEAST_PROBES
    assert report.skipped == 0
