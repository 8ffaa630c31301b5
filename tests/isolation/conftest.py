"""One installation for all tests here, and two tenants on it for the escalations."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ringfence._registry import open_provider
from ringfence.config import AwsSettings, Settings
from ringfence.scope import Scope
from ringfence.storage import Storage
from tests.isolation.installation import Installation
from tests.isolation.scene import Scene, make_scene
from tests.isolation.wire import Keys, Wire


@pytest.fixture(scope="session")
def installation(engine: Any) -> Iterator[Installation]:
    settings = Settings.from_env(engine.env)
    assert isinstance(settings.cloud, AwsSettings)
    assert settings.cloud.access_key_id is not None
    assert settings.cloud.secret_access_key is not None
    keys = Keys(settings.cloud.access_key_id, settings.cloud.secret_access_key.reveal())
    provider = open_provider(settings, lambda: datetime.now(UTC))
    master = Wire(engine.endpoint, keys, settings.cloud.region)
    asyncio.run(_opened(settings))
    yield Installation(dict(engine.env), settings, provider, master)
    provider.close()


async def _opened(settings: Settings) -> None:
    """Leaves the layout in the meta bucket, as every installation has that was ever opened."""
    async with Storage(settings):
        pass


@pytest.fixture
def tag() -> str:
    """Makes ids of their own for a test, so that nobody else's work is in its places."""
    return secrets.token_hex(3)


@pytest.fixture
def scope(tag: str) -> Scope:
    return Scope(f"{tag}-app1", f"{tag}-user", f"{tag}-run1")


@pytest.fixture
def scene(installation: Installation, scope: Scope) -> Iterator[Scene]:
    made = make_scene(installation, scope)
    yield made
    made.clear()
