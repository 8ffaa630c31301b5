"""Logs: nothing lost, nothing out of order, bounded, whatever storage does in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.exceptions import GenericError, PermissionDeniedError
from obstore.store import MemoryStore

from ringfence.errors import AccessDenied, RingfenceError, StorageUnreachable
from ringfence.logs import SEGMENT_BYTES, LogEntry, LogWriter, follow_log, read_log

START = datetime(2026, 1, 1, tzinfo=UTC)


def entry(number: int, text: str = "", stream: str = "stdout") -> LogEntry:
    return LogEntry(START + timedelta(milliseconds=number), stream, text or f"line {number}")


async def everything(rows: AsyncIterator[LogEntry]) -> list[LogEntry]:
    return [row async for row in rows]


class Troubled:
    """A store whose writes fail as told; all else is the store's own."""

    def __init__(self, failures: list[Exception]) -> None:
        self.store = MemoryStore()
        self.failures = failures
        self.puts = 0

    async def put_async(self, *args: Any, **options: Any) -> Any:
        self.puts += 1
        if self.failures:
            raise self.failures.pop(0)
        return await self.store.put_async(*args, **options)


def unreachable() -> Exception:
    return GenericError(
        "Generic S3 error: Error performing PUT http://127.0.0.1:1/b/k in 1ms - HTTP error: error "
        "sending request\n\nDebug source: ..."
    )


def denied() -> Exception:
    return PermissionDeniedError(
        "The operation lacked the necessary privileges to complete for path k: Error performing "
        "PUT http://127.0.0.1:1/b/k in 1ms - Server returned non-2xx status code: 403 Forbidden: "
        "<Error><Code>AccessDenied</Code></Error>"
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.text(max_size=80), st.sampled_from(["stdout", "stderr", "log"])), max_size=60
    )
)
def test_what_is_written_is_read_in_order(lines: list[tuple[str, str]]) -> None:
    rows = [
        LogEntry(START + timedelta(milliseconds=n), stream, text)
        for n, (text, stream) in enumerate(lines)
    ]

    async def round_trip() -> list[LogEntry]:
        store = MemoryStore()
        writer = LogWriter(store, flush_seconds=0)
        for row in rows:
            await writer.append(row)
        await writer.close()
        assert writer.stored == len(rows)
        return await everything(read_log(store))

    assert asyncio.run(round_trip()) == rows


async def test_a_lone_surrogate_does_not_lose_the_line() -> None:
    store = MemoryStore()
    writer = LogWriter(store)
    await writer.append(entry(1, "caf\udce9"))
    await writer.close()
    (row,) = await everything(read_log(store))
    assert "\\udce9" in row.text


async def test_fields_level_and_partial_survive() -> None:
    store = MemoryStore()
    writer = LogWriter(store, clock=lambda: START)
    writer.log("info", "stored", {"invoice": 1, "who": "ä"})
    await writer.append(LogEntry(START, "stdout", "half a li", partial=True))
    await writer.close()
    logged, cut = await everything(read_log(store))
    assert (logged.level, logged.stream, logged.fields) == (
        "info",
        "log",
        {"invoice": 1, "who": "ä"},
    )
    assert cut.partial


async def test_many_lines_become_few_segments() -> None:
    store = MemoryStore()
    writer = LogWriter(store)
    text = "x" * 1000
    for number in range(5000):
        await writer.append(entry(number, text))
    await writer.close()
    segments = [meta for batch in store.list() for meta in batch]
    assert 5 <= len(segments) <= 12
    assert all(meta["size"] <= SEGMENT_BYTES for meta in segments)
    assert len(await everything(read_log(store))) == 5000


async def test_two_writers_never_meet_and_are_read_by_time() -> None:
    store = MemoryStore()
    writers = [LogWriter(store, clock=lambda: START) for _ in range(2)]
    for number in range(20):
        await writers[number % 2].append(entry(number))
    for writer in writers:
        await writer.close()
    assert [row.text for row in await everything(read_log(store))] == [
        f"line {number}" for number in range(20)
    ]


async def test_an_outage_delays_lines_and_loses_none() -> None:
    store = Troubled([unreachable() for _ in range(3)])
    writer = LogWriter(store, flush_seconds=0, retry_seconds=0.01)  # type: ignore[arg-type]
    for number in range(10):
        await writer.append(entry(number))
    await writer.close()
    assert len(await everything(read_log(store.store))) == 10
    assert store.puts >= 4


async def test_what_cannot_be_stored_is_said_and_counted() -> None:
    store = Troubled([unreachable() for _ in range(1000)])
    writer = LogWriter(store, flush_seconds=0, retry_seconds=0.01)  # type: ignore[arg-type]
    for number in range(3):
        await writer.append(entry(number))
    with pytest.raises(StorageUnreachable, match="3 lines of the log could not be stored"):
        await writer.close(within=0.1)


