"""Lines a second through a run's log, beside putting the same bytes with a bare obstore store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from bench.context import Context, Keys
from bench.figures import Figure, Unit, compared
from bench.measure import interleave, without_collections
from bench.peers.object_stores import bare_store
from ringfence.logs import SEGMENT_BYTES, LogEntry, LogWriter
from ringfence.scope import Area, Scope
from ringfence.storage import Storage

if TYPE_CHECKING:
    from obstore.store import ObjectStore

OURS: Final = "LogWriter"
PEER: Final = "obstore, same bytes in 1 MiB puts"
TEXT: Final = "2026-01-01 worker 7: stored batch 1234 of 5678, 42 rows, 0 rejected, took 17 ms"
A_MILLISECOND: Final = 10
PACED_LINES: Final = 10_000
FLAT_OUT_LINES: Final = 100_000
ROUNDS: Final = 7


def run(context: Context) -> Iterator[Figure]:
    """The figures of logs: at a steady pace, and as fast as it goes."""
    with asyncio.Runner() as runner:
        storage = runner.run(Storage(context.settings).__aenter__())
        try:
            ours = storage.open(Scope("bench", "logs", "log-bench")).logs
            bare = runner.run(_bare(context, storage))
            for paced, lines in ((True, PACED_LINES), (False, FLAT_OUT_LINES)):
                yield _lines(context, runner, (ours, bare), context.times(lines), paced=paced)
        finally:
            runner.run(storage.close())


def _lines(
    context: Context,
    runner: asyncio.Runner,
    stores: tuple[ObjectStore, ObjectStore],
    lines: int,
    *,
    paced: bool,
) -> Figure:
    def candidate(work: Callable[[], Awaitable[None]]) -> Callable[[], float]:
        async def all_of_it() -> None:
            await work()

        def measure() -> float:
            with without_collections():
                began = time.perf_counter()
                runner.run(all_of_it())
                return lines / (time.perf_counter() - began)

        return measure

    ours, bare = stores
    values = interleave(
        {
            OURS: candidate(lambda: _through_writer(ours, lines, paced=paced)),
            PEER: candidate(lambda: _by_hand(bare, lines, paced=paced)),
        },
        context.rounds(ROUNDS, ROUNDS),
    )
    pace = f"{A_MILLISECOND} lines a ms offered" if paced else "as fast as it goes"
    return compared(
        f"logs.{'paced' if paced else 'flat-out'}",
        f"log lines, {pace}",
        Unit.PER_SECOND,
        values,
        ours=OURS,
        peer=PEER,
    )


async def _bare(context: Context, storage: Storage) -> ObjectStore:
    workspace = storage.open(Scope("bench", "logs", "by-hand"))
    (credential, *_) = await storage.vend(workspace.scope)
    prefix = workspace.grant(Area.LOGS).prefix
    return bare_store(context.s3, Keys.of(credential), context.s3.buckets.log, prefix)


async def _through_writer(store: ObjectStore, lines: int, *, paced: bool) -> None:
    writer = LogWriter(store)
    async for _ in _pace(lines, paced=paced):
        await writer.append(LogEntry(datetime.now(UTC), "stdout", TEXT))
    await writer.close()
    assert writer.stored == lines


async def _by_hand(store: ObjectStore, lines: int, *, paced: bool) -> None:
    """Puts lines that were encoded before, a segment at a time and in the background."""
    line = json.dumps(LogEntry(datetime.now(UTC), "stdout", TEXT).to_json()).encode() + b"\n"
    prefix = f"{time.time_ns()}"
    buffer = bytearray()
    async with asyncio.TaskGroup() as puts:
        async for number in _pace(lines, paced=paced):
            buffer += line
            if len(buffer) >= SEGMENT_BYTES:
                puts.create_task(_put(store, f"{prefix}/{number:010d}", bytes(buffer)))
                buffer.clear()
        puts.create_task(_put(store, f"{prefix}/last", bytes(buffer)))


async def _put(store: ObjectStore, key: str, body: bytes) -> None:
    await store.put_async(key, body)


async def _pace(lines: int, *, paced: bool) -> AsyncIterator[int]:
    """Numbers for as many lines: ten a millisecond, or without a pause."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(lines):
        if paced and number % A_MILLISECOND == 0:
            due = began + number / A_MILLISECOND / 1000
            await asyncio.sleep(max(0.0, due - loop.time()))
        yield number
