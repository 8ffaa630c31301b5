"""A local AWS for all tests here, and installations on it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from ringfence.config import Settings
from ringfence.scope import Scope
from tests.express.installation import Express
from tests.express.local_aws import LocalAws, local_aws
from tests.isolation.wire import Keys, Wire


@pytest.fixture(scope="session")
def aws(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAws]:
    keys = Keys(engine.env["AWS_ACCESS_KEY_ID"], engine.env["AWS_SECRET_ACCESS_KEY"])
    physical = Settings.from_env(engine.env).buckets
    with local_aws(tmp_path_factory.mktemp("aws"), Wire(engine.endpoint, keys), physical) as made:
        yield made


@pytest.fixture(autouse=True)
def _reached_as_aws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process asks AWS by way of the double, as behind a company's proxy."""
    if request.node.get_closest_marker("engine") is None:
        return
    aws: LocalAws = request.getfixturevalue("aws")
    for name, value in aws.proxied().items():
        monkeypatch.setenv(name, value)
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tag() -> str:
    """Makes ids of their own for a test, so that nobody else's work is in its places."""
    return secrets.token_hex(3)


@pytest.fixture
def scope(tag: str) -> Scope:
    return Scope(f"{tag}-app1", f"{tag}-user", f"{tag}-run1")


@pytest.fixture
def express(aws: LocalAws) -> Iterator[Any]:
    """Makes installations: ``express(on="meta content", access_points=True)``."""
    made: list[Express] = []

    def make(on: str, **flags: bool) -> Express:
        made.append(Express.on(aws, on, **flags))
        return made[-1]

    yield make
    for each in made:
        each.provider.close()
