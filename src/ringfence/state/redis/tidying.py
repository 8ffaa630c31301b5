"""Finding runs whose runner is gone, and removing what is left of runs that have expired."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from ringfence.layout import Position
from ringfence.state.codec import decode_record
from ringfence.state.record import RunRecord
from ringfence.state.redis import scripts
from ringfence.state.redis.index import AT_ONCE
from ringfence.state.redis.keys import AppKeys, Keys, RunKeys, micros, score
from ringfence.state.redis.scripts import Command
from ringfence.state.redis.server import Server

if TYPE_CHECKING:
    from ringfence.providers.base import Clock

BUCKETS_AT_ONCE: Final = 64


class Tidying:
    """What nobody asks for by name.

    Args:
        server: Where the runs are.
        keys: Under which keys.
        clock: The time now, in UTC.
        grace: Milliseconds that keys stay after what they are for.
    """

    def __init__(self, server: Server, keys: Keys, *, clock: Clock, grace: int) -> None:
        self._server = server
        self._keys = keys
        self._clock = clock
        self._grace = grace

    async def abandoned(self, now: datetime, limit: int) -> tuple[RunRecord, ...]:
        """See :meth:`ringfence.state.base.StateStore.abandoned`. Four round trips, and one for each
        hundred runs that are found.
        """
        found: list[RunRecord] = []
        leases = self._keys.all_leases
        for start in range(0, len(leases), BUCKETS_AT_ONCE):
            some = leases[start : start + BUCKETS_AT_ONCE]
            for run, record in await self._overdue(some, now, limit):
                if record is None:
                    await self._drop([run])
                elif record.stale(now) and not record.expired(self._clock()):
                    found.append(record)
            if len(found) >= limit:
                break
        return tuple(found[:limit])

    async def purge(self, limit: int) -> int:
        """See :meth:`ringfence.state.base.StateStore.purge`. One round trip, and three for each app
        that has something to remove.
        """
        purged, now = 0, score(self._clock())
        due = self._keys.all_due
        told = await self._server.ask_all(
            [("ZRANGEBYSCORE", key, "-inf", now, "LIMIT", 0, limit) for key in due],
            what="find apps with expired runs",
        )
        for app in (self._keys.of_app(app.decode()) for apps in told for app in apps):
            if purged >= limit:
                break
            purged += await self._purge(app, now, limit - purged)
        return purged

    async def _purge(self, app: AppKeys, now: int, limit: int) -> int:
        found: Sequence[bytes] = await self._server.ask(
            ("ZRANGEBYSCORE", app.expiring, "-inf", now, "LIMIT", 0, limit),
            what="find expired runs",
        )
        positions = [each.decode() for each in found]
        await self._drop([self._keys.at(Position(each)) for each in positions])
        removed = 0
        # Without positions too: it notes when the app's next run is due.
        for start in range(0, max(1, len(positions)), AT_ONCE):
            some = positions[start : start + AT_ONCE]
            command = scripts.PURGED(
                app.index, app.expiring, app.due, now, self._grace, app.app, *some
            )
            removed += await self._server.ask(command, what="remove expired runs")
        return removed

    async def _drop(self, runs: Sequence[RunKeys]) -> None:
        now = micros(self._clock())
        for start in range(0, len(runs), AT_ONCE):
            commands = [
                scripts.DROP(run.record, run.events, run.leases, now, run.segment)
                for run in runs[start : start + AT_ONCE]
            ]
            await self._server.ask_all(commands, what="remove expired runs")

    async def _overdue(
        self, leases: Sequence[str], now: datetime, limit: int
    ) -> list[tuple[RunKeys, RunRecord | None]]:
        """The runs of these buckets whose lease is over by the index, with their records."""
        told = await self._server.ask_all(
            [("ZRANGEBYSCORE", key, "-inf", f"({score(now)}", "LIMIT", 0, limit) for key in leases],
            what="find runs without a runner",
        )
        runs = [self._keys.of_segment(each.decode()) for some in told for each in some][:limit]
        found: list[tuple[RunKeys, RunRecord | None]] = []
        for start in range(0, len(runs), AT_ONCE):
            some = runs[start : start + AT_ONCE]
            reads: list[Command] = [("HGET", run.record, "j") for run in some]
            records = await self._server.ask_all(
                reads, what="find runs without a runner", large=True
            )
            found += [
                (run, None if data is None else decode_record(data, run.record)[0])
                for run, data in zip(some, records, strict=True)
            ]
        return found
