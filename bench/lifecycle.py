"""The life cycle of a run in the state store: created, started, finished."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from bench.context import Context
from bench.figures import Figure, Unit, compared
from bench.measure import interleave, without_collections
from bench.peers.run_records import HandWritten
from ringfence.layout import BucketRole
from ringfence.runs import Complete, Start, apply
from ringfence.scope import AccessMode
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.storage import Storage, new_run_id

OURS: Final = "create, start, finish"
PEER: Final = "obstore by hand: put, 2 conditional puts"
ROUNDS: Final = 15
IN_FLIGHT: Final = ((1, 16), (32, 128))
"""Runs in flight, and runs in a round."""


def run(context: Context) -> Iterator[Figure]:
    """The figures of the s3 state store."""
    with asyncio.Runner() as runner:
        storage = runner.run(Storage(context.settings).__aenter__())
        try:
            for in_flight, times in IN_FLIGHT:
                yield _life_cycles(context, storage, runner, in_flight, context.times(times))
        finally:
            runner.run(storage.close())


def _life_cycles(
    context: Context, storage: Storage, runner: asyncio.Runner, in_flight: int, times: int
) -> Figure:
    number = itertools.count()
    by_hand = HandWritten(storage.provider.open_bucket(BucketRole.META), "execution/bench")
    prefix = new_run_id(datetime.now(UTC))

    def candidate(life: Callable[[str], Awaitable[None]]) -> Callable[[], float]:
        def measure() -> float:
            ids = iter([f"{prefix}-{next(number):06d}" for _ in range(times)])
            with without_collections():
                began = time.perf_counter()
                runner.run(_all(life, ids, in_flight))
                return times / (time.perf_counter() - began)

        return measure

    async def ours(run_id: str) -> None:
        await _life(storage.state, run_id)

    values = interleave(
        {OURS: candidate(ours), PEER: candidate(by_hand.life)}, context.rounds(ROUNDS, ROUNDS)
    )
    return compared(
        f"lifecycle.s3.{in_flight}",
        f"{OURS}, {in_flight} in flight",
        Unit.PER_SECOND,
        values,
        ours=OURS,
        peer=PEER,
    )


async def _all(life: Callable[[str], Awaitable[None]], ids: Iterator[str], in_flight: int) -> None:
    async def work() -> None:
        for run_id in ids:
            await life(run_id)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def _life(state: StateStore, run_id: str) -> None:
    now = datetime.now(UTC)
    record = await state.create(
        RunRecord(
            id=run_id,
            app_id="bench",
            user_id="bench",
            mode=AccessMode.INVOKE_WRITE,
            status=RunStatus.PENDING,
            version=1,
            created_at=now,
            updated_at=now,
        )
    )
    for change in (Start(), Complete(exit_code=0)):
        changed = apply(record, change, datetime.now(UTC))
        record = await state.replace(changed, expected_version=record.version)
