"""The conformance suite on PostgreSQL."""

from __future__ import annotations

import pytest

from ringfence.layout import IdCase
from ringfence.state.base import StateStore
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.testing.state import ManualClock, StateStoreConformance, check_against_model
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.server import Server
from tests.state.test_conformance import effort

pytestmark = pytest.mark.postgres


class TestPostgres(StateStoreConformance):
    """As it is used."""

    @pytest.fixture
    def store(self, open_store: OpenStore, clock: ManualClock) -> StateStore:
        return open_store(clock=clock, schema="suite", id_case=self.id_case)

    @pytest.fixture
    def rival(self, open_store: OpenStore, clock: ManualClock) -> StateStore:
        return open_store(clock=clock, schema="suite", id_case=self.id_case)


class TestFolded(TestPostgres):
    """With the encoding for engines that compare without case, and one connection."""

    id_case = IdCase.FOLDED

    @pytest.fixture
    def store(self, open_store: OpenStore, clock: ManualClock) -> StateStore:
        return open_store(clock=clock, id_case=self.id_case, pool_size=1)

    @pytest.fixture
    def rival(self, open_store: OpenStore, clock: ManualClock) -> StateStore:
        return open_store(clock=clock, id_case=self.id_case, pool_size=1)


@effort(10, 40)
def test_model(postgres: Server, lives: int, steps: int) -> None:
    async def open_one(clock: ManualClock) -> StateStore:
        return PostgresStateStore(postgres.url(), clock=clock, schema="model")

    check_against_model(open_one, lives=lives, steps=steps)