async def test_a_refusal_ends_the_log_at_once() -> None:
    store = Troubled([denied(), denied()])
    writer = LogWriter(store, flush_seconds=0)  # type: ignore[arg-type]
    await writer.append(entry(1))
    with pytest.raises(AccessDenied, match="1 line"):
        await writer.close()
    assert store.puts == 2, "once more under another key, which nothing can lie at"
    with pytest.raises(AccessDenied):
        await writer.append(entry(2))


async def test_what_was_stored_though_it_seemed_refused_is_read_once() -> None:
    """A cloud that lets nobody replace an object: the first answer was lost, the second a no."""
    memory = MemoryStore()

    class Lossy(Troubled):
        async def put_async(self, key: str, body: bytes, **options: Any) -> Any:
            await memory.put_async(key, body)
            return await super().put_async(key, body, **options)

    writer = LogWriter(Lossy([denied()]), flush_seconds=0)  # type: ignore[arg-type]
    for number in (1, 2):
        await writer.append(entry(number))
    await writer.close()
    keys = [meta["path"] for batch in memory.list() for meta in batch]
    assert len(keys) >= 2
    assert [each async for each in read_log(memory)] == [entry(1), entry(2)]


async def test_a_writer_waits_while_storage_is_behind() -> None:
    gate = asyncio.Event()

    class Slow(Troubled):
        async def put_async(self, *args: Any, **options: Any) -> Any:
            await gate.wait()
            return await super().put_async(*args, **options)

    store = Slow([])
    writer = LogWriter(store, flush_seconds=0, buffer_bytes=2000)  # type: ignore[arg-type]

    async def fill() -> None:
        for number in range(200):
            await writer.append(entry(number, "x" * 100))

    filling = asyncio.create_task(fill())
    await asyncio.sleep(0.05)
    assert not filling.done()
    assert writer._size < 4000
    gate.set()
    await filling
    await writer.close()
    assert len(await everything(read_log(store.store))) == 200


async def test_code_that_cannot_wait_is_bounded_too() -> None:
    writer = LogWriter(MemoryStore(), buffer_bytes=1000)

    def spam() -> None:
        for _ in range(100):
            writer.log("info", "x" * 100, {})

    with pytest.raises(RingfenceError, match="too far behind"):
        spam()
    await writer.close()


async def test_closing_twice_or_unused_is_no_trouble() -> None:
    unused = LogWriter(MemoryStore())
    await unused.close()
    writer = LogWriter(MemoryStore())
    await writer.append(entry(1))
    await writer.close()
    await writer.close()
    with pytest.raises(RingfenceError, match="closed"):
        writer.put(entry(2))


async def test_following_sees_what_comes_and_ends() -> None:
    store, done = MemoryStore(), asyncio.Event()
    writer = LogWriter(store, flush_seconds=0)
    await writer.append(entry(0))
    seen: list[str] = []

    async def follow() -> None:
        async for row in follow_log(store, done, poll_seconds=0.01):
            seen.append(row.text)  # noqa: PERF401 - one by one, as they come

    following = asyncio.create_task(follow())
    for number in range(1, 6):
        await asyncio.sleep(0.02)
        await writer.append(entry(number))
    late = LogWriter(store, flush_seconds=0)
    await late.append(entry(6))
    await late.close()
    await writer.close()
    done.set()
    await asyncio.wait_for(following, 10)
    assert sorted(seen) == sorted(f"line {number}" for number in range(7))


async def test_a_segment_is_json_lines_that_others_can_read() -> None:
    store = MemoryStore()
    writer = LogWriter(store, clock=lambda: START)
    await writer.append(LogEntry(START, "stdout", "hello"))
    await writer.close()
    (meta,) = [meta for batch in store.list() for meta in batch]
    body = bytes((await store.get_async(meta["path"])).bytes())
    assert json.loads(body) == {
        "at": "2026-01-01T00:00:00.000000+00:00",
        "stream": "stdout",
        "text": "hello",
    }


async def test_what_an_execution_plants_in_its_log_hides_no_line() -> None:
    store = MemoryStore()
    writer = LogWriter(store, clock=lambda: START)
    await writer.append(entry(1, "honest"))
    await writer.close()
    (name,) = {meta["path"].partition("/")[0] for meta in store.list().collect()}
    junk = (
        b'not json\n{"at":1}\n[]\n{"at":"2026-01-01T00:00:00","stream":"stdout","text":"x"}\n\xff\n'
    )
    for key in (f"{name}/0000000009.jsonl", f"{name}/other", "x/0000000000.jsonl", "loose"):
        await store.put_async(key, junk)
    found = [line async for line in read_log(store)]
    assert [line.text for line in found if line.stream != "unknown"] == ["honest"]
    assert len([line for line in found if line.stream == "unknown"]) == 5
