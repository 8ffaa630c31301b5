"""Events of runs: the part of the suite in ``ringfence.testing.state``."""

# ruff: noqa: S101 - asserting is what a test suite does

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import pytest

from ringfence.errors import InvalidId, RunNotFound, UsageError
from ringfence.runs import Cancel, Complete, Start, change_run
from ringfence.state.base import StateStore
from ringfence.state.event import MAX_BATCH, MAX_EVENT_PAGE, MAX_PAYLOAD_BYTES, Event
from ringfence.testing._runs import ManualClock, TestClock, new_record, unique

PAYLOADS: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -(2**63),
    1.5,
    1e300,
    "",
    "\x00 \ud800 \N{SNOWMAN} '; drop table events; --",
    [],
    [1, [2, {"a": None}]],
    {"b": 1, "a": {"": "empty"}},
)
SOON: Final = 20.0
"""Seconds within which something must happen that happens at once."""


class EventConformance:
    """Numbers without a gap, batches that are not doubled, tails that wake."""

    async def test_events_come_back_as_they_were(
        self, store: StateStore, rival: StateStore, clock: ManualClock
    ) -> None:
        run = (await store.create(new_record())).id
        assert await store.events(run) == ()
        assert await store.append(run, PAYLOADS[:4]) == range(1, 5)
        clock.advance(1.5)
        assert await rival.append(run, PAYLOADS[4:]) == range(5, len(PAYLOADS) + 1)
        for client in (store, rival):
            found = await client.events(run)
            assert [event.payload for event in found] == list(PAYLOADS)
            assert [event.sequence for event in found] == list(range(1, len(PAYLOADS) + 1))
            assert {event.at for event in found[4:]} == {clock()}
            assert found[0].at < clock()

    async def test_pages(self, store: StateStore) -> None:
        run = (await store.create(new_record())).id
        for start in range(0, 24, 4):
            await store.append(run, list(range(start, start + 4)))
        for after in (0, 1, 3, 4, 5, 23, 24, 99):
            for limit in (1, 2, 5, 24, MAX_EVENT_PAGE):
                found = await store.events(run, after=after, limit=limit)
                wanted = range(after + 1, min(after + limit, 24) + 1)
                assert [event.sequence for event in found] == list(wanted)
                assert [event.payload for event in found] == [n - 1 for n in wanted]

    async def test_a_full_batch(self, store: StateStore, rival: StateStore) -> None:
        run = (await store.create(new_record())).id
        assert await store.append(run, ["first"]) == range(1, 2)
        every = list(range(MAX_BATCH))
        assert await rival.append(run, every) == range(2, MAX_BATCH + 2)
        assert await store.append(run, ["last"]) == range(MAX_BATCH + 2, MAX_BATCH + 3)
        around = await store.events(run, after=MAX_BATCH - 1, limit=9)
        assert [e.payload for e in around] == [MAX_BATCH - 2, MAX_BATCH - 1, "last"]

    async def test_a_repeated_batch_is_not_doubled(
        self, store: StateStore, rival: StateStore
    ) -> None:
        run = (await store.create(new_record())).id
        first = await store.append(run, ["a", "b"], batch="one")
        second = await rival.append(run, ["c"], batch="two")
        for client in (store, rival, store):
            assert await client.append(run, ["a", "b"], batch="one") == first
            assert await client.append(run, ["c"], batch="two") == second
        assert await store.append(run, ["a", "b"], batch="ONE") == range(4, 6)
        assert await rival.append(run, ["a", "b"]) == range(6, 8)
        payloads = [event.payload for event in await store.events(run)]
        assert payloads == ["a", "b", "c", "a", "b", "a", "b"]

    async def test_a_batch_at_once_is_stored_once(
        self, store: StateStore, rival: StateStore
    ) -> None:
        run = (await store.create(new_record())).id
        told = await asyncio.gather(
            *((rival if i % 2 else store).append(run, ["x", "y"], batch="b") for i in range(6))
        )
        assert told == [range(1, 3)] * 6
        assert [event.payload for event in await store.events(run)] == ["x", "y"]

    async def test_a_batch_id_is_taken_by_other_events(
        self, store: StateStore, rival: StateStore
    ) -> None:
        run, other = (await store.create(new_record())).id, (await store.create(new_record())).id
        await store.append(run, ["a"], batch="b")
        for client in (store, rival):
            for payloads in (["b"], ["a", "a"]):
                with pytest.raises(UsageError, match="batch id"):
                    await client.append(run, payloads, batch="b")
        assert await rival.append(other, ["b"], batch="b") == range(1, 2)
        assert [event.payload for event in await store.events(run)] == ["a"]

    async def test_many_writers_leave_no_gap(self, store: StateStore, rival: StateStore) -> None:
        run = (await store.create(new_record())).id

        async def write(writer: int) -> list[range]:
            client = rival if writer % 2 else store
            return [await client.append(run, [[writer, i], [writer, -i]]) for i in range(1, 4)]

        told = await asyncio.gather(*map(write, range(6)))
        found = await store.events(run, limit=MAX_EVENT_PAGE)
        assert [event.sequence for event in found] == list(range(1, 37))
        by_number = {event.sequence: event.payload for event in found}
        for writer, numbers in enumerate(told):
            for i, given in enumerate(numbers, 1):
                assert [by_number[n] for n in given] == [[writer, i], [writer, -i]]
            assert numbers == sorted(numbers, key=lambda r: r.start), "out of the writer's order"

    async def test_what_is_no_batch(self, store: StateStore) -> None:
        run = (await store.create(new_record())).id
        bad: tuple[list[Any], ...] = (
            [],
            [0] * (MAX_BATCH + 1),
            [float("nan")],
            [object()],
            ["x" * MAX_PAYLOAD_BYTES],
        )
        for payloads in bad:
            with pytest.raises(UsageError):
                await store.append(run, payloads)
        for batch in ("", "x" * 129, "\x00", "é"):
            with pytest.raises(UsageError):
                await store.append(run, ["x"], batch=batch)
        assert await store.events(run) == ()
        assert await store.append(run, ["x" * (MAX_PAYLOAD_BYTES - 2)]) == range(1, 2)

    async def test_what_is_no_page(self, store: StateStore) -> None:
        run = (await store.create(new_record())).id
        for after, limit in ((-1, 1), (0, 0), (0, MAX_EVENT_PAGE + 1)):
            with pytest.raises(UsageError):
                await store.events(run, after=after, limit=limit)

    async def test_a_run_that_is_not_there_has_no_events(self, store: StateStore) -> None:
        run = unique("run-")
        for work in (
            store.events(run),
            store.append(run, ["x"]),
            store.append(run, ["x"], batch="b"),
            store.acknowledge(run, "c", 0),
            store.acknowledged(run, "c"),
            anext(store.tail(run)),
        ):
            with pytest.raises(RunNotFound):
                await work
        with pytest.raises(InvalidId):
            await store.events("")

    async def test_neighbours_have_their_own(self, store: StateStore) -> None:
        name = unique("run-")
        runs = [name, f"{name}1", f"{name}/events", name.upper(), f"{name}|", f"{name}%"]
        for run in runs:
            await store.create(new_record(id=run))
            await store.append(run, [run])
            await store.acknowledge(run, "c", 1)
        for run in runs:
            assert [event.payload for event in await store.events(run)] == [run]
        assert await store.acknowledged(runs[0], "C") == 0

    async def test_acknowledging_never_falls(self, store: StateStore, rival: StateStore) -> None:
        run = (await store.create(new_record())).id
        await store.append(run, list(range(5)))
        assert await store.acknowledged(run, "mail|1") == 0
        assert await store.acknowledge(run, "mail|1", 0) == 0
        assert await store.acknowledge(run, "mail|1", 3) == 3
        assert await rival.acknowledge(run, "mail|1", 2) == 3
        assert await rival.acknowledged(run, "mail|1") == 3
        assert await store.acknowledged(run, "mail|10") == 0
        assert await rival.acknowledge(run, "mail|1", 5) == 5
        for sequence in (-1, 6):
            with pytest.raises(UsageError):
                await store.acknowledge(run, "mail|1", sequence)
        assert await store.acknowledged(run, "mail|1") == 5

    async def test_a_tail_tells_everything_and_ends(
        self, store: StateStore, rival: StateStore
    ) -> None:
        run = (await store.create(new_record())).id
        await store.append(run, ["before"])
        seen: list[Any] = []
        async with _followed(rival, run, 0, seen) as following:
            await _until(lambda: len(seen) == 1, following)
            await store.append(run, ["a", "b"])
            await _until(lambda: len(seen) == 3, following)
            await change_run(store, run, Start(), TestClock(1))
            await store.append(run, ["c"])
            await store.append(run, ["last"])
            await change_run(store, run, Complete(0), TestClock(2))
            await asyncio.wait_for(following, SOON)
        assert seen == ["before", "a", "b", "c", "last"]

    async def test_a_tail_of_a_run_that_has_ended(self, store: StateStore) -> None:
        run = (await store.create(new_record())).id
        await store.append(run, list(range(250)))
        await change_run(store, run, Cancel("enough"), TestClock(1))
        for after in (0, 99, 100, 249, 250, 999):
            told = [event async for event in store.tail(run, after=after)]
            assert [event.sequence for event in told] == list(range(after + 1, 251))

    async def test_several_tails_and_an_end_without_events(
        self, store: StateStore, rival: StateStore
    ) -> None:
        run = (await store.create(new_record())).id
        one, two = list[Any](), list[Any]()
        async with _followed(store, run, 0, one) as first, _followed(rival, run, 1, two) as second:
            await store.append(run, ["a", "b"])
            await _until(lambda: one == ["a", "b"] and two == ["b"], first, second)
            await change_run(rival, run, Cancel(), TestClock(1))
            await asyncio.wait_for(asyncio.gather(first, second), SOON)

    async def test_a_tail_that_is_left_leaves_nothing(self, store: StateStore) -> None:
        run = (await store.create(new_record())).id
        await store.append(run, ["a", "b"])
        before = asyncio.all_tasks()
        async with aclosing(store.tail(run)) as tail:
            assert (await anext(tail)).payload == "a"
        following = asyncio.create_task(_collect(store.tail(run, after=2), []))
        await asyncio.sleep(0.05)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert following.cancelled()
        await _until(lambda: asyncio.all_tasks() <= before | _of_the_store())
        assert await store.append(run, ["c"]) == range(3, 4)


def _of_the_store() -> set[asyncio.Task[Any]]:
    """Tasks that live as long as a store does. They are named so, and may begin meanwhile."""
    return {task for task in asyncio.all_tasks() if task.get_name().startswith("ringfence-")}


class _followed:  # noqa: N801 - used as a function
    """Follows a run's events in a task of its own, which is gone at the end."""

    def __init__(self, store: StateStore, run: str, after: int, into: list[Any]) -> None:
        self._work = _collect(store.tail(run, after=after), into)

    async def __aenter__(self) -> asyncio.Task[None]:
        self._task = asyncio.create_task(self._work)
        return self._task

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def _collect(events: AsyncIterator[Event], into: list[Any]) -> None:
    async for event in events:
        into.append(event.payload)  # noqa: PERF401 - others look at it meanwhile


async def _until(reached: Any, *running: asyncio.Task[None]) -> None:
    deadline = asyncio.get_running_loop().time() + SOON
    while not reached():
        assert asyncio.get_running_loop().time() < deadline, "nothing came"
        for task in running:
            assert not task.done() or reached(), "the tail ended too soon"
        await asyncio.sleep(0.005)
