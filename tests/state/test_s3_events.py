"""Events on S3: what they cost, who waits for whom, and what a crash leaves."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from obstore.store import MemoryStore

from ringfence.errors import LayoutMismatch, RingfenceError, StorageUnreachable
from ringfence.layout import IdCase, encode_id, run_events_key
from ringfence.runs import Complete, Start, change_run
from ringfence.state.event import MAX_BATCH
from ringfence.state.s3 import S3StateStore
from ringfence.testing._runs import ManualClock, TestClock, new_record
from tests.state.conftest import OpenMeta
from tests.state.doubles import Contradicting, Counting, LosingAnswers, Unordered, as_store


def over(double: Any, **options: Any) -> S3StateStore:
    return S3StateStore(as_store(double), bucket="meta", **options)


async def test_an_append_is_one_request() -> None:
    counted = Counting(MemoryStore())
    store = over(counted)
    run = (await store.create(new_record())).id
    counted.requests.clear()
    for number in range(5):
        await store.append(run, [number], batch=f"{number}")
    assert counted.requests == {"put": 5}
    await store.append(run, [4], batch="4")
    assert counted.requests == {"put": 5}, "what is known to be there is not stored again"


async def test_another_process_looks_once() -> None:
    bucket = MemoryStore()
    store = over(bucket)
    run = (await store.create(new_record())).id
    for number in range(20):
        await store.append(run, [number])
    counted = Counting(bucket)
    other = over(counted)
    assert await other.append(run, ["x"]) == range(21, 22)
    # The record, the keys, the last group, and the write.
    assert counted.requests == {"get": 2, "list": 1, "put": 1}
    assert await other.append(run, ["y"], batch="b") == range(22, 23)
    assert counted.requests["put"] == 2
    assert counted.requests["get"] == 2 + 21, "for a batch with an id every batch must be known"
    assert await other.append(run, ["z"], batch="c") == range(23, 24)
    assert (counted.requests["put"], counted.requests["get"]) == (3, 23)


async def test_many_at_once_share_few_requests() -> None:
    counted = Counting(MemoryStore())
    store = over(counted)
    run = (await store.create(new_record())).id
    counted.requests.clear()
    told = await asyncio.gather(*(store.append(run, [i], batch=f"{i}") for i in range(200)))
    assert sorted(numbers.start for numbers in told) == list(range(1, 201))
    assert counted.requests["put"] <= 3
    events = await store.events(run, limit=1000)
    assert [events[numbers.start - 1].payload for numbers in told] == list(range(200))


async def test_a_page_costs_what_it_holds() -> None:
    bucket = MemoryStore()
    store = over(bucket)
    run = (await store.create(new_record())).id
    for number in range(60):
        await store.append(run, [number] * 10)
    counted = Counting(bucket)
    found = await over(counted).events(run, after=295, limit=20)
    assert [event.payload for event in found] == [29] * 5 + [30] * 10 + [31] * 5
    # A read of the record, and one for each of the three groups.
    assert (counted.requests["list"], counted.requests["get"]) == (1, 4)


async def test_groups_hold_as_much_as_a_read_can_find() -> None:
    """A page is looked for no further back than a group is long."""
    store = over(MemoryStore())
    run = (await store.create(new_record())).id
    batches = [store.append(run, [i] * (MAX_BATCH // 2 + 1)) for i in range(4)]
    await asyncio.gather(*batches, store.append(run, ["last"]))
    total = 4 * (MAX_BATCH // 2 + 1) + 1
    for after in (0, 500, 501, 999, 1000, 1001, 1501, total - 1):
        (found,) = await store.events(run, after=after, limit=1)
        assert found.sequence == after + 1


@pytest.mark.parametrize("double", [LosingAnswers, lambda inner: Contradicting(inner, 3)])
async def test_answers_that_are_lost_or_wrong(double: Any) -> None:
    bucket = MemoryStore()
    run = (await over(bucket).create(new_record())).id
    store = over(double(bucket))
    assert await store.append(run, ["a"]) == range(1, 2)
    assert await store.append(run, ["b", "c"], batch="b") == range(2, 4)
    assert [event.payload for event in await over(bucket).events(run)] == ["a", "b", "c"]


async def test_an_engine_that_only_refuses_is_told() -> None:
    bucket = MemoryStore()
    run = (await over(bucket).create(new_record())).id
    store = over(Contradicting(bucket, 1000))
    with pytest.raises(StorageUnreachable, match="conditional writes do not work"):
        await store.append(run, ["a"])
    assert await over(bucket).events(run) == ()


async def test_a_caller_that_is_cancelled_takes_no_others_along() -> None:
    store = over(MemoryStore())
    run = (await store.create(new_record())).id
    calls = [asyncio.create_task(store.append(run, [i])) for i in range(5)]
    await asyncio.sleep(0)
    calls[0].cancel()
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(told[0], asyncio.CancelledError)
    assert all(isinstance(numbers, range) for numbers in told[1:])
    await store.close()
    payloads = [event.payload for event in await store.events(run)]
    assert sorted(payloads) in ([1, 2, 3, 4], [0, 1, 2, 3, 4])


async def test_a_newer_format_and_damage_are_told() -> None:
    bucket = MemoryStore()
    store = over(bucket)
    run = (await store.create(new_record())).id
    await store.append(run, ["a"])
    key = run_events_key(encode_id(run), 1)
    body = json.loads(bytes(bucket.get(key).bytes()))
    bucket.put(key, json.dumps({**body, "v": 2}).encode())
    with pytest.raises(LayoutMismatch, match="newer Ringfence"):
        await over(bucket).events(run)
    for damage in (b"", b"[]", b'{"v":1}', json.dumps({**body, "payloads": []}).encode()):
        bucket.put(key, damage)
        with pytest.raises(RingfenceError, match="cannot be read"):
            await over(bucket).events(run)


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_end_costs_nothing_and_is_swept_up_later(ordered: bool) -> None:
    inner, clock = MemoryStore(), ManualClock()
    bucket = Counting(inner if ordered else Unordered(inner))
    store = over(bucket, clock=clock, ordered=ordered)
    record = new_record(at=clock())
    for number in range(40):
        run = await store.create(new_record(record.app_id, at=clock()))
        if number % 2:
            run = await change_run(store, run, Start(), clock)
            await change_run(store, run, Complete(0), clock)
    bucket.requests.clear()
    assert await store.abandoned(clock()) == ()
    assert bucket.requests["get"] == 40
    bucket.requests.clear()
    assert await store.abandoned(clock()) == ()
    assert bucket.requests["get"] == 20, "those that ended are not looked at again"


@pytest.mark.engine
@pytest.mark.parametrize(
    "events", [pytest.param(40, id="short"), pytest.param(400, marks=pytest.mark.soak, id="soak")]
)
async def test_four_processes_append_to_one_run(open_meta: OpenMeta, events: int) -> None:
    """Each with a client of its own, so that they meet on keys as processes do."""
    stores = [S3StateStore(open_meta(), bucket="meta", id_case=IdCase.FOLDED) for _ in range(4)]
    run = (await stores[0].create(new_record())).id

    async def write(writer: int) -> list[int]:
        mine = range(writer, events, 4)
        return [
            (await stores[writer].append(run, [number], batch=f"{number}")).start for number in mine
        ]

    told = await asyncio.gather(*map(write, range(4)))
    found = await stores[0].events(run, limit=1000)
    assert [event.sequence for event in found] == list(range(1, events + 1))
    assert sorted(event.payload for event in found) == list(range(events))
    for writer, numbers in enumerate(told):
        assert numbers == sorted(numbers)
        payloads = [found[number - 1].payload for number in numbers]
        assert payloads == list(range(writer, events, 4))


@pytest.mark.engine
async def test_a_tail_of_another_process_wakes(open_meta: OpenMeta) -> None:
    store, other = (S3StateStore(open_meta(), bucket="meta") for _ in range(2))
    run = (await store.create(new_record())).id
    tail = other.tail(run)
    first = asyncio.ensure_future(anext(tail))
    await asyncio.sleep(0.1)
    began = datetime.now(UTC)
    await store.append(run, ["x"])
    assert (await asyncio.wait_for(first, 20)).payload == "x"
    assert (datetime.now(UTC) - began).total_seconds() < 10
    running = await change_run(store, run, Start(), TestClock(1))
    await change_run(store, running, Complete(0), TestClock(2))
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(tail), 20)
