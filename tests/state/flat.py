"""Following very many events in memory that does not grow."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime
from pathlib import Path

from ringfence.runs import Complete, Start, change_run
from ringfence.state.base import StateStore
from ringfence.state.event import MAX_BATCH
from ringfence.testing._runs import new_record

MOST_GROWTH = 24 << 20
"""Bytes that the process may take more at the end than after the first tenth. A million events in
memory would take hundreds of millions."""


async def check_memory_stays_flat(writer: StateStore, reader: StateStore, events: int) -> None:
    """Appends so many events, and follows them at the same time and once more afterwards."""
    run = (await writer.create(new_record())).id
    following = asyncio.create_task(_follow(reader, run, events))
    payload = {"text": "x" * 60, "n": 0}
    for start in range(0, events, MAX_BATCH):
        batch = [payload | {"n": n} for n in range(start, min(start + MAX_BATCH, events))]
        await writer.append(run, batch)
    now = datetime.now(UTC)
    record = await change_run(writer, run, Start(), lambda: now)
    await change_run(writer, record, Complete(0), lambda: now)
    live = await following
    again = await _follow(reader, run, events)
    assert live <= MOST_GROWTH, f"grew by {live:,} bytes while events came"
    assert again <= MOST_GROWTH, f"grew by {again:,} bytes while events were read"


async def _follow(store: StateStore, run: str, events: int) -> int:
    """How much more memory is taken at the end than after the first tenth."""
    seen, early = 0, 0
    async for event in store.tail(run):
        seen += 1
        assert event.sequence == seen
        assert event.payload["n"] == seen - 1
        if seen == events // 10:
            early = _resident()
    assert seen == events
    return _resident() - early


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
