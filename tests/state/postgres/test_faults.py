"""The store behind a bad network, with clients that die, and with very many events."""

from __future__ import annotations

import pytest

from ringfence.state.postgres.store import PostgresStateStore
from tests.state.chaos import Network, check_behind_a_bad_network
from tests.state.flat import check_memory_stays_flat
from tests.state.killed import Target, check_killed_clients
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.server import Server

pytestmark = pytest.mark.postgres


def effort(short: int, long: int) -> pytest.MarkDecorator:
    """Some in `make test`; under the ``soak`` marker as many as were promised."""
    soak = pytest.param(long, id="soak", marks=pytest.mark.soak)
    return pytest.mark.parametrize("count", [pytest.param(short, id="short"), soak])


@effort(8, 200)
async def test_a_bad_network_loses_and_doubles_nothing(
    postgres: Server, open_store: OpenStore, count: int
) -> None:
    harmed = 0
    direct = open_store()
    for seed in range(count):
        network = Network("127.0.0.1", postgres.port, seed)
        async with network.up() as port:
            through = open_store(postgres.tcp_url(port=port))
            await check_behind_a_bad_network(through, direct, network)
            await through.close()
        harmed += network.done.total()
    assert harmed > count, "the network did no harm"


@effort(3, 40)
async def test_a_client_that_is_killed_loses_nothing(
    postgres: Server, open_store: OpenStore, schema: str, count: int
) -> None:
    target = Target("postgres", postgres.url(), {"schema": schema})
    await check_killed_clients(open_store(), target, range(count))


@effort(20_000, 1_000_000)
async def test_memory_stays_flat(open_store: OpenStore, count: int) -> None:
    writer: PostgresStateStore = open_store()
    await check_memory_stays_flat(writer, open_store(), count)
