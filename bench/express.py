"""Run records on S3 Express: what the newest page of an app costs in requests.

A directory bucket lists in no order and knows no start-after, so a list that is not bounded would
read the whole index. Requests are counted on a bucket in memory that lists as Express does: they
are the same on every machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from tests.state.doubles import Counting, Unordered, as_store

from bench.context import Context
from bench.figures import Figure, count
from ringfence.layout import encode_id, run_index_key, run_position
from ringfence.state.s3 import S3StateStore
from ringfence.testing.state import new_record

if TYPE_CHECKING:
    from obstore.store import MemoryStore

PAGE: Final = 100
RUNS: Final = 100_000
APP: Final = "app"
APART: Final = {
    "80 s": timedelta(seconds=80),
    "a second": timedelta(seconds=1),
    "10 ms": timedelta(milliseconds=10),
}
"""How far apart the runs are: it decides over how many parts of the index a page lies. 80 s are
the worst: more than 1,000 runs in 28 hours, and hardly two in 100 seconds."""
_LAST: Final = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=1_767_399_999_999_999)
"""When the newest run was made: as its part of the index, of some 28 hours, is about to be full,
which is when a page takes the most lists."""


def run(context: Context) -> Iterator[Figure]:
    """The figures of Express."""
    runs = max(PAGE, context.times(RUNS))
    for name, apart in APART.items():
        context.say(f"express: filling a bucket with {runs:,} runs, {name} apart")
        requests, lists = asyncio.run(_costs(runs, apart))
        figure = f"express.page.{name.replace(' ', '-')}"
        what = f"S3 Express: requests of the newest {PAGE} of {RUNS:,} runs, {name} apart"
        yield count(figure, f"{what} ({lists} of them lists)", requests)


async def _costs(runs: int, apart: timedelta) -> tuple[int, int]:
    """All requests of the newest page, and how many of them are lists."""
    from obstore.store import MemoryStore

    bucket = MemoryStore()
    await _fill(bucket, runs, apart)
    counted = Counting(Unordered(bucket))
    store = S3StateStore(as_store(counted), bucket="meta", ordered=False)
    page = await store.list(APP, limit=PAGE)
    assert len(page.records) == PAGE
    assert page.records[0].created_at == _LAST
    return sum(counted.requests.values()), counted.requests["list"]


async def _fill(bucket: MemoryStore, runs: int, apart: timedelta) -> None:
    """An entry for each run, and records for the newest page."""
    store = S3StateStore(bucket, bucket="meta")
    for number in range(runs):
        at = _LAST - (runs - 1 - number) * apart
        if number >= runs - PAGE - 1:
            await store.create(new_record(APP, at=at))
        else:
            run_id = encode_id(f"run-{number:06d}")
            await bucket.put_async(run_index_key(encode_id(APP), run_position(at, run_id)), b"")
