"""What time does to runs: leases and expiry. A part of the suite in ``ringfence.testing.state``."""

# ruff: noqa: S101 - asserting is what a test suite does

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ringfence.errors import RunNotFound, StateConflict
from ringfence.runs import Complete, Heartbeat, Start, TimeOut, apply, change_run, reap
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.testing._runs import EPOCH, ManualClock, new_record, read_all, unique

LEASE: int = 60
TTL: int = 3600
"""Seconds. Longer than a test takes: a store may expire natively, by the time of its server."""


class TimeConformance:
    """Leases that end, runs that expire. The store's time is the fixture ``clock``."""

    async def test_a_run_without_a_heartbeat_is_abandoned(
        self, store: StateStore, rival: StateStore, clock: ManualClock
    ) -> None:
        silent = await self.started(store, clock)
        beating = await self.started(store, clock)
        pending = await store.create(_leased(clock))
        done = await self.started(store, clock)
        await change_run(store, done.id, Complete(0), clock)
        assert not await _abandoned(store, clock, silent, beating, pending, done)
        clock.advance(LEASE)
        await change_run(rival, beating.id, Heartbeat(), clock)
        assert not await _abandoned(store, clock, silent), "the lease ends after its last moment"
        clock.advance(1)
        assert await _abandoned(store, clock, silent, beating, pending, done) == {silent.id}
        clock.advance(LEASE)
        assert await _abandoned(rival, clock, silent, beating, pending, done) == {
            silent.id,
            beating.id,
        }
        assert len(await store.abandoned(clock(), limit=1)) == 1

    async def test_reaping_turns_each_exactly_once(
        self, store: StateStore, rival: StateStore, clock: ManualClock
    ) -> None:
        runs = [(await self.started(store, clock)).id for _ in range(6)]
        clock.advance(LEASE + 1)
        reapers = [reap(rival if i % 2 else store, clock) for i in range(6)]
        reaped = [r for found in await asyncio.gather(*reapers) for r in found if r.id in runs]
        assert sorted(r.id for r in reaped) == sorted(runs)
        for record in reaped:
            assert (record.status, record.version) == (RunStatus.TIMEOUT, 3)
            assert await store.get(record.id) == record
        assert not [r for r in await reap(store, clock) if r.id in runs]

    async def test_a_heartbeat_in_time_saves_a_run(
        self, store: StateStore, rival: StateStore, clock: ManualClock
    ) -> None:
        """A reaper that looked before the heartbeat does not end the run after it."""
        record = await self.started(store, clock)
        clock.advance(LEASE + 1)
        seen = [r for r in await store.abandoned(clock()) if r.id == record.id]
        assert seen == [record]
        beaten = await change_run(rival, record.id, Heartbeat(), clock)
        late = apply(seen[0], TimeOut("late"), clock())
        with pytest.raises(StateConflict) as refused:
            await store.replace(late, expected_version=record.version)
        assert refused.value.record == beaten
        assert not [r for r in await reap(store, clock) if r.id == record.id]
        assert await store.get(record.id) == beaten

    async def test_an_expired_run_is_not_there(
        self, store: StateStore, rival: StateStore, clock: ManualClock
    ) -> None:
        app = unique("app-")
        kept = await store.create(new_record(app, at=clock()))
        for_ever = await self.ended(store, clock, replace(new_record(app, at=clock())))
        record = await self.ended(store, clock, _mortal(app, clock))
        assert record.expires_at == clock() + timedelta(seconds=TTL)
        clock.advance(TTL - 1)
        assert await rival.get(record.id) == record
        assert {r.id for r in await read_all(store, app)} == {kept.id, for_ever.id, record.id}
        clock.advance(1)
        for client in (store, rival):
            with pytest.raises(RunNotFound):
                await client.get(record.id)
            with pytest.raises(RunNotFound):
                await client.replace(replace(record, version=9), expected_version=record.version)
            assert {r.id for r in await read_all(client, app)} == {kept.id, for_ever.id}

    async def test_its_events_go_with_it(
        self, store: StateStore, rival: StateStore, clock: ManualClock
    ) -> None:
        record = await store.create(_mortal(None, clock))
        await store.append(record.id, ["a"], batch="b")
        await self.ended(store, clock, record)
        clock.advance(TTL)
        for client in (rival, store):
            for work in (
                client.events(record.id),
                client.append(record.id, ["b"]),
                client.acknowledge(record.id, "c", 1),
                client.acknowledged(record.id, "c"),
                anext(client.tail(record.id)),
            ):
                with pytest.raises(RunNotFound):
                    await work

    async def test_its_id_may_be_used_again(
        self, store: StateStore, rival: StateStore, clock: ManualClock
    ) -> None:
        record = await store.create(_mortal(None, clock))
        await store.append(record.id, ["old", "older"], batch="b")
        await store.acknowledge(record.id, "c", 2)
        await self.ended(store, clock, record)
        clock.advance(TTL)
        again = new_record(unique("app-"), id=record.id, user_id="another", at=clock())
        assert await rival.create(again) == again
        assert await store.get(record.id) == again
        assert await store.events(record.id) == ()
        assert await store.acknowledged(record.id, "c") == 0
        assert await rival.append(record.id, ["new"], batch="b") == range(1, 2)
        assert [e.payload for e in await store.events(record.id)] == ["new"]
        assert await read_all(store, record.app_id) == []
        assert await read_all(store, again.app_id) == [again]

    async def test_purging_removes_what_expired_and_nothing_else(
        self, store: StateStore, rival: StateStore, clock: ManualClock
    ) -> None:
        app = unique("app-")
        kept = await store.create(new_record(app, at=clock()))
        mortal = await self.ended(store, clock, _mortal(app, clock))
        await store.append(mortal.id, ["x"])
        await store.purge()
        assert await store.get(mortal.id) == mortal
        clock.advance(TTL)
        await asyncio.gather(store.purge(), rival.purge())
        with pytest.raises(RunNotFound):
            await store.get(mortal.id)
        assert await read_all(rival, app) == [kept]
        again = await store.create(replace(_mortal(app, clock), id=mortal.id))
        assert await store.purge() >= 0
        assert await rival.get(again.id) == again
        assert await rival.events(again.id) == ()

    async def started(self, store: StateStore, clock: ManualClock) -> RunRecord:
        """A run of an app of its own that is RUNNING."""
        record = await store.create(_leased(clock))
        return await change_run(store, record, Start(), clock)

    async def ended(self, store: StateStore, clock: ManualClock, record: RunRecord) -> RunRecord:
        """A run that is COMPLETED."""
        stored = await store.create(record)
        running = await change_run(store, stored, Start(), clock)
        return await change_run(store, running, Complete(0), clock)


def _leased(clock: ManualClock) -> RunRecord:
    return replace(new_record(at=clock()), lease_seconds=LEASE)


def _mortal(app: str | None, clock: ManualClock) -> RunRecord:
    return replace(new_record(app, at=clock()), ttl_seconds=TTL)


async def _abandoned(store: StateStore, clock: ManualClock, *among: RunRecord) -> set[str]:
    ids = {record.id for record in among}
    return {record.id for record in await store.abandoned(clock())} & ids


__all__ = ["EPOCH", "TimeConformance"]
