"""That nothing is left of runs whose time has come, and nothing goes before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ringfence.errors import RunNotFound
from ringfence.runs import Cancel, Complete, Start, change_run
from ringfence.state.record import RunRecord, RunStatus
from ringfence.state.redis import RedisStateStore, index, scripts
from ringfence.state.redis.keys import AppKeys, RunKeys, score
from ringfence.testing.state import ManualClock, new_record, read_all
from tests.state.redis.conftest import OpenStore
from tests.state.redis.servers import Valkey
from tests.state.redis.waiting import until

pytestmark = pytest.mark.redis


def now() -> datetime:
    return datetime.now(UTC)


async def ended(
    store: RedisStateStore, app: str | None = None, *, ttl: float, events: int = 1
) -> RunRecord:
    """A run that has ended, with events before and after, and expires so many seconds from now."""
    record = await store.create(new_record(app, at=now()))
    for _ in range(events):
        await store.append(record.id, ["x"], batch="before")
    await store.acknowledge(record.id, "c", min(1, events))
    started = await change_run(store, record, Start(), now)
    at = now()
    done = replace(
        started,
        status=RunStatus.COMPLETED,
        version=3,
        completed_at=at,
        updated_at=at,
        expires_at=at + timedelta(seconds=ttl),
    )
    await store.replace(done, expected_version=2)
    for _ in range(events):
        await store.append(record.id, ["late"], batch="after")
    return done


async def test_everything_goes_with_the_runs(
    open_store: OpenStore, valkey: Valkey, prefix: str
) -> None:
    store = open_store()
    runs = [await ended(store, "app", ttl=0.2 + i / 20) for i in range(4)]
    for run in runs:
        assert await store.get(run.id) == run
    assert valkey.keys(prefix)
    await until(lambda: not valkey.keys(prefix))
    assert await read_all(store, "app") == []


async def test_a_run_that_lasts_keeps_its_list(
    open_store: OpenStore, valkey: Valkey, prefix: str
) -> None:
    store = open_store()
    kept = await store.create(new_record("app", at=now()))
    gone = await ended(store, "app", ttl=0.1)
    keys = store._keys
    record, app = keys.run(gone.id).record, keys.app("app")
    await until(lambda: not valkey.ask("EXISTS", record))
    assert await read_all(store, "app") == [kept]
    assert valkey.ask("ZCARD", app.index) == 1, "the list has been pruned by reading it"
    assert valkey.ask("EXISTS", app.expiring, app.orphans) == 0


async def test_a_list_that_would_go_stays_for_a_new_run(
    open_store: OpenStore, valkey: Valkey, prefix: str
) -> None:
    store = open_store()
    gone = await ended(store, "app", ttl=0.2)
    app = store._keys.app("app")
    assert valkey.ask("PTTL", app.index) > 0
    new = await store.create(new_record("app", at=now()))
    assert valkey.ask("PTTL", app.index) == -1
    await until(lambda: not valkey.ask("EXISTS", store._keys.run(gone.id).record))
    assert await read_all(store, "app") == [new]


async def test_the_same_creation_again_does_not_keep_the_list(
    open_store: OpenStore, valkey: Valkey, prefix: str
) -> None:
    store = open_store()
    run = await ended(store, "app", ttl=30)
    app = store._keys.app("app")
    left = valkey.ask("PTTL", app.index)
    fresh = replace(new_record("app", id=run.id), created_at=run.created_at, updated_at=now())
    assert await store.create(fresh) == run
    assert 0 < valkey.ask("PTTL", app.index) <= left
    later = replace(fresh, created_at=now())
    assert await store.create(later) == run
    assert 0 < valkey.ask("PTTL", app.index) <= left
    assert valkey.ask("ZCARD", app.index) == 1


async def test_expiry_is_by_the_clock_that_was_given(
    open_store: OpenStore, valkey: Valkey, prefix: str
) -> None:
    """One that is years behind the server's: what is left of its time is what counts."""
    clock = ManualClock()
    store = open_store(clock=clock)
    record = await store.create(replace(new_record(at=clock()), ttl_seconds=60))
    await change_run(store, record.id, Cancel(), clock)
    keys = store._keys.run(record.id)
    for key in (keys.record, keys.events):
        assert 50_000 < valkey.ask("PTTL", key) <= 60_000
    clock.advance(60)
    with pytest.raises(RunNotFound):
        await store.get(record.id)
    assert valkey.ask("EXISTS", keys.record) == 1, "the server's time has not come"
    assert await store.purge() == 1
    assert not valkey.keys(prefix)


