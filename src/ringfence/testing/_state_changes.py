"""Changing runs: the part of the suite in ``ringfence.testing.state``."""

# ruff: noqa: S101 - asserting is what a test suite does

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ringfence.errors import (
    StateConflict,
)
from ringfence.runs import (
    Cancel,
    Change,
    Complete,
    Heartbeat,
    Progress,
    Start,
    apply,
    change_run,
)
from ringfence.state.base import StateStore
from ringfence.state.record import RunStatus
from ringfence.testing._runs import (
    ENDS,
    TestClock,
    new_record,
    race_to_the_end,
)


class ChangeConformance:
    """Compare-and-set, and the life of a run over it."""

    async def test_a_stale_writer_is_told_the_newer_record(
        self, store: StateStore, rival: StateStore
    ) -> None:
        record = await store.create(new_record())
        mine = apply(record, Start(), TestClock(1)())
        theirs = apply(record, Cancel("theirs"), TestClock(1)())
        assert await rival.replace(theirs, expected_version=1) == theirs
        for writer in (store, rival):
            with pytest.raises(StateConflict) as lost:
                await writer.replace(mine, expected_version=1)
            assert lost.value.record == theirs
            assert await writer.get(record.id) == theirs

    async def test_a_version_that_is_not_reached_yet(self, store: StateStore) -> None:
        record = await store.create(new_record())
        ahead = replace(record, version=8)
        with pytest.raises(StateConflict) as lost:
            await store.replace(ahead, expected_version=7)
        assert lost.value.record == record
        assert await store.get(record.id) == record

    async def test_a_life(self, store: StateStore) -> None:
        record, clock = await store.create(replace(new_record(), ttl_seconds=60)), TestClock(10)
        for change in (Start(), Heartbeat(), Progress(50, "half", 10, 20), Complete(0)):
            record = await change_run(store, record.id, change, clock)
        assert (record.status, record.version, record.progress) == (RunStatus.COMPLETED, 5, 100)
        assert (record.step, record.input_bytes, record.output_bytes) == ("half", 10, 20)
        assert record.started_at is not None
        assert record.completed_at == record.updated_at > record.started_at > record.created_at
        assert record.expires_at == record.completed_at + timedelta(seconds=60)
        assert await store.get(record.id) == record

    @pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
    async def test_an_end_is_final(self, store: StateStore, end: Change) -> None:
        record = await store.create(new_record())
        await change_run(store, record.id, Start(), TestClock(1))
        ended = await change_run(store, record.id, end, TestClock(2))
        assert ended.status.terminal
        for change in (Start(), Heartbeat(), Progress(99), *ENDS):
            if change == end:
                assert await change_run(store, record.id, change, TestClock(3)) == ended
                continue
            with pytest.raises(StateConflict) as refused:
                await change_run(store, record.id, change, TestClock(3))
            assert refused.value.record == ended
        assert await store.get(record.id) == ended

    async def test_pending_is_not_completed(self, store: StateStore) -> None:
        record = await store.create(new_record())
        for change in (Complete(0), Heartbeat(), Progress(1)):
            with pytest.raises(StateConflict):
                await change_run(store, record.id, change, TestClock(1))
        assert await store.get(record.id) == record

    async def test_progress_and_time_never_fall(self, store: StateStore) -> None:
        record = await store.create(new_record())
        await change_run(store, record.id, Start(), TestClock(1))
        high = await change_run(store, record.id, Progress(70, "late", 5, 9), TestClock(100))
        low = await change_run(store, record.id, Progress(30, "early", 4, 8), TestClock(50))
        assert (low.progress, low.input_bytes, low.output_bytes) == (70, 5, 9)
        assert low.updated_at == high.updated_at
        assert low.heartbeat_at == high.heartbeat_at
        ended = await change_run(store, record.id, Complete(0), TestClock(2))
        assert ended.completed_at == high.updated_at

    async def test_changes_at_once_all_count(self, store: StateStore, rival: StateStore) -> None:
        record = await store.create(new_record())
        await change_run(store, record.id, Start(), TestClock(1))
        writers = [
            change_run(
                rival if i % 2 else store, record.id, Progress(i, f"{i}"), TestClock(i), attempts=99
            )
            for i in range(2, 8)
        ]
        versions = [written.version for written in await asyncio.gather(*writers)]
        assert sorted(versions) == [3, 4, 5, 6, 7, 8]
        last = await store.get(record.id)
        assert (last.version, last.progress) == (8, 7)

    async def test_one_end_wins(self, store: StateStore, rival: StateStore) -> None:
        await race_to_the_end(store, rival, writers=4)
