"""The store behind a bad network, with clients that die, and with very many events."""

from __future__ import annotations

import pytest

from tests.state.chaos import Network, check_behind_a_bad_network
from tests.state.flat import check_memory_stays_flat
from tests.state.killed import Target, check_killed_clients
from tests.state.redis.conftest import OpenStore
from tests.state.redis.servers import Valkey
from tests.state.redis.test_races import effort

pytestmark = pytest.mark.redis


@effort(8, 200)
async def test_a_bad_network_loses_and_doubles_nothing(
    valkey: Valkey, open_store: OpenStore, count: int
) -> None:
    harmed = 0
    direct = open_store()
    for seed in range(count):
        network = Network("127.0.0.1", valkey.port, seed)
        async with network.up() as port:
            through = open_store(f"redis://127.0.0.1:{port}/0")
            await check_behind_a_bad_network(through, direct, network)
            await through.close()
        harmed += network.done.total()
    assert harmed > count, "the network did no harm"


@effort(3, 40)
async def test_a_client_that_is_killed_loses_nothing(
    valkey: Valkey, open_store: OpenStore, prefix: str, count: int
) -> None:
    target = Target("redis", valkey.url.reveal(), {"prefix": prefix})
    await check_killed_clients(open_store(), target, range(count))


@effort(20_000, 1_000_000)
async def test_memory_stays_flat(open_store: OpenStore, count: int) -> None:
    await check_memory_stays_flat(open_store(), open_store(), count)