async def test_a_purge_goes_on_where_the_last_ended(
    open_store: OpenStore, valkey: Valkey, prefix: str
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock, grace=timedelta(hours=1))
    kept = await store.create(new_record("app0", at=clock()))
    for i in range(9):
        record = replace(new_record(f"app{i % 3}", at=clock()), ttl_seconds=60)
        await change_run(store, (await store.create(record)).id, Cancel(), clock)
    assert await store.purge() == 0
    clock.advance(60)
    purged = [await store.purge(limit=4) for _ in range(4)]
    assert (sum(purged), max(purged)) == (9, 4)
    left = {key.rpartition("}:")[2] for key in valkey.keys(prefix)}
    assert left == {f"run:{kept.id}", "index:app0"}


async def test_a_purge_leaves_alone_what_was_created_meanwhile(open_store: OpenStore) -> None:
    """Between its looking and its removing, at the very same position."""
    clock = ManualClock()
    store = open_store(clock=clock)
    record = await store.create(new_record("app", at=clock()))
    other = await store.create(replace(new_record("app", at=clock()), ttl_seconds=60))
    await change_run(store, other, Cancel(), clock)
    app = store._keys.app("app")
    late = scripts.PURGED(
        *(app.index, app.expiring, app.due, score(clock()), 0, app.app),
        *map(store._index.position, (record, other)),
    )
    assert await store._server.ask(late, what="purge") == 0
    assert {r.id for r in await read_all(store, "app")} == {record.id, other.id}


async def test_more_expire_than_one_call_prunes(
    open_store: OpenStore, valkey: Valkey, prefix: str
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock, grace=timedelta(hours=1))
    kept = await store.create(new_record("app", at=clock()))
    for _ in range(250):
        record = replace(new_record("app", at=clock()), ttl_seconds=60)
        await change_run(store, await store.create(record), Cancel(), clock)
    clock.advance(60)
    for left in (150, 50, 0):
        await store._index._positions("app", None, 1)
        assert valkey.ask("ZCARD", store._keys.app("app").expiring) == left
    assert await read_all(store, "app") == [kept]


# --- what a crash leaves ---------------------------------------------------------------------


async def test_an_entry_without_a_record_is_skipped_and_goes_in_the_end(
    open_store: OpenStore, valkey: Valkey
) -> None:
    """The process ended between the entry and the record."""
    clock = ManualClock()
    store = open_store(clock=clock)
    kept = await store.create(new_record("app", at=clock()))
    lost = new_record("app", at=clock())
    await store._server.ask(store._index.entering(lost), what="crash")
    app = store._keys.app("app")
    assert await read_all(store, "app") == [kept]
    clock.advance(index.PATIENCE.total_seconds() - 1)
    assert await read_all(store, "app") == [kept]
    assert valkey.ask("ZCARD", app.index) == 2, "a creation may still be under way"
    clock.advance(1)
    assert await read_all(store, "app") == [kept]
    assert valkey.ask("ZCARD", app.index) == 1
    assert valkey.ask("EXISTS", app.orphans) == 0


async def test_a_creation_that_is_repeated_later_shows_once(
    open_store: OpenStore, valkey: Valkey
) -> None:
    """The first try ended after the entry; the next one has another time, so another entry."""
    clock = ManualClock()
    store = open_store(clock=clock)
    first = new_record("app", at=clock())
    await store._server.ask(store._index.entering(first), what="crash")
    clock.advance(5)
    record = await store.create(replace(first, created_at=clock(), updated_at=clock()))
    assert valkey.ask("ZCARD", store._keys.app("app").index) == 2
    assert await read_all(store, "app") == [record]


