"""Events of runs in the meta bucket, on conditional writes alone.

::

    execution/runs/{run}/events/{number of its first event}    a group of batches, never changed

The key of the next group follows from the group before, and is created only if it is absent: so two
writers never number alike, and no number is left out. What one process appends to a run while a
group is being stored goes into the next one together, so that many writers cost few requests.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ringfence.errors import LayoutMismatch, RingfenceError, StorageUnreachable
from ringfence.layout import EncodedId, Key, parse_events_key, run_events_key, run_events_prefix
from ringfence.state.event import (
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_READ_BYTES,
    Batch,
    Event,
    batch_mismatch,
    to_json,
)
from ringfence.state.s3_objects import RunObjects

if TYPE_CHECKING:
    from ringfence.providers.base import Clock

FORMAT: Final = 1
MAX_GROUP_BYTES: Final = 2 * MAX_BATCH_BYTES + (1 << 20)
"""What is larger was not written by Ringfence."""

READS_AT_ONCE: Final = 16
EXISTS_FOR: Final = timedelta(seconds=30)
"""How long a run that was there is taken to be there, before it is looked at again."""

_CHAINS: Final = 256
_SPURIOUS: Final = 5


class _Group(NamedTuple):
    """One stored object."""

    write: str
    at: datetime
    first: int
    batches: tuple[tuple[str | None, str, int], ...]
    payloads: tuple[Any, ...]

    @property
    def after(self) -> int:
        return self.first + len(self.payloads)


@dataclass(slots=True)
class _Waiting:
    batch: Batch
    told: asyncio.Future[range]


@dataclass(slots=True)
class _Chain:
    """What this process knows of a run's events. ``after`` is the number of the next, if known."""

    after: int | None = None
    knows_batches: bool = False
    batches: dict[str, tuple[str, range]] = field(default_factory=dict)
    seen_at: datetime | None = None
    waiting: list[_Waiting] = field(default_factory=list)
    storing: asyncio.Task[None] | None = None

    def learn(self, group: _Group) -> None:
        """Takes a stored group for known."""
        number = group.first
        for batch, digest, count in group.batches:
            if batch is not None:
                self.batches[batch] = digest, range(number, number + count)
            number += count
        self.after = number

    def numbers_of(self, batch: Batch) -> range | None:
        """The numbers of a batch that is known, or None."""
        known = self.batches.get(batch.id) if batch.id is not None else None
        if known is None:
            return None
        digest, numbers = known
        if digest != batch.digest:
            raise batch_mismatch(batch.id or "")
        return numbers


