"""Many at once: one end for each run, no gap and nothing twice in its events, tails that wake."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from ringfence.errors import RunNotFound, StorageUnreachable
from ringfence.runs import Cancel, Heartbeat, Start, change_run
from ringfence.state.event import MAX_EVENT_PAGE, MAX_PAYLOAD_BYTES, MAX_READ_BYTES, Event
from ringfence.state.redis import RedisStateStore
from ringfence.state.redis import store as store_module
from ringfence.state.tailing import tail_events
from ringfence.testing.state import TestClock, new_record, race_to_the_end
from tests.state.redis.conftest import OpenStore
from tests.state.redis.proxy import before
from tests.state.redis.servers import Valkey
from tests.state.redis.waiting import SOON, until

pytestmark = pytest.mark.redis

WRITERS = 64


def effort(short: int, long: int) -> pytest.MarkDecorator:
    many = pytest.param(long, id="soak", marks=pytest.mark.soak)
    return pytest.mark.parametrize("count", [pytest.param(short, id="short"), many])


@effort(20, 500)
async def test_one_end_for_each_run(open_store: OpenStore, count: int) -> None:
    stores = [open_store() for _ in range(2)]
    ends = [await race_to_the_end(*stores, writers=WRITERS) for _ in range(count)]
    assert all(record.status.terminal for record in ends)


@effort(1_000, 10_000)
@pytest.mark.parametrize("named", [True, False])
async def test_many_writers_leave_no_gap(open_store: OpenStore, count: int, named: bool) -> None:
    stores = [open_store() for _ in range(4)]
    record = await stores[0].create(new_record())
    left = iter(range(count))

    async def write(writer: int) -> dict[int, int]:
        """What this writer appended, by the number it was told."""
        told = {}
        for n in left:
            batch = f"{n}" if named else None
            numbers = await stores[writer % 4].append(record.id, [n], batch=batch)
            told[numbers.start] = n
        return told

    told = await asyncio.gather(*map(write, range(WRITERS)))
    by_number = {number: n for each in told for number, n in each.items()}
    assert sorted(by_number) == list(range(1, count + 1))
    seen: list[Event] = []
    while found := await stores[0].events(record.id, after=len(seen), limit=MAX_EVENT_PAGE):
        seen += found
    assert [(event.sequence, event.payload) for event in seen] == sorted(by_number.items())


async def test_what_one_read_holds(open_store: OpenStore, valkey: Valkey) -> None:
    """It ends once it has 16 MiB, in steps that neither side notices."""
    store = open_store()
    record = await store.create(new_record())
    large = "x" * (MAX_PAYLOAD_BYTES - 2)
    await store.append(record.id, ["first"])
    for start in range(1, 41, 10):
        assert await store.append(record.id, [large] * 10) == range(start + 1, start + 11)
    await store.append(record.id, ["small"] * 1000)
    a_read = MAX_READ_BYTES // MAX_PAYLOAD_BYTES
    looks = valkey.calls()["xrange"]
    found = await store.events(record.id, limit=MAX_EVENT_PAGE)
    assert [event.sequence for event in found] == list(range(1, 1 + a_read + 1))
    assert valkey.calls()["xrange"] - looks <= 2
    second = await store.events(record.id, after=17, limit=MAX_EVENT_PAGE)
    assert [event.sequence for event in second] == list(range(18, 18 + a_read))
    around = await store.events(record.id, after=40, limit=3)
    assert [event.payload for event in around] == [large, "small", "small"]
    assert await store.events(record.id, after=2**70) == ()


# --- tails -----------------------------------------------------------------------------------


@pytest.fixture
def only_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail that is not woken does not look within the time of a test."""
    patient = functools.partial(tail_events, longest_wait=600)
    monkeypatch.setattr(store_module, "tail_events", patient)
    monkeypatch.setattr("ringfence.state.redis.events.BLOCK_MS", 25_000)


class _Following:
    """A tail that is read in a task of its own."""

    def __init__(self, events: AsyncGenerator[Event]) -> None:
        self.seen: list[Any] = []
        self.task = asyncio.create_task(self._read(events))

    async def _read(self, events: AsyncGenerator[Event]) -> None:
        async for event in events:
            self.seen.append(event.payload)


def blocked(valkey: Valkey) -> int:
    with valkey.client() as client:
        return int(client.info("clients")["blocked_clients"])


@pytest.mark.usefixtures("only_wakes")
async def test_a_tail_wakes_at_once(open_store: OpenStore, valkey: Valkey) -> None:
    store, rival = open_store(), open_store()
    record = await store.create(new_record())
    tail = _Following(store.tail(record.id))
    for n in range(5):
        await until(lambda: blocked(valkey) == 1)
        await rival.append(record.id, [n])
        await until(lambda n=n: tail.seen == list(range(n + 1)))  # type: ignore[misc]
    await until(lambda: blocked(valkey) == 1)
    await change_run(rival, record.id, Cancel(), TestClock(1))
    await asyncio.wait_for(tail.task, SOON)


