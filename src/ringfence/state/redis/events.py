"""The events of runs: appending, reading, waiting, acknowledging."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ringfence.state.base import run_not_found
from ringfence.state.event import (
    MAX_READ_BYTES,
    Batch,
    Event,
    batch_mismatch,
    no_such_event,
)
from ringfence.state.redis import scripts
from ringfence.state.redis.keys import Keys, from_micros, micros
from ringfence.state.redis.server import Server
from ringfence.state.tailing import Arrival, Polling

if TYPE_CHECKING:
    from ringfence.providers.base import Clock

BLOCK_MS: Final = 1000
"""How long one command waits for events: a connection that broke unseen costs as much."""

_LAST: Final = 2**53
"""More events than a run has; what a script counts exactly."""


class RunEvents:
    """The events of every run.

    Args:
        server: Where they are.
        keys: Under which keys.
        clock: The time now, in UTC.
    """

    def __init__(self, server: Server, keys: Keys, *, clock: Clock) -> None:
        self._server = server
        self._keys = keys
        self._clock = clock

    async def append(self, run_id: str, batch: Batch) -> range:
        """See :meth:`ringfence.state.base.StateStore.append`. One round trip.

        A batch without an id is never sent twice: whether it was stored is not known where the
        answer is lost.
        """
        run, now = self._keys.run(run_id), micros(self._clock())
        head = (run.record, run.events, now, batch.id or "", batch.digest)
        command = scripts.APPEND(*head, *batch.payloads)
        first: int = await self._server.ask(
            command, what="append events", replay=batch.id is not None
        )
        if first == 0:
            raise run_not_found(run_id)
        if first < 0:
            raise batch_mismatch(batch.id or "")
        return range(first, first + len(batch))

    async def read(self, run_id: str, after: int, limit: int) -> tuple[Event, ...]:
        """See :meth:`ringfence.state.base.StateStore.events`. One round trip."""
        run, now = self._keys.run(run_id), micros(self._clock())
        command = scripts.EVENTS(
            run.record, run.events, now, min(after, _LAST), limit, MAX_READ_BYTES
        )
        found: bytes | None = await self._server.ask(command, what="read events", large=True)
        if found is None:
            raise run_not_found(run_id)
        return tuple(_events(found, after))

    async def acknowledge(self, run_id: str, consumer: str, sequence: int) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledge`. One round trip."""
        run, now = self._keys.run(run_id), micros(self._clock())
        command = scripts.ACKNOWLEDGE(run.record, now, self._keys.consumer(consumer), sequence)
        highest: int = await self._server.ask(command, what="acknowledge events")
        if highest == -1:
            raise run_not_found(run_id)
        if highest == -2:
            raise no_such_event(sequence)
        return highest

    async def acknowledged(self, run_id: str, consumer: str) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledged`. One round trip."""
        run, field = self._keys.run(run_id), self._keys.consumer(consumer)
        version, expires, known = await self._server.ask(
            ("HMGET", run.record, "v", "x", field), what="read how far a consumer has come"
        )
        if version is None or (expires is not None and from_micros(expires) <= self._clock()):
            raise run_not_found(run_id)
        return int(known or 0)

    def arrival(self, run_id: str) -> Arrival:
        """Waits for a run's next event, or its end: on a connection that blocks, where one is to be
        had, else by looking now and then.
        """
        polling = Polling()

        async def wait(after: int) -> None:
            key, begin = self._keys.run(run_id).events, f"{min(after, _LAST)}-0"
            command = ("XREAD", "COUNT", 1, "BLOCK", BLOCK_MS, "STREAMS", key, begin)
            while True:
                try:
                    if await self._server.wait(command, BLOCK_MS / 1000, what="wait for events"):
                        return
                except BlockingIOError:
                    await polling(after)
                    return

        return wait


def _events(found: bytes, after: int) -> list[Event]:
    """The lines that the script returns. Their numbers leave none out."""
    events: list[Event] = []
    if not found:
        return events
    last, at = b"", from_micros(b"0")
    for number, line in enumerate(found.split(b"\n"), after + 1):
        time, _, payload = line.partition(b":")
        if time != last:
            last, at = time, from_micros(time)
        events.append(Event(number, at, json.loads(payload)))
    return events
