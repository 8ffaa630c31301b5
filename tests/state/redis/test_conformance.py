"""The conformance suite on Redis: on one server, and on a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from ringfence.layout import IdCase
from ringfence.secret import Secret
from ringfence.state.base import StateStore
from ringfence.state.redis import RedisStateStore
from ringfence.testing.state import ManualClock, StateStoreConformance, check_against_model
from tests.state.redis.servers import Valkey
from tests.state.test_conformance import effort

pytestmark = pytest.mark.redis

GRACE = timedelta(hours=1)
"""The tests' clock stands still, and the server's does not."""


class TestSingle(StateStoreConformance):
    """On one server."""

    @pytest.fixture
    def url(self, valkey: Valkey) -> Secret:
        return valkey.url

    @pytest.fixture
    async def store(
        self, url: Secret, prefix: str, clock: ManualClock
    ) -> AsyncIterator[StateStore]:
        store = RedisStateStore(url, clock=clock, prefix=prefix, grace=GRACE, id_case=self.id_case)
        yield store
        await store.close()

    @pytest.fixture
    async def rival(
        self, url: Secret, prefix: str, clock: ManualClock
    ) -> AsyncIterator[StateStore]:
        rival = RedisStateStore(url, clock=clock, prefix=prefix, grace=GRACE, id_case=self.id_case)
        yield rival
        await rival.close()


class TestFolded(TestSingle):
    """With the encoding for engines that compare without case, through a Unix socket."""

    id_case = IdCase.FOLDED

    @pytest.fixture
    def url(self, valkey: Valkey) -> Secret:
        return Secret(f"unix://{valkey.socket}")


class TestCluster(TestSingle):
    """On three nodes: a script that touches two slots fails there."""

    @pytest.fixture
    def url(self, cluster: list[Valkey]) -> Secret:
        return cluster[0].url


@effort(12, 40)
@pytest.mark.parametrize("kind", ["single", "cluster"])
def test_model(kind: str, request: pytest.FixtureRequest, lives: int, steps: int) -> None:
    url = request.getfixturevalue("valkey").url
    if kind == "cluster":
        url = request.getfixturevalue("cluster")[0].url

    async def opened(clock: ManualClock) -> StateStore:
        return RedisStateStore(url, clock=clock, grace=GRACE)

    check_against_model(opened, lives=lives, steps=steps)
