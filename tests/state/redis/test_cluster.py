"""What only a cluster does: slots that move, nodes that go and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.crc import key_slot
from redis.exceptions import MovedError

from ringfence.errors import StorageUnreachable
from ringfence.runs import Cancel, change_run
from ringfence.state.redis import RedisStateStore
from ringfence.state.redis.keys import RunKeys
from ringfence.testing.state import TestClock, new_record, read_all
from tests.state.redis.servers import Valkey, cluster_node, running_cluster
from tests.state.redis.waiting import until

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Valkey]]:
    """A cluster of these tests' own, whose nodes serve their slots alone if need be."""
    durable = ("--appendonly", "yes", "--appendfsync", "always")
    options = ("--cluster-require-full-coverage", "no", *durable)
    with running_cluster(tmp_path_factory.mktemp("moving"), options=options) as nodes:
        yield nodes


@pytest.fixture
async def store(nodes: list[Valkey], prefix: str) -> AsyncIterator[RedisStateStore]:
    store = RedisStateStore(nodes[0].url, seconds=5, prefix=prefix)
    yield store
    await store.close()


def slot_of(key: str) -> int:
    return int(key_slot(key.encode()))


def name_of(node: Valkey) -> str:
    return str(node.ask("CLUSTER MYID").decode())


def holds(node: Valkey, key: str) -> bool:
    """Whether the key is there, and its slot is this node's."""
    try:
        return bool(node.ask("EXISTS", key))
    except MovedError:
        return False


def move(source: Valkey, target: Valkey, keys: RunKeys) -> None:
    """Moves a run and what else is of its slot, up to the last step: who has the slot."""
    slot = slot_of(keys.record)
    target.ask("CLUSTER SETSLOT", slot, "IMPORTING", name_of(source))
    source.ask("CLUSTER SETSLOT", slot, "MIGRATING", name_of(target))
    there = source.ask("CLUSTER GETKEYSINSLOT", slot, 100)
    source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *there)


def settle(source: Valkey, target: Valkey, nodes: list[Valkey], keys: RunKeys) -> None:
    """The last step."""
    for node in (target, source, *nodes):
        node.ask("CLUSTER SETSLOT", slot_of(keys.record), "NODE", name_of(target))


async def test_runs_are_on_every_node(store: RedisStateStore, nodes: list[Valkey]) -> None:
    records = await asyncio.gather(*(store.create(new_record("app")) for _ in range(60)))
    assert all(node.ask("DBSIZE") >= 5 for node in nodes)
    assert len(await read_all(store, "app")) == len(records)


async def test_a_slot_that_moves(store: RedisStateStore, nodes: list[Valkey]) -> None:
    """While it moves, some of its keys are here and some there; then all are there."""
    record = await store.create(new_record("app"))
    await store.append(record.id, ["a"], batch="b")
    keys = store._keys.run(record.id)
    source = next(node for node in nodes if holds(node, keys.record))
    target = next(node for node in nodes if node is not source)
    move(source, target, keys)
    assert await store.get(record.id) == record, "asked for at the other node"
    assert [event.payload for event in await store.events(record.id)] == ["a"]
    assert await store.append(record.id, ["a"], batch="b") == range(1, 2)
    settle(source, target, nodes, keys)
    assert await store.append(record.id, ["b"]) == range(2, 3)
    ended = await change_run(store, record.id, Cancel(), TestClock(1))
    assert [event.payload async for event in store.tail(record.id)] == ["a", "b"]
    assert await read_all(store, "app") == [ended]
    assert holds(target, keys.record)


async def test_a_node_that_goes_and_comes_back(store: RedisStateStore, nodes: list[Valkey]) -> None:
    records = await asyncio.gather(*(store.create(new_record()) for _ in range(30)))
    for node in nodes:
        mine = [r for r in records if holds(node, store._keys.run(r.id).record)]
        assert mine
        node.kill()
        told = await asyncio.gather(
            *(store.get(record.id) for record in records), return_exceptions=True
        )
        for record, each in zip(records, told, strict=True):
            if record in mine:
                assert isinstance(each, StorageUnreachable)
            else:
                assert each == record, "other nodes go on"
        node.start()
        node.until(lambda node=node: b"cluster_state:ok" in raw_info(node))
        assert [await store.get(record.id) for record in records] == list(records)


def raw_info(node: Valkey) -> bytes:
    told = node.ask("CLUSTER INFO")
    return repr(told).replace("': '", ":").encode() if isinstance(told, dict) else bytes(told)


async def test_any_node_will_do(nodes: list[Valkey], prefix: str) -> None:
    records = []
    for node in nodes:
        store = RedisStateStore(node.url, prefix=prefix)
        records.append(await store.create(new_record("app")))
        assert len(await read_all(store, "app")) == len(records)
        await store.close()


async def test_tails_go_on_where_a_slot_went(store: RedisStateStore, nodes: list[Valkey]) -> None:
    record = await store.create(new_record())
    seen: list[object] = []

    async def follow() -> None:
        async for event in store.tail(record.id):
            seen.append(event.payload)  # noqa: PERF401 - it is looked at meanwhile

    following = asyncio.create_task(follow())
    await store.append(record.id, ["a"])
    await until(lambda: seen == ["a"])
    keys = store._keys.run(record.id)
    source = next(node for node in nodes if holds(node, keys.record))
    target = next(node for node in nodes if node is not source)
    move(source, target, keys)
    settle(source, target, nodes, keys)
    await store.append(record.id, ["b"])
    await until(lambda: seen == ["a", "b"])
    await change_run(store, record.id, Cancel(), TestClock(1))
    await asyncio.wait_for(following, 20)


async def test_a_replica_that_takes_over(
    store: RedisStateStore, nodes: list[Valkey], tmp_path: Path
) -> None:
    """The last of these tests: the cluster is another one afterwards."""
    records = await asyncio.gather(*(store.create(new_record()) for _ in range(30)))
    primary = nodes[0]
    assert any(holds(primary, store._keys.run(record.id).record) for record in records)
    replica = cluster_node(tmp_path / "replica")
    try:
        replica.start()
        replica.meet(primary)
        replica.until(lambda: replica.ask("CLUSTER REPLICATE", name_of(primary)))
        replica.until(lambda: b"master_link_status:up" in bytes(raw_replication(replica)))
        replica.until(lambda: all(is_replica(replica, at) for at in (*nodes, replica)))
        primary.kill()
        replica.until(lambda: replica.ask("CLUSTER FAILOVER TAKEOVER"))
        # Until the other nodes have heard of it, they send every client to the one that is dead.
        replica.until(lambda: all(not is_replica(replica, at) for at in nodes[1:]))
        for record in records:
            assert await store.append(record.id, ["x"], batch="b") == range(1, 2)
    finally:
        replica.stop()


def is_replica(node: Valkey, at: Valkey) -> bool:
    """Whether the node at ``at`` knows ``node`` as one that only follows another."""
    told = at.ask("CLUSTER NODES")
    known = told.items() if isinstance(told, dict) else ()
    return any("slave" in each["flags"] for _, each in known if each["node_id"] == name_of(node))


def raw_replication(node: Valkey) -> bytes:
    with node.client() as client:
        told = client.info("replication")
    return "\n".join(f"{name}:{value}" for name, value in told.items()).encode()