async def test_a_creation_that_was_seen_half_done_is_not_taken_out(
    open_store: OpenStore, valkey: Valkey
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock)
    record = new_record("app", at=clock())
    await store._server.ask(store._index.entering(record), what="crash")
    assert await read_all(store, "app") == []
    assert valkey.ask("ZCARD", store._keys.app("app").orphans) == 1
    await store.create(record)
    assert valkey.ask("EXISTS", store._keys.app("app").orphans) == 0
    clock.advance(2 * index.PATIENCE.total_seconds())
    for _ in range(3):
        assert await read_all(store, "app") == [record]
        clock.advance(2 * index.PATIENCE.total_seconds())


async def test_an_end_whose_list_was_not_told_leaves_nothing(
    open_store: OpenStore, valkey: Valkey, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock)
    record = await store.create(replace(new_record("app", at=clock()), ttl_seconds=60))

    async def crash(_: object) -> None:
        return None

    monkeypatch.setattr(store._index, "retire", crash)
    await change_run(store, record.id, Cancel(), clock)
    valkey.ask("DEL", store._keys.run(record.id).record, store._keys.run(record.id).events)
    for _ in range(2):
        assert await read_all(store, "app") == []
        clock.advance(index.PATIENCE.total_seconds())
    assert await read_all(store, "app") == []
    assert not valkey.keys(prefix)


async def test_a_lease_without_a_record_goes(
    open_store: OpenStore, valkey: Valkey, prefix: str
) -> None:
    clock = ManualClock()
    store = open_store(clock=clock)
    record = await store.create(new_record("app", at=clock()))
    await change_run(store, record, Start(), clock)
    keys = store._keys.run(record.id)
    valkey.ask("DEL", keys.record)
    clock.advance(3600)
    assert await store.abandoned(clock()) == ()
    assert valkey.ask("EXISTS", keys.leases) == 0


# --- where things lie ------------------------------------------------------------------------


async def test_the_keys_of_a_run_are_those_of_its_entry(open_store: OpenStore) -> None:
    """An index has positions only: what stands for a run there is enough to find it."""
    keys = open_store()._keys
    for run in ("r", "R|1", "a" * 250, "é" * 40, "a-b", "-"):
        assert keys.at(keys.position(run, now())) == keys.run(run)


async def test_buckets_are_used_evenly(open_store: OpenStore) -> None:
    """No key is hot: runs, leases and apps are spread over 256 tags."""
    keys = open_store()._keys
    leases = [keys.run(f"run-{i}").leases for i in range(25_600)]
    assert len(set(leases)) == 256 == len(set(keys.all_leases) & set(leases))
    assert max(leases.count(each) for each in set(leases)) < 200
    dues = {keys.app(f"app-{i}").due for i in range(5_000)}
    assert dues == set(keys.all_due)


def one_slot(keys: RunKeys | AppKeys) -> bool:
    names = [getattr(keys, name) for name in keys.__slots__ if name not in {"segment", "app"}]
    tags = {name[name.index("{") : name.index("}")] for name in names}
    return len(tags) == 1


async def test_keys_that_are_used_together_have_one_tag(open_store: OpenStore) -> None:
    keys = open_store()._keys
    for name in ("a", "{b}", "c}{d", "é", "x" * 200):
        assert one_slot(keys.run(name))
        assert one_slot(keys.app(name))


async def test_complete_is_an_end_too(open_store: OpenStore, valkey: Valkey, prefix: str) -> None:
    store = open_store()
    record = await store.create(replace(new_record(at=now()), ttl_seconds=1))
    await change_run(store, record, Start(), now)
    await change_run(store, record.id, Complete(0), now)
    await until(lambda: not valkey.keys(prefix))
