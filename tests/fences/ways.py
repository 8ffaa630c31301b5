"""Every way of fencing on its own test installation: what it says of a mode, and an attack on it.

What stands in the table of docs/fences.md is what a provider's ``plan`` says; the attacks are those
of each cloud's own matrix, which hold it to exactly that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest

from ringfence.errors import GrantNotEnforceable
from ringfence.layout import IdCase
from ringfence.providers.base import Provider
from ringfence.scope import AccessMode, Area, Scope, grants
from ringfence.testing.isolation import attack, probes
from tests.azure.test_matrix import attacked as attack_azure
from tests.azure.test_matrix import few
from tests.express.test_matrix import attack_all as attack_aws
from tests.gcp.raw import XmlTenant
from tests.gcp.test_matrix import besieged as attack_gcs
from tests.r2.test_matrix import attack_all as attack_r2
from tests.r2.test_matrix import longer

REFUSED: Final = "refused"
EXACT: Final = "exact"


@dataclass(frozen=True, slots=True)
class Opened:
    """One way, ready: its provider, how it encodes ids, and an attack that raises on a leak.

    Without an attack, one of its own stands elsewhere: ``shown_by`` says where.
    """

    provider: Provider
    case: IdCase
    attack: Callable[[Scope], object] | None = None
    shown_by: str = ""


Open = Callable[[pytest.FixtureRequest], Any]


@dataclass(frozen=True, slots=True)
class Way:
    """A way of the Storage Providers page, and how its test installation is opened."""

    name: str
    open: Open


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a way makes of a mode: refused with a sentence, or by area exact or coarser."""

    refusal: str | None
    coarser: dict[Area, str]


def verdict(way: Opened, scope: Scope) -> Verdict:
    """By the provider's own words; nothing is asked of the network."""
    try:
        documents = way.provider.plan(grants(scope, way.case))
    except GrantNotEnforceable as refusal:
        return Verdict(refusal.message, {})
    said = [each for document in documents for each in document.enforcement]
    return Verdict(None, {each.area: each.coarser for each in said if each.coarser})


# --- the ways ------------------------------------------------------------------------------------


@contextmanager
def _on_aws(
    request: pytest.FixtureRequest, on: str, *, attacked: bool = True, **flags: bool
) -> Iterator[Opened]:
    aws = request.getfixturevalue("aws")
    patch = request.getfixturevalue("monkeypatch")
    for name, value in aws.proxied().items():
        patch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        patch.delenv(name, raising=False)
    made = request.getfixturevalue("express")(on, **flags)
    case = made.settings.id_case
    if attacked:
        yield Opened(made.provider, case, lambda scope: attack_aws(made, scope))
    else:
        yield Opened(made.provider, case, shown_by="tests/express/test_shared.py")


@contextmanager
def _seaweedfs(request: pytest.FixtureRequest) -> Iterator[Opened]:
    made = request.getfixturevalue("installation")

    def attacked(scope: Scope) -> None:
        held = grants(scope, made.case)
        wanted = probes(scope, longer(scope), made.case)
        attack(made.tenant(scope), made.owner, wanted, held).check()

    yield Opened(made.provider, made.case, attacked)


@contextmanager
def _r2(request: pytest.FixtureRequest, fixture: str) -> Iterator[Opened]:
    made = request.getfixturevalue(fixture)
    yield Opened(made.provider, made.case, lambda scope: attack_r2(made, scope, longer(scope)))


@contextmanager
def _azure(request: pytest.FixtureRequest) -> Iterator[Opened]:
    made = request.getfixturevalue("keyed")
    yield Opened(
        made.provider, made.case, lambda scope: attack_azure(made, scope, few(scope)).check()
    )


@contextmanager
def _gcs(request: pytest.FixtureRequest) -> Iterator[Opened]:
    made = request.getfixturevalue("gcs")
    provider = made.provider()

    def attacked(scope: Scope) -> None:
        wanted = probes(scope, longer(scope), IdCase.EXACT)
        attack_gcs(made, scope, wanted, XmlTenant).check()

    yield Opened(provider, IdCase.EXACT, attacked)
    provider.close()


WAYS: Final = (
    Way("AWS S3", lambda request: _on_aws(request, "")),
    Way("S3 Express, meta only", lambda request: _on_aws(request, "meta")),
    Way("S3 Express, all three", lambda request: _on_aws(request, "meta content log")),
    Way(
        "S3 Express, meta and content, access points",
        lambda request: _on_aws(request, "meta content", access_points=True),
    ),
    Way(
        "S3 Express, all three, shared",
        lambda request: _on_aws(request, "meta content log", attacked=False, shared=True),
    ),
    Way("S3 with STS (SeaweedFS)", _seaweedfs),
    Way("Cloudflare R2, API", lambda request: _r2(request, "by_api")),
    Way("Cloudflare R2, signed locally", lambda request: _r2(request, "local")),
    Way("Azure", _azure),
    Way("Google Cloud", _gcs),
)


def in_mode(scope: Scope, mode: AccessMode) -> Scope:
    return replace(scope, mode=mode)