class RunEvents:
    """The events of every run in a bucket.

    Args:
        objects: The bucket.
        ordered: Whether the engine lists keys in order and knows start-after.
        clock: The time now, in UTC.
        token: Random text, new with each call: a writer knows its own write by it.
    """

    def __init__(
        self, objects: RunObjects, *, ordered: bool, clock: Clock, token: Callable[[], str]
    ) -> None:
        self._objects = objects
        self._ordered = ordered
        self._clock = clock
        self._token = token
        self._chains: OrderedDict[EncodedId, _Chain] = OrderedDict()

    def begin(self, run: EncodedId) -> None:
        """Notes that a run has just been created, and so has no events."""
        self._chains[run] = _Chain(after=1, knows_batches=True, seen_at=self._clock())
        self._trim()

    def forget(self, run: EncodedId) -> None:
        """Takes back what was known of a run."""
        self._chains.pop(run, None)

    async def append(
        self, run: EncodedId, batch: Batch, exists: Callable[[], Awaitable[object]]
    ) -> range:
        """See :meth:`ringfence.state.base.StateStore.append`. One write, when nobody is in the way.

        Args:
            exists: Raises RunNotFound where the run is not there; asked now and then.
        """
        chain = self._chain(run)
        now = self._clock()
        if chain.seen_at is None or now - chain.seen_at > EXISTS_FOR:
            await exists()
            chain.seen_at = now
        told: asyncio.Future[range] = asyncio.get_running_loop().create_future()
        chain.waiting.append(_Waiting(batch, told))
        if chain.storing is None:
            # A task of its own: a caller that is cancelled must not take others' events along.
            chain.storing = asyncio.create_task(self._store_all(run, chain))
        return await told

    async def read(self, run: EncodedId, after: int, limit: int) -> tuple[Event, ...]:
        """The events after a number. One list request, and a read for each group."""
        groups = await self._keys(run, after + 1 - MAX_BATCH, after + limit)
        begin = max((i for i, group in enumerate(groups) if group[0] <= after + 1), default=0)
        found: list[Event] = []
        size = 0
        for start in range(begin, len(groups), READS_AT_ONCE):
            wanted = _within(groups[start : start + READS_AT_ONCE], MAX_READ_BYTES - size)
            for group in await self._read_all(run, [first for first, _ in wanted]):
                events = enumerate(group.payloads, group.first)
                found += [Event(n, group.at, payload) for n, payload in events if n > after]
            size += sum(bytes_ for _, bytes_ in wanted)
            if size >= MAX_READ_BYTES:
                break
        return tuple(found[:limit])

    async def remove(self, run: EncodedId) -> None:
        """Removes all of a run's events."""
        self.forget(run)
        for first, _ in await self._keys(run):
            await self._objects.remove(run_events_key(run, first))

    async def close(self) -> None:
        """Waits for what is being stored."""
        storing = [chain.storing for chain in self._chains.values() if chain.storing is not None]
        await asyncio.gather(*storing, return_exceptions=True)

    # --- writing -----------------------------------------------------------------------------

    def _chain(self, run: EncodedId) -> _Chain:
        chain = self._chains.setdefault(run, _Chain())
        self._chains.move_to_end(run)
        self._trim()
        return chain

    def _trim(self) -> None:
        """Forgets what was used longest ago, unless something is being stored there."""
        while len(self._chains) > _CHAINS:
            run, chain = self._chains.popitem(last=False)
            if chain.storing is not None:
                self._chains[run] = chain
                return

    async def _store_all(self, run: EncodedId, chain: _Chain) -> None:
        try:
            while chain.waiting:
                group = _take(chain.waiting)
                try:
                    await self._store(run, chain, group)
                except Exception as error:  # noqa: BLE001 - it is told to whoever waits
                    self.forget(run)  # what is there now is to be looked at again
                    _tell_all(group, error)
        except asyncio.CancelledError as error:
            _tell_all(chain.waiting, StorageUnreachable("The events were not stored: closed."))
            raise error from None
        finally:
            chain.storing = None

    async def _store(self, run: EncodedId, chain: _Chain, waiting: Sequence[_Waiting]) -> None:
        write, refused = self._token(), 0
        while True:
            await self._catch_up(run, chain, any(each.batch.id is not None for each in waiting))
            assert chain.after is not None  # noqa: S101 - it has just been found out
            fresh = _fresh(chain, waiting)
            if not fresh:
                return
            key = run_events_key(run, chain.after)
            at = self._clock()
            body = _encode(write, at, chain.after, [each.batch for each in fresh])
            if await self._objects.put(key, body, "create") is not None:
                _settle(chain, fresh)
                return
            there = await self._read(key)
            if there is None:  # the engine says that it is there, and it is not (S3's 409)
                refused += 1
                if refused > _SPURIOUS:
                    raise self._objects.undecided(f"the events of run {run}")
                continue
            if there.write == write:  # the answer was lost, and the request repeated
                _settle(chain, fresh)
                return
            chain.learn(there)

    async def _catch_up(self, run: EncodedId, chain: _Chain, all_batches: bool) -> None:
        """Learns where the events end, and, where it matters, which batches there are."""
        if chain.after is not None and (chain.knows_batches or not all_batches):
            return
        firsts = [first for first, _ in await self._keys(run)]
        chain.batches.clear()
        for group in await self._read_all(run, firsts if all_batches else firsts[-1:]):
            chain.learn(group)
        chain.after = chain.after if firsts else 1
        chain.knows_batches = all_batches or not firsts

    # --- reading -----------------------------------------------------------------------------

    async def _keys(
        self, run: EncodedId, least: int = 0, most: int = sys.maxsize
    ) -> list[tuple[int, int]]:
        """The first numbers of groups, in order, with their objects' sizes; from ``least`` to
        ``most``, where the engine's order allows it."""
        offset = run_events_key(run, least - 1) if self._ordered and least > 1 else None
        found: list[tuple[int, int]] = []
        keys = self._objects.keys(run_events_prefix(run), offset=offset)
        async with aclosing(keys):
            async for key, size in keys:
                first = parse_events_key(key)
                if first is not None and first > most and self._ordered:
                    break
                found += [(first, size)] if first is not None and first <= most else []
        return sorted(found)

    async def _read_all(self, run: EncodedId, firsts: Iterable[int]) -> list[_Group]:
        gate = asyncio.Semaphore(READS_AT_ONCE)

        async def read(first: int) -> _Group | None:
            async with gate:
                return await self._read(run_events_key(run, first))

        found = await asyncio.gather(*(read(first) for first in firsts))
        return [group for group in found if group is not None]

    async def _read(self, key: Key) -> _Group | None:
        found = await self._objects.fetch(key, MAX_GROUP_BYTES)
        return None if found is None else _decode(found[0], key)