@pytest.mark.usefixtures("only_wakes")
async def test_a_tail_of_a_cluster_wakes_at_once(cluster: list[Valkey], prefix: str) -> None:
    store = RedisStateStore(cluster[1].url, prefix=prefix)
    records = [await store.create(new_record()) for _ in range(6)]
    tails = [_Following(store.tail(record.id)) for record in records]
    await until(lambda: sum(map(blocked, cluster)) == len(tails))
    for record in records:
        await store.append(record.id, [record.id])
    await until(lambda: [tail.seen for tail in tails] == [[record.id] for record in records])
    await until(lambda: sum(map(blocked, cluster)) == len(tails))
    for record in records:
        await change_run(store, record.id, Cancel(), TestClock(1))
    await asyncio.wait_for(asyncio.gather(*(tail.task for tail in tails)), SOON)
    await store.close()


async def test_more_tails_than_connections(open_store: OpenStore, valkey: Valkey) -> None:
    """The rest look now and then."""
    store = open_store(most_connections=2)
    record = await store.create(new_record())
    tails = [_Following(store.tail(record.id)) for _ in range(8)]
    await until(lambda: blocked(valkey) == 2)
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert blocked(valkey) <= 2
    await store.append(record.id, ["x"])
    await until(lambda: all(tail.seen == ["x"] for tail in tails))
    await change_run(store, record.id, Cancel(), TestClock(1))
    await asyncio.wait_for(asyncio.gather(*(tail.task for tail in tails)), SOON)


@pytest.mark.usefixtures("only_wakes")
async def test_a_tail_that_is_left_waits_no_more(open_store: OpenStore, valkey: Valkey) -> None:
    store = open_store()
    record = await store.create(new_record())
    tail = _Following(store.tail(record.id))
    await until(lambda: blocked(valkey) == 1)
    tail.task.cancel()
    await asyncio.gather(tail.task, return_exceptions=True)
    await until(lambda: blocked(valkey) == 0)
    link: Any = await store._server._connector.link()
    assert link._waiting == 0


async def test_a_tail_outlives_a_connection(open_store: OpenStore, valkey: Valkey) -> None:
    async with before(valkey.port) as proxy:
        store = open_store(proxy.url)
        record = await store.create(new_record())
        tail = _Following(store.tail(record.id))
        for n in range(3):
            await until(lambda: blocked(valkey) == 1)
            await proxy.hang_up()
            await store.append(record.id, [n], batch=f"{n}")
            await until(lambda n=n: tail.seen == list(range(n + 1)))  # type: ignore[misc]
        await change_run(store, record.id, Cancel(), TestClock(1))
        await asyncio.wait_for(tail.task, SOON)


async def test_a_tail_of_a_run_that_goes_meanwhile(
    open_store: OpenStore, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = functools.partial(tail_events, longest_wait=0.2)
    monkeypatch.setattr(store_module, "tail_events", impatient)
    store = open_store()
    record = await store.create(new_record())
    tail = _Following(store.tail(record.id))
    await until(lambda: blocked(valkey) >= 1)
    keys = store._keys.run(record.id)
    valkey.ask("DEL", keys.record, keys.events)
    with pytest.raises(RunNotFound):
        await asyncio.wait_for(tail.task, SOON)


# --- a server that is killed -------------------------------------------------------------------

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@effort(2, 20)
async def test_what_was_acknowledged_survives_a_kill(
    own_valkey: Callable[..., Valkey], open_store: OpenStore, count: int
) -> None:
    server = own_valkey(*DURABLE)
    store = open_store(server.url)
    lives = [_Life(store, f"r{i}") for i in range(16)]
    for _ in range(count):
        tasks = [asyncio.create_task(life.go_on()) for life in lives]
        target = sum(len(life.stored) for life in lives) + 100
        await until(lambda: sum(len(life.stored) for life in lives) >= target)  # noqa: B023
        server.kill()
        await asyncio.wait(tasks, timeout=SOON)
        assert all(task.done() and task.exception() is None for task in tasks)
        server.start()
        for life in lives:
            await life.check()


class _Life:
    """A run that gets events until the server goes; what was acknowledged is remembered."""

    def __init__(self, store: RedisStateStore, run: str) -> None:
        self.store = store
        self.record = new_record("app", id=run)
        self.version = 0
        self.stored: list[int] = []
        self.next = 0

    async def go_on(self) -> None:
        try:
            self.version = (await self.store.create(self.record)).version
            if self.version == 1:
                started = await change_run(self.store, self.record.id, Start(), TestClock())
                self.version = started.version
            while True:
                numbers = await self.store.append(self.record.id, [self.next], batch=f"{self.next}")
                assert numbers.start == self.next + 1
                self.stored.append(self.next)
                self.next += 1
                if self.next % 5 == 0:
                    beaten = await change_run(self.store, self.record.id, Heartbeat(), TestClock())
                    self.version = beaten.version
        except StorageUnreachable:
            return

    async def check(self) -> None:
        record = await self.store.get(self.record.id)
        assert record.version >= self.version
        found: list[Event] = []
        while more := await self.store.events(record.id, after=len(found), limit=1000):
            found += more
        payloads = [event.payload for event in found]
        assert payloads in (self.stored, [*self.stored, self.next])
