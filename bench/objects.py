"""Objects through a workspace's store, beside the same engine through other clients.

The bound is against a bare obstore store with the very same session credentials: what Ringfence
adds. A bare store with the installation's own keys is beside it: what the fence costs the engine.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench.context import Context, Keys, NotMeasurable
from bench.figures import Figure, Unit, compared, is_decided
from bench.measure import Rounds, Values, interleave, without_collections
from bench.movers import AsyncMover, Mover
from bench.peers import object_stores
from ringfence.scope import Area, Scope
from ringfence.storage import Storage

OURS: Final = "workspace store"
SAME_KEYS: Final = "obstore, same session"
MASTER_KEYS: Final = "obstore, static keys"
OTHER_ROUNDS: Final = Rounds(5, 5)


@dataclass(frozen=True, slots=True)
class Load:
    """Objects of one size, so many at a time; ``count`` of them make a round."""

    label: str
    size: int
    in_flight: int
    count: int
    rounds: Rounds

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.label[:-3]} {self.label[-3:]}, {self.in_flight} in flight"

    def keys(self, mover: Mover, count: int) -> list[str]:
        """Keys of this load and client alone, so that no two writers meet on one."""
        slug = mover.name.replace(",", "").replace(" ", "-")
        return [f"{slug}/{self.label}-{self.in_flight}/{number:03d}" for number in range(count)]


LOADS: Final = (
    Load("1KiB", 1 << 10, 1, 64, Rounds(20, 80)),
    Load("1KiB", 1 << 10, 32, 256, Rounds(20, 80)),
    Load("8MiB", 8 << 20, 1, 4, Rounds(15, 40)),
    # A round is 256 MiB and the engine frees nothing meanwhile, so there are few of them.
    Load("8MiB", 8 << 20, 32, 32, Rounds(7, 12)),
)


def run(context: Context) -> Iterator[Figure]:
    """The figures of every size and number in flight."""
    absent = object_stores.missing()
    if absent and not context.quick:
        raise NotMeasurable(f"Not installed: {', '.join(absent)}. `make bench` installs them.")
    with _movers(context, absent) as (bare, others):
        for load in LOADS:
            yield from _put_and_get(context, load, bare, others)


@contextmanager
def _movers(context: Context, absent: Sequence[str]) -> Iterator[tuple[list[Mover], list[Mover]]]:
    """Ours and the bare stores; and the clients beside them."""
    engine = context.s3
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            storage = runner.run(stack.enter_async_context(Storage(context.settings)))
            ours, keys, prefix = runner.run(_workspace(storage, runner))
            bare: list[Mover] = [
                ours,
                object_stores.obstore(SAME_KEYS, engine, keys, prefix, runner),
                object_stores.obstore(MASTER_KEYS, engine, engine.keys, prefix, runner),
            ]
            others = [
                build(engine, keys, prefix, runner, stack)
                for package, build in object_stores.OTHERS.items()
                if package not in absent
            ]
            yield bare, others
        finally:
            runner.run(stack.aclose())


async def _workspace(storage: Storage, runner: asyncio.Runner) -> tuple[Mover, Keys, str]:
    workspace = await storage.open(Scope("bench", "objects"))
    store = workspace.app
    (credential, *_) = await storage.vend(workspace.scope)

    async def get(key: str) -> Any:
        return await (await store.get_async(key)).bytes_async()

    mover = AsyncMover(OURS, runner, store.put_async, get)
    return mover, Keys.of(credential), workspace.grant(Area.APP).prefix


def _put_and_get(
    context: Context, load: Load, bare: list[Mover], others: list[Mover]
) -> Iterator[Figure]:
    body = os.urandom(load.size)
    for mover in (*bare, *others):
        _verify(context, mover, load, body)
    for verb in ("put", "get"):
        figure_id = f"objects.{verb}.{load.label}.{load.in_flight}"
        name = f"{verb} {load.words}"
        slices = {mover.name: _slice(context, verb, mover, load, body) for mover in bare}
        values = interleave(
            slices,
            context.rounds(load.rounds.least, load.rounds.most),
            enough=partial(_is_decided, figure_id),
        )
        unit = Unit.PER_SECOND if load.size < 1 << 20 else Unit.MEGABYTES_PER_SECOND
        yield compared(figure_id, name, unit, values, ours=OURS, peer=SAME_KEYS)
        yield compared(f"{figure_id}.static", name, unit, values, ours=OURS, peer=MASTER_KEYS)
        beside = {mover.name: _slice(context, verb, mover, load, body) for mover in others}
        values = interleave(
            {OURS: slices[OURS]} | beside,
            context.rounds(OTHER_ROUNDS.least, OTHER_ROUNDS.most),
        )
        for other in others:
            slug = other.name.partition(",")[0]
            yield compared(f"{figure_id}.{slug}", name, unit, values, ours=OURS, peer=other.name)


def _is_decided(figure_id: str, values: Values) -> bool:
    return is_decided(figure_id, values[OURS], values[SAME_KEYS])


def _verify(context: Context, mover: Mover, load: Load, body: bytes) -> None:
    """Writes every object that is read later, and checks that one comes back as it was."""
    keys = load.keys(mover, context.times(load.count))
    mover.put_all(keys, body, load.in_flight)
    if mover.get_all(keys[:1], 1) != body:
        raise NotMeasurable(f"{mover.name} did not read back what it wrote.")


def _slice(
    context: Context, verb: str, mover: Mover, load: Load, body: bytes
) -> Callable[[], float]:
    """One round of one client: objects, or for large ones megabytes, a second."""
    count = context.times(load.count)
    keys = load.keys(mover, count)
    amount = count if load.size < 1 << 20 else count * load.size / 1e6

    def measure() -> float:
        with without_collections():
            began = time.perf_counter()
            if verb == "put":
                mover.put_all(keys, body, load.in_flight)
            else:
                mover.get_all(keys, load.in_flight)
            return amount / (time.perf_counter() - began)

    return measure
