"""One Azurite with a front before it for each worker, and two installations on it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ringfence.scope import Scope
from tests.azure import azurite as emulator
from tests.azure.azurite import Azurite
from tests.azure.front import Front
from tests.azure.installation import BUCKETS, Installation, by_key, by_principal
from tests.azure.wire import owner_of


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with emulator.running(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture(scope="session")
def shared_front(azurite: Azurite) -> Iterator[Front]:
    with Front(azurite) as front:
        owner = owner_of(front, BUCKETS)
        for container in (BUCKETS.meta, BUCKETS.content, BUCKETS.log):
            owner.make_container(container)
        yield front


@pytest.fixture
def front(shared_front: Front) -> Iterator[Front]:
    """The front with the rules as they are at first, whatever a test made of them."""
    fresh = shared_front.rules
    yield shared_front
    assert shared_front.rules is fresh
    fresh.off.clear()
    fresh.now = lambda: datetime.now(UTC)
    fresh.busy = 0


@pytest.fixture
def keyed(front: Front) -> Iterator[Installation]:
    """An installation with the account's key."""
    made = by_key(front)
    yield made
    made.provider.close()


@pytest.fixture
def delegated(front: Front) -> Iterator[Installation]:
    """An installation without it: a principal of Entra ID."""
    made = by_principal(front)
    yield made
    made.provider.close()


@pytest.fixture(params=["account key", "user delegation"])
def installation(request: pytest.FixtureRequest) -> Installation:
    name = "keyed" if request.param == "account key" else "delegated"
    made: Installation = request.getfixturevalue(name)
    return made


@pytest.fixture
def tag() -> str:
    """Makes ids of their own for a test, so that nobody else's work is in its places."""
    return secrets.token_hex(3)


@pytest.fixture
def scope(tag: str) -> Scope:
    return Scope(f"{tag}-app1", f"{tag}-user", f"{tag}-run1")
