"""An app's list of runs: which run stands where, and when it will leave."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from ringfence.errors import RingfenceError
from ringfence.layout import Position
from ringfence.state import scanning
from ringfence.state.base import DEFAULT_PAGE, Page
from ringfence.state.codec import decode_record
from ringfence.state.record import RunRecord
from ringfence.state.redis import scripts
from ringfence.state.redis.keys import Keys, score
from ringfence.state.redis.scripts import Command
from ringfence.state.redis.server import Server
from ringfence.state.scanning import Wanted

if TYPE_CHECKING:
    from ringfence.providers.base import Clock

PATIENCE: Final = timedelta(hours=1)
"""Time after which a position without a record is one that a crash left: no creation takes
that long."""
_PATIENCE: Final = PATIENCE // timedelta(microseconds=1)

AT_ONCE: Final = 100
"""Records that one round trip reads, at most: bounded by 64 KiB each."""

_log = logging.getLogger(__name__)


class RunIndex:
    """The lists of every app.

    Args:
        server: Where they are.
        keys: Under which keys.
        clock: The time now, in UTC.
        grace: Milliseconds that keys stay after what they are for.
    """

    def __init__(self, server: Server, keys: Keys, *, clock: Clock, grace: int) -> None:
        self._server = server
        self._keys = keys
        self._clock = clock
        self._grace = grace

    def position(self, record: RunRecord) -> Position:
        """Where a run stands in its app's list."""
        return self._keys.position(record.id, record.created_at)

    def entering(self, record: RunRecord) -> Command:
        """The command that puts a run into its app's list."""
        app = self._keys.app(record.app_id)
        keys = (app.index, app.expiring, app.orphans)
        return scripts.ENTER(*keys, *self._now(), self.position(record))

    async def leave(self, record: RunRecord) -> None:
        """Takes an entry back at which no record is, if that can be had: readers skip it."""
        app = self._keys.app(record.app_id)
        keys = (app.index, app.expiring, app.orphans)
        command = scripts.LEAVE(*keys, *self._now(), self.position(record))
        await self._have(command, record, "take the entry of a run back")

    async def retire(self, record: RunRecord) -> None:
        """Notes when a run that has ended leaves the list. The run is stored as it is: that this
        fails is no reason to say otherwise. The entry then stays until it is seen without a record.
        """
        if record.expires_at is None:
            return
        app = self._keys.app(record.app_id)
        when = score(record.expires_at)
        keys = (app.index, app.expiring, app.due)
        command = scripts.RETIRE(*keys, *self._now(), self.position(record), when, app.app)
        await self._have(command, record, "note when a run expires")

    async def page(self, wanted: Wanted, limit: int, last: Position | None) -> Page:
        """The next runs after a position. Two round trips for a page of a hundred."""
        found: list[tuple[Position, RunRecord]] = []
        scanned = 0
        while True:
            count = wanted.batch(limit - len(found), scanned, at_once=DEFAULT_PAGE)
            # One more than is read: whether there is a page after this one.
            positions = await self._positions(wanted.app_id, last, count + 1)
            batch, more = positions[:count], len(positions) > count
            if batch:
                hits = await self._read(wanted.app_id, batch)
                found += [hit for hit in hits if wanted.includes(hit[1])]
                scanned, last = scanned + len(batch), batch[-1]
            if len(found) > limit:
                del found[limit:]
                last, more = found[-1][0], True
            if not more or len(found) == limit or scanned >= scanning.MAX_SCAN:
                return Page(tuple(record for _, record in found), last if more else None)

    async def _positions(
        self, app_id: str, after: Position | None, count: int
    ) -> Sequence[Position]:
        """The next positions of an app's list. One round trip."""
        app = self._keys.app(app_id)
        begin = "-" if after is None else f"({after}"
        command = scripts.PAGE(app.index, app.expiring, *self._now(), begin, count)
        found: bytes = await self._server.ask(command, what="list runs")
        return [Position(each) for each in found.decode("ascii").split("\n")] if found else []

    async def _read(
        self, app_id: str, positions: Sequence[Position]
    ) -> Sequence[tuple[Position, RunRecord]]:
        """The records that stand at these positions; none for an entry that a crash left, or whose
        run has expired. A round trip for each hundred.
        """
        found: list[tuple[Position, RunRecord]] = []
        missing: list[Position] = []
        for start in range(0, len(positions), AT_ONCE):
            some = positions[start : start + AT_ONCE]
            keys = [self._keys.at(position).record for position in some]
            reads: list[Command] = [("HGET", key, "j") for key in keys]
            told = await self._server.ask_all(reads, what="list runs", large=True)
            for position, key, data in zip(some, keys, told, strict=True):
                record = None if data is None else decode_record(data, key)[0]
                if record is None:
                    missing.append(position)
                elif self.position(record) == position:
                    found.append((position, record))
        if missing:
            await self._note_missing(app_id, missing)
        return found

    async def _note_missing(self, app_id: str, missing: Sequence[Position]) -> None:
        app = self._keys.app(app_id)
        keys = (app.index, app.expiring, app.orphans)
        command = scripts.MISSING(*keys, *self._now(), _PATIENCE, *missing)
        await self._server.ask(command, what="tidy up")

    async def _have(self, command: Command, record: RunRecord, what: str) -> None:
        try:
            await self._server.ask(command, what=what)
        except RingfenceError as error:
            _log.warning("Run %s: could not %s: %s", record.id, what, error)

    def _now(self) -> tuple[int, int]:
        return score(self._clock()), self._grace


def remaining(until: datetime, now: datetime, grace: int) -> int:
    """Milliseconds, at least 1, until a time comes by the caller's clock, and the grace."""
    return max(1, -((now - until) // timedelta(milliseconds=1))) + grace
