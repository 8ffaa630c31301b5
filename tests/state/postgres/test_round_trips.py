"""What each operation costs in round trips, counted on the wire."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

import pytest

from ringfence.errors import RunNotFound, StateConflict
from ringfence.runs import Cancel, Complete, Heartbeat, Start, apply
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.state.record import RunStatus
from ringfence.testing.state import ManualClock, new_record
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.proxy import Proxy, before
from tests.state.postgres.server import Server

pytestmark = pytest.mark.postgres


@pytest.fixture
async def proxy(postgres: Server) -> AsyncIterator[Proxy]:
    async with before(postgres) as proxy:
        yield proxy


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(open_store: OpenStore, proxy: Proxy, clock: ManualClock) -> PostgresStateStore:
    return open_store(proxy.url, clock=clock, pool_size=1)


async def cost(proxy: Proxy, work: Awaitable[Any]) -> int:
    """The round trips that something takes, whether it succeeds or is refused."""
    began = proxy.round_trips
    with contextlib.suppress(StateConflict, RunNotFound):
        await work
    return proxy.round_trips - began


async def test_the_first_operation_connects_and_asks_for_the_version(
    store: PostgresStateStore, open_store: OpenStore, proxy: Proxy
) -> None:
    await store.create(new_record())
    connections = proxy.connections
    second = open_store(proxy.url, pool_size=1)
    # To prepare and to ask, for the version and for the run.
    assert await cost(proxy, second.get("r")) == 4
    assert proxy.connections == connections + 1


async def test_each_operation_is_one_round_trip(
    store: PostgresStateStore, proxy: Proxy, clock: ManualClock
) -> None:
    async def life() -> dict[str, int]:
        record = new_record(at=clock())
        costs = {
            "create": await cost(proxy, store.create(record)),
            "create again": await cost(proxy, store.create(record)),
            "create another": await cost(proxy, store.create(replace(record, user_id="other"))),
            "get": await cost(proxy, store.get(record.id)),
            "get none": await cost(proxy, store.get("none")),
        }
        started = apply(record, Start(), clock())
        beaten = apply(started, Heartbeat(), clock())
        ended = apply(beaten, Complete(0), clock())
        for name, version in {"start": started, "beat": beaten, "finish": ended}.items():
            swap = store.replace(version, expected_version=version.version - 1)
            costs[name] = await cost(proxy, swap)
        for name, work in {
            "lose": store.replace(started, expected_version=1),
            "replace none": store.replace(new_record(), expected_version=1),
            "append": store.append(record.id, ["x"]),
            "append a batch": store.append(record.id, ["x"] * 1000, batch="b"),
            "append it again": store.append(record.id, ["x"] * 1000, batch="b"),
            "append to none": store.append("none", ["x"]),
            "events": store.events(record.id, limit=1000),
            "events of none": store.events("none"),
            "acknowledge": store.acknowledge(record.id, "c", 1),
            "acknowledged": store.acknowledged(record.id, "c"),
            "list": store.list(record.app_id),
            "list by status": store.list(record.app_id, status=RunStatus.RUNNING),
            "list by user": store.list(record.app_id, user="u"),
            "list by both": store.list(record.app_id, user="u", status=RunStatus.RUNNING),
            "abandoned": store.abandoned(clock()),
            "purge": store.purge(),
        }.items():
            costs[name] = await cost(proxy, work)
        return costs

    await life()  # prepares every statement
    costs = await life()
    assert {name: count for name, count in costs.items() if count != 1} == {}


async def test_a_run_in_the_place_of_an_expired_one_is_two(
    store: PostgresStateStore, proxy: Proxy, clock: ManualClock
) -> None:
    counts = []
    for _ in range(2):
        record = await store.create(replace(new_record(at=clock()), ttl_seconds=1))
        ended = replace(record, version=2, status=RunStatus.FAILED, expires_at=clock())
        await store.replace(ended, expected_version=1)
        counts.append(await cost(proxy, store.create(record)))
    assert counts[1] == 2


# --- answers that are lost -------------------------------------------------------------------


@pytest.mark.parametrize("what", ["create", "get", "replace", "finish", "append"])
async def test_an_answer_that_is_lost_is_asked_for_again(
    store: PostgresStateStore, proxy: Proxy, clock: ManualClock, what: str
) -> None:
    """Done once and told once, although the connection broke after the server had done it."""
    await store.list("app")  # it connects
    for lost in (False, True):  # the first time it is prepared
        record = new_record(at=clock())
        if what != "create":
            await store.create(record)
        change = Cancel() if what == "finish" else Start()
        changed = apply(record, change, clock())
        connections, proxy.lose_answers = proxy.connections, lost
        if what == "create":
            assert await store.create(record) == record
        elif what == "get":
            assert await store.get(record.id) == record
        elif what == "append":
            assert await store.append(record.id, ["x", "y"], batch="b") == range(1, 3)
        else:
            assert await store.replace(changed, expected_version=1) == changed
        assert proxy.connections - connections == lost
        assert not proxy.lose_answers
        assert (await store.get(record.id)).version == (2 if what in {"replace", "finish"} else 1)
        assert len(await store.events(record.id)) == (2 if what == "append" else 0)


async def test_of_what_was_stored_by_another_the_loser_is_told(
    store: PostgresStateStore, open_store: OpenStore, proxy: Proxy, clock: ManualClock
) -> None:
    """The write that a broken connection may have done is told from the same one by another."""
    prepared = await store.create(new_record(at=clock()))
    await store.replace(apply(prepared, Start(), clock()), expected_version=1)
    record = await store.create(new_record(at=clock()))
    started = apply(record, Start(), clock())
    assert await open_store().replace(started, expected_version=1) == started
    proxy.lose_answers = True
    with pytest.raises(StateConflict) as lost:
        await store.replace(started, expected_version=1)
    assert lost.value.record == started
