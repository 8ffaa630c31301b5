"""The S3 store behind a network that cuts, delays and truncates, and with clients that die."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from ringfence.layout import IdCase
from ringfence.state.s3 import S3StateStore
from tests.state.chaos import Network, check_behind_a_bad_network
from tests.state.conftest import OpenMeta
from tests.state.killed import Target, check_killed_clients

pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(6), id="short"),
        pytest.param(range(200), marks=pytest.mark.soak, id="soak"),
    ],
)
async def test_a_bad_network_loses_and_doubles_nothing(open_meta: OpenMeta, seeds: range) -> None:
    direct = open_meta()
    at = urlsplit(direct.config["endpoint"])
    harmed = 0
    for seed in seeds:
        network = Network(at.hostname or "", at.port or 0, seed)
        async with network.up() as port:
            bucket = open_meta(endpoint=f"http://127.0.0.1:{port}")
            through = S3StateStore(bucket, bucket="meta", id_case=IdCase.FOLDED)
            store = S3StateStore(direct, bucket="meta", id_case=IdCase.FOLDED)
            await check_behind_a_bad_network(through, store, network)
            await through.close()
        harmed += network.done.total()
    assert harmed > len(seeds), "the network did no harm"


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(3), id="short"),
        pytest.param(range(40), marks=pytest.mark.soak, id="soak"),
    ],
)
async def test_a_client_that_is_killed_loses_nothing(
    open_meta: OpenMeta, engine: Any, seeds: range
) -> None:
    env = {name: value for name, value in engine.env.items() if name.startswith("AWS_")}
    options = {
        "bucket": engine.env["META_BUCKET"],
        "region": "us-east-1",
        "client_options": {"allow_http": True},
    }
    target = Target("s3", engine.env["AWS_ENDPOINT"], options, env)
    await check_killed_clients(S3StateStore(open_meta(), bucket="meta"), target, seeds)
