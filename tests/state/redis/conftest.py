"""One Valkey, and one cluster of three, for all tests of a worker; keys for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ringfence.secret import Secret
from ringfence.state.redis import RedisStateStore
from ringfence.testing._runs import unique
from tests.state.redis.servers import Valkey, running_cluster

OpenStore = Callable[..., RedisStateStore]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A server, without persistence. Do not stop it: take ``own_valkey`` for that."""
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Valkey]]:
    """Three nodes. Do not stop them."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Callable[..., Valkey]]:
    """Starts servers that are this test's own, with options of the command line."""
    started: list[Valkey] = []

    def start(*options: str, password: str = "") -> Valkey:
        server = Valkey(tmp_path / f"{len(started)}", options, password=password)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def prefix() -> str:
    """What the keys of one test begin with."""
    return unique("rf-")


@pytest.fixture
async def open_store(valkey: Valkey, prefix: str) -> AsyncIterator[OpenStore]:
    """Opens stores with this test's prefix, and closes them after it."""
    opened: list[RedisStateStore] = []

    def open_one(url: Secret | str | None = None, **options: Any) -> RedisStateStore:
        store = RedisStateStore(url or valkey.url, **{"prefix": prefix, **options})
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.close()
