"""One fake-gcs-server and one double for all tests of a worker."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from ringfence.scope import Scope
from tests.gcp.double.backend import Backend, Server
from tests.gcp.installation import Installation, installed


@pytest.fixture(scope="session")
def backend() -> Iterator[Backend]:
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def gcs(backend: Backend) -> Iterator[Installation]:
    """An installation whose double checks everything. Use ids of your own in it."""
    with installed(backend) as made:
        yield made


@pytest.fixture
def tag() -> str:
    """Makes ids of their own for a test, so that nobody else's work is in its places."""
    return secrets.token_hex(3)


@pytest.fixture
def scope(tag: str) -> Scope:
    return Scope(f"{tag}-app1", f"{tag}-user", f"{tag}-run1")