def _take(waiting: list[_Waiting]) -> list[_Waiting]:
    """The batches that go into one group: in order, as many as it holds, at least one."""
    events = size = count = 0
    for each in waiting:
        events += len(each.batch)
        size += sum(map(len, each.batch.payloads))
        if count and (events > MAX_BATCH or size > MAX_BATCH_BYTES):
            break
        count += 1
    taken = waiting[:count]
    del waiting[:count]
    return taken


def _fresh(chain: _Chain, waiting: Sequence[_Waiting]) -> list[_Waiting]:
    """Those that are still to be stored; the others are told what they have."""
    fresh: list[_Waiting] = []
    ids: set[str] = set()
    for each in waiting:
        try:
            numbers = chain.numbers_of(each.batch)
        except RingfenceError as error:
            _tell_all([each], error)
            continue
        if numbers is not None:
            _tell(each, numbers)
        elif each.batch.id in ids:
            _again(chain, each)
        else:
            fresh.append(each)
            ids |= {each.batch.id} if each.batch.id is not None else set()
    return fresh


def _again(chain: _Chain, each: _Waiting) -> None:
    """The same id twice in one group: it waits for the next one, where the first is known."""
    chain.waiting.append(each)


def _settle(chain: _Chain, stored: Sequence[_Waiting]) -> None:
    number = chain.after or 1
    for each in stored:
        numbers = range(number, number + len(each.batch))
        number = numbers.stop
        if each.batch.id is not None:
            chain.batches[each.batch.id] = each.batch.digest, numbers
        _tell(each, numbers)
    chain.after = number


def _tell(each: _Waiting, numbers: range) -> None:
    if not each.told.done():
        each.told.set_result(numbers)


def _tell_all(waiting: Iterable[_Waiting], error: Exception) -> None:
    for each in waiting:
        if not each.told.done():
            each.told.set_exception(error)


def _within(groups: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The first groups, up to the one with which their sizes pass ``size``."""
    wanted: list[tuple[int, int]] = []
    for group in groups:
        if size <= 0:
            break
        wanted.append(group)
        size -= group[1]
    return wanted


def _encode(write: str, at: datetime, first: int, batches: Sequence[Batch]) -> bytes:
    head = {
        "v": FORMAT,
        "write": write,
        "at": at.isoformat(timespec="microseconds"),
        "first": first,
        "batches": [(batch.id, batch.digest, len(batch)) for batch in batches],
    }
    # The payloads are JSON already.
    payloads = ",".join(payload for batch in batches for payload in batch.payloads)
    text = to_json(head)
    return f'{text[:-1]},"payloads":[{payloads}]}}'.encode("ascii")


def _decode(data: bytes, key: Key) -> _Group:
    try:
        stored = json.loads(data)
        if stored["v"] > FORMAT:
            raise LayoutMismatch(
                f"The events at {key} were written by a newer Ringfence (format {stored['v']}; "
                f"this one reads up to {FORMAT}).",
                hint="Upgrade Ringfence on this machine.",
            )
        batches = tuple((id_, str(digest), int(n)) for id_, digest, n in stored["batches"])
        payloads = tuple(stored["payloads"])
        if sum(count for _, _, count in batches) != len(payloads):
            raise ValueError("its batches are not its events")
        at = datetime.fromisoformat(stored["at"])
        return _Group(str(stored["write"]), at, int(stored["first"]), batches, payloads)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RingfenceError(
            f"The events at {key} cannot be read ({type(error).__name__}).",
            hint="Restore the object from a backup.",
        ) from None
