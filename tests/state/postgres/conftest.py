"""One server for all tests of a worker; a schema for each test."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from ringfence.state.postgres.store import PostgresStateStore
from tests.state.postgres.server import Server, running

OpenStore = Callable[..., PostgresStateStore]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running server. Do not stop it: take one of your own for that."""
    with running() as server:
        yield server


@pytest.fixture
def schema() -> str:
    """A name that no other test has."""
    return f"test_{next(_numbers)}"


@pytest.fixture
async def open_store(postgres: Server, schema: str) -> AsyncIterator[OpenStore]:
    """Opens stores in this test's schema, and closes them after it."""
    opened: list[PostgresStateStore] = []

    def open_one(url: str | None = None, **options: Any) -> PostgresStateStore:
        store = PostgresStateStore(url or postgres.url(), **{"schema": schema, **options})
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
def store(open_store: OpenStore) -> PostgresStateStore:
    """A store in this test's schema."""
    return open_store()


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection, to look and to meddle."""
    connection = await asyncpg.connect(postgres.url())
    yield connection
    await connection.close()
