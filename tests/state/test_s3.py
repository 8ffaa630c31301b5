"""What the S3 store does beyond the conformance suite: its keys, its requests, and its faults."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from obstore.store import MemoryStore, ObjectStore

from ringfence.errors import (
    AccessDenied,
    BucketMissing,
    LayoutMismatch,
    RingfenceError,
    RunExists,
    RunNotFound,
    StateConflict,
    StorageUnreachable,
)
from ringfence.layout import (
    IdCase,
    encode_id,
    parse_position,
    position_record_key,
    run_index_key,
    run_position,
    run_record_key,
)
from ringfence.runs import Complete, Progress, Start, apply, change_run
from ringfence.state.record import RunRecord
from ringfence.state.s3 import S3StateStore
from ringfence.state.scanning import MAX_SCAN
from ringfence.testing.state import TestClock, new_record, race_to_the_end, read_all
from tests.state.conftest import OpenMeta
from tests.state.doubles import (
    Contradicting,
    Counting,
    Crash,
    CrashingBefore,
    LosingAnswers,
    Unordered,
    as_store,
)
from tests.state.proxy import counting
from tests.state.test_translate import answering, open_at, xml


def over(double: Any, *, ordered: bool = True) -> S3StateStore:
    return S3StateStore(as_store(double), bucket="meta", ordered=ordered)


def index_key(record: RunRecord) -> str:
    run = encode_id(record.id)
    return run_index_key(encode_id(record.app_id), run_position(record.created_at, run))


# --- keys ------------------------------------------------------------------------------------


def test_the_keys_are_what_other_versions_wrote() -> None:
    run = encode_id("Run|1", IdCase.FOLDED)
    position = run_position(TestClock(1)(), run)
    assert position == "9982/327/743/98876542-%52un%7C1"
    assert run_index_key(encode_id("a"), position) == f"execution/apps/a/runs/{position}"
    assert run_record_key(run) == "execution/runs/%52un%7C1/record.json"
    assert position_record_key(position) == run_record_key(run)
    assert parse_position(position) == position


def test_no_key_is_too_long_for_an_engine_over_files() -> None:
    longest = [encode_id(letter * 255 + "x") for letter in ("a", "b")]
    keys = {run_index_key(longest[0], run_position(TestClock()(), run)) for run in longest}
    keys |= {run_record_key(run) for run in longest}
    assert len(keys) == 4
    for key in keys:
        assert len(key) <= 1024
        assert all(len(segment) <= 256 for segment in key.split("/"))
        assert len(key.rsplit("/", 1)[1]) <= 255, "SeaweedFS refuses it"


async def test_no_key_is_written_by_two_runs() -> None:
    counted = Counting(MemoryStore())
    await live_and_end(over(counted), app="app", runs=5)
    shared = {key: count for key, count in counted.puts.items() if count > 3}
    assert not shared, "a key takes the writes of more than one run"


async def live_and_end(store: S3StateStore, app: str, runs: int) -> None:
    """Creates, starts and completes some runs: three versions of each record."""
    for second in range(runs):
        record = await store.create(new_record(app, at=TestClock(second)()))
        await change_run(store, record.id, Start(), TestClock(second))
        await change_run(store, record.id, Complete(0), TestClock(second))


# --- requests --------------------------------------------------------------------------------


async def test_a_life_in_requests() -> None:
    counted = Counting(MemoryStore())
    store = over(counted)
    record = await store.create(new_record())
    assert counted.requests == {"put": 3}, "its entry, its mark and its record"
    record = await store.replace(apply(record, Start(), TestClock(1)()), expected_version=1)
    record = await store.replace(apply(record, Complete(), TestClock(2)()), expected_version=2)
    assert counted.requests == {"put": 5}, "a change of what was last seen takes one request"
    await change_run(store, record.id, Complete(), TestClock(3))
    assert counted.requests == {"put": 5, "get": 1}, "the end that is there takes no write"


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_newest_page_costs_the_same_among_any_number(ordered: bool) -> None:
    bucket, costs = MemoryStore(), []
    await fill(bucket, "app", range(2001, 3001), records=range(2900, 3001))
    for older in (range(0), range(2001)):
        await fill(bucket, "app", older, records=range(0))
        counted = Counting(bucket if ordered else Unordered(bucket))
        page = await over(counted, ordered=ordered).list("app", limit=100)
        assert [r.created_at for r in page.records] == [
            moment(minute) for minute in range(3000, 2900, -1)
        ]
        costs.append((counted.requests["list"], counted.requests["get"]))
    few, many = costs
    if ordered:
        assert few == many == (1, 100)
    else:
        # Level by level: the app and its years overflow one request, a day of 1,440 runs too.
        assert few == (1, 100)
        assert many[0] <= 25
        assert many[1] == 100


@pytest.mark.engine
async def test_the_newest_page_in_requests_to_the_engine(open_meta: OpenMeta, engine: Any) -> None:
    app, bucket, costs = new_record().app_id, open_meta(), []
    await fill(bucket, app, range(4001, 5001), records=range(4900, 5001))
    for older in (range(0), range(4001)):
        await fill(bucket, app, older, records=range(0))
        async with counting(engine.env["AWS_ENDPOINT"]) as proxy:
            store = S3StateStore(open_meta(proxy.endpoint), bucket="meta")
            page = await store.list(app, limit=100)
            costs.append(dict(proxy.requests))
        assert [r.created_at for r in page.records] == [
            moment(minute) for minute in range(5000, 4900, -1)
        ]
    assert costs == [{"LIST": 1, "GET": 100}] * 2


async def test_runs_of_one_window_beyond_a_request_are_listed_in_no_order_too() -> None:
    bucket = MemoryStore()
    for i in range(1003):
        record = new_record("app", id=f"run{i:04}", at=TestClock(0)())
        await bucket.put_async(index_key(record), b"")
    await over(bucket).create(new_record("app", id="run0000", at=TestClock(0)()))
    await over(bucket).create(new_record("app", id="run1002", at=TestClock(0)()))
    found = await read_all(over(Unordered(bucket), ordered=False), "app", limit=1)
    assert [record.id for record in found] == ["run0000", "run1002"]


async def test_a_filter_that_matches_little_is_bounded_work() -> None:
    bucket = MemoryStore()
    await fill(bucket, "app", range(1, 1201))
    await over(bucket).create(new_record("app", user_id="rare", at=moment(0)))
    counted = Counting(bucket)
    store = over(counted)
    page = await store.list("app", user="rare", limit=10)
    assert (page.records, counted.requests["get"]) == ((), MAX_SCAN)
    assert page.cursor is not None
    assert len(await read_all(store, "app", user="rare", limit=10)) == 1


def moment(minute: int) -> Any:
    return TestClock(0)() + timedelta(minutes=minute)


async def fill(bucket: ObjectStore, app: str, minutes: range, records: range | None = None) -> None:
    """A run a minute; only an entry of those whose record nobody will read."""
    store, gate = S3StateStore(bucket, bucket="meta"), asyncio.Semaphore(32)

    async def one(minute: int) -> None:
        record = new_record(app, at=moment(minute))
        async with gate:
            if records is None or minute in records:
                await store.create(record)
            else:
                await bucket.put_async(index_key(record), b"")

    await asyncio.gather(*map(one, minutes))


# --- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("before", ["-the-run", "record.json"])
async def test_a_crash_in_a_creation_leaves_nothing_wrong(before: str, ordered: bool) -> None:
    bucket = MemoryStore()
    whole = over(bucket if ordered else Unordered(bucket), ordered=ordered)
    other = await whole.create(new_record("app", at=TestClock(1)()))
    record = new_record("app", id="the-run", at=TestClock(2)())
    with pytest.raises(Crash):
        await over(CrashingBefore(bucket, before)).create(record)
    assert await read_all(whole, "app", limit=1) == [other]
    with pytest.raises(RunNotFound):
        await whole.get("the-run")
    retried = new_record("app", id="the-run", at=TestClock(3)())
    assert await whole.create(retried) == retried
    for limit in (1, 100):
        assert await read_all(whole, "app", limit=limit) == [retried, other]


async def test_a_repeated_creation_takes_its_entry_back() -> None:
    bucket = MemoryStore()
    store = over(bucket)
    record = await store.create(new_record("app"))
    await store.create(new_record("app", id=record.id, at=TestClock(3)()))
    with pytest.raises(RunExists):
        await store.create(new_record("other", id=record.id, at=TestClock(3)()))
    entries = [item["path"] async for chunk in bucket.list("execution/apps/") for item in chunk]
    assert entries == [index_key(record)]


async def test_an_answer_that_was_lost_is_no_conflict() -> None:
    bucket = MemoryStore()
    store = over(LosingAnswers(bucket))
    record = await store.create(new_record())
    for change in (Start(), Progress(5), Complete(0)):
        record = await change_run(store, record.id, change, TestClock(1))
    assert record.version == 4
    assert await over(bucket).get(record.id) == record


async def test_a_refusal_without_a_reason_is_tried_again() -> None:
    bucket = MemoryStore()
    record = await over(Contradicting(bucket, refusals=2)).create(new_record())
    store = over(Contradicting(bucket, refusals=2))
    started = await change_run(store, record.id, Start(), TestClock(1))
    assert started == await store.get(record.id) == apply(record, Start(), TestClock(1)())


async def test_conditional_writes_that_never_work_are_said() -> None:
    bucket = MemoryStore()
    with pytest.raises(StorageUnreachable, match="conditional writes"):
        await over(Contradicting(bucket, refusals=99)).create(new_record())
    record = await over(bucket).create(new_record())
    with pytest.raises(StorageUnreachable, match="conditional writes"):
        await change_run(over(Contradicting(bucket, 99)), record.id, Start(), TestClock(1))
    assert await over(bucket).get(record.id) == record


async def test_an_old_tag_is_no_way_past_a_newer_version() -> None:
    bucket = MemoryStore()
    first, second = over(bucket), over(bucket)
    record = await first.create(new_record())
    newer = await change_run(second, record.id, Start(), TestClock(1))
    with pytest.raises(StateConflict) as lost:
        await first.replace(apply(record, Start(), TestClock(2)()), expected_version=1)
    assert lost.value.record == newer


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"{", RingfenceError, "not valid JSON"),
        (b"{" + b" " * 70_000, RingfenceError, "70001 bytes long"),
        (b'{"v":2}', LayoutMismatch, "newer Ringfence"),
    ],
)
async def test_an_object_that_is_no_record(data: bytes, error: type[Exception], words: str) -> None:
    bucket = MemoryStore()
    store = over(bucket)
    record = await store.create(new_record("app"))
    await bucket.put_async(run_record_key(encode_id(record.id)), data)
    for work in (store.get(record.id), store.list("app"), store.create(record)):
        with pytest.raises(error, match=f"{record.id}/record.json .*{words}"):
            await work


async def test_what_is_not_ours_in_the_index_is_skipped() -> None:
    bucket = MemoryStore()
    store = over(bucket)
    record = await store.create(new_record("app"))
    await bucket.put_async("execution/apps/app/runs/note.txt", b"")
    await bucket.put_async("execution/apps/app/runs/9982/327/551/x/y", b"")
    assert await read_all(store, "app") == [record]


async def test_a_bucket_that_is_not_there() -> None:
    async with answering(xml("404 Not Found", "NoSuchBucket")) as endpoint:
        store = S3StateStore(open_at(endpoint), bucket="META_BUCKET meta")
        for work in (store.get("r"), store.create(new_record()), store.list("app")):
            with pytest.raises(BucketMissing, match="META_BUCKET meta does not exist at http"):
                await work


async def test_an_engine_out_of_reach() -> None:
    store = S3StateStore(open_at("http://127.0.0.1:1"), bucket="META_BUCKET meta")
    for work in (store.get("r"), store.create(new_record()), store.list("app")):
        with pytest.raises(StorageUnreachable, match=r"META_BUCKET meta: .*http://127\.0\.0\.1:1 "):
            await work


async def test_a_bucket_that_may_only_be_read() -> None:
    async with answering(xml("403 Forbidden", "AccessDenied")) as endpoint:
        store = S3StateStore(open_at(endpoint), bucket="META_BUCKET meta")
        with pytest.raises(AccessDenied, match="META_BUCKET meta: storage refused to store a run"):
            await store.create(new_record())


# --- races on the engine ---------------------------------------------------------------------


@pytest.mark.engine
@pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=pytest.mark.soak)])
async def test_eight_writers_race_to_the_end(open_meta: OpenMeta, rounds: int) -> None:
    stores = [S3StateStore(open_meta(), bucket="meta", id_case=IdCase.FOLDED) for _ in range(2)]
    ends = {(await race_to_the_end(*stores, writers=8)).status for _ in range(rounds)}
    assert all(end.terminal for end in ends)
