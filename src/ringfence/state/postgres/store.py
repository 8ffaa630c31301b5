"""Runs and their events in PostgreSQL: one round trip an operation."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ringfence.errors import StorageUnreachable
from ringfence.layout import IdCase, encode_id, run_position
from ringfence.state.base import (
    DEFAULT_PAGE,
    DEFAULT_SWEEP,
    Page,
    check_limit,
    parse_cursor,
    run_exists,
    run_not_found,
    version_conflict,
)
from ringfence.state.codec import decode_record, encode_record
from ringfence.state.event import MAX_PAYLOAD_BYTES, Event
from ringfence.state.postgres.address import parse_address
from ringfence.state.postgres.database import Database
from ringfence.state.postgres.events import RunEvents
from ringfence.state.postgres.listening import Listener, RunArrival
from ringfence.state.postgres.statements import make_statements
from ringfence.state.record import RunRecord, RunStatus
from ringfence.state.tailing import tail_events

if TYPE_CHECKING:
    from asyncpg import Record

    from ringfence.providers.base import Clock
    from ringfence.secret import Secret

DEFAULT_POOL: Final = 10

_TRIES: Final = 10
_PURGED_AT_ONCE: Final = 100
_PURGE_SECONDS: Final = 300.0


class PostgresStateStore(RunEvents):
    """Run records and events in one schema of a database.

    Constructing is cheap and does no work: the first operation connects, and makes the tables or
    checks their version. A store belongs to one event loop.

    Args:
        url: DATABASE_URL, as libpq and asyncpg read it.
        id_case: How the installation encodes ids.
        clock: The time now, in UTC.
        token: Random text, new with each call: a writer knows its own write by it.
        most_bytes: Largest payload of an event.
        schema: Where the tables are: a-z, 0-9 and _.
        pool_size: Most connections at a time, besides one that listens while events are followed.

    Raises:
        UsageError: the schema has no name that it can have.
    """

    def __init__(
        self,
        url: Secret | str,
        *,
        id_case: IdCase = IdCase.EXACT,
        clock: Clock = lambda: datetime.now(UTC),
        token: Callable[[], str] = lambda: secrets.token_hex(8),
        most_bytes: int = MAX_PAYLOAD_BYTES,
        schema: str = "ringfence",
        pool_size: int = DEFAULT_POOL,
    ) -> None:
        address, sql = parse_address(url), make_statements(schema)
        super().__init__(
            Database(address, schema=schema, version=sql.version, pool_size=pool_size),
            Listener(address, schema),
            sql,
            id_case=id_case,
            clock=clock,
            most_bytes=most_bytes,
        )
        self._where = address.where
        self._token = token

    async def create(self, record: RunRecord) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.create`."""
        run = self._run(record.id)
        values = (
            run,
            encode_id(record.app_id, self._id_case, what="app id"),
            encode_id(record.user_id, self._id_case, what="user id"),
            run_position(record.created_at, run),
            *_columns(record),
            encode_record(record, self._token()).decode(),
        )
        for _ in range(_TRIES):
            rows = await self._database.ask(self._sql.create, *values)
            if not rows:
                continue
            if rows[0]["record"] is None:
                return record
            stored, _ = _decoded(rows[0], run)
            now = self._clock()
            if not stored.expired(now):
                if not stored.same_run(record):
                    raise run_exists(stored)
                return stored
            made = await self._database.ask(self._sql.recreate, run, now, *values[1:])
            if made[0][0]:
                return record
        raise self._undecided(record)

    async def get(self, run_id: str) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.get`."""
        run = self._run(run_id)
        rows = await self._database.ask(self._sql.get, run)
        stored = _decoded(rows[0], run)[0] if rows else None
        if stored is None or stored.expired(self._clock()):
            raise run_not_found(run_id)
        return stored

    async def replace(self, record: RunRecord, *, expected_version: int) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.replace`."""
        run, write, now = self._run(record.id), self._token(), self._clock()
        swap = self._sql.finish if record.status.terminal else self._sql.replace
        values = (*_columns(record), encode_record(record, write).decode(), now)
        for _ in range(_TRIES):
            rows = await self._database.ask(swap, run, expected_version, *values)
            if not rows:
                raise run_not_found(record.id)
            if rows[0]["record"] is None:
                return record
            stored, writer = _decoded(rows[0], run)
            # An answer that was lost, and the question asked again: the write was this one.
            if writer == write:
                return record
            if stored.expired(now):
                raise run_not_found(record.id)
            if stored.version != expected_version:
                raise version_conflict(stored, expected_version)
            # Another writer committed while this one waited: what it wrote is seen by a new look.
        raise self._undecided(record)

    async def list(
        self,
        app_id: str,
        *,
        status: RunStatus | None = None,
        user: str | None = None,
        limit: int = DEFAULT_PAGE,
        cursor: str | None = None,
    ) -> Page:
        """See :meth:`ringfence.state.base.StateStore.list`. Never a short page before the end."""
        check_limit(limit)
        values = [
            encode_id(app_id, self._id_case, what="app id"),
            parse_cursor(cursor) or "",
            self._clock(),
            limit + 1,
        ]
        if status is not None:
            values.append(status)
        if user is not None:
            values.append(encode_id(user, self._id_case, what="user id"))
        statement = self._sql.listings[status is not None, user is not None]
        rows = await self._database.ask(statement, *values)
        records = tuple(_decoded(row, "in a list")[0] for row in rows[:limit])
        more = len(rows) > limit
        return Page(records, self._position(records[-1]) if more else None)

    def tail(self, run_id: str, *, after: int = 0) -> AsyncGenerator[Event]:
        """See :meth:`ringfence.state.base.StateStore.tail`. The server wakes it; where a pooler
        stands before it, it looks every 0.2 to 1 second.
        """
        arrival = RunArrival(
            self._listener, self._database, self._sql.watch, self._run(run_id), self._clock
        )
        return tail_events(self, run_id, after, arrival)

    async def abandoned(
        self, now: datetime, *, limit: int = DEFAULT_SWEEP
    ) -> tuple[RunRecord, ...]:
        """See :meth:`ringfence.state.base.StateStore.abandoned`. It looks at what is RUNNING."""
        rows = await self._database.ask(self._sql.abandoned, now, limit)
        return tuple(_decoded(row, "of a running run")[0] for row in rows)

    async def purge(self, *, limit: int = DEFAULT_SWEEP) -> int:
        """See :meth:`ringfence.state.base.StateStore.purge`. A transaction for each 100 runs. Runs
        that others are at are left for the next time.
        """
        now, gone = self._clock(), 0
        while gone < limit:
            most = min(limit - gone, _PURGED_AT_ONCE)
            rows = await self._database.ask(self._sql.purge, now, most, seconds=_PURGE_SECONDS)
            gone += rows[0][0]
            if rows[0][0] < most:
                break
        return gone

    async def close(self) -> None:
        """Closes connections. Idempotent; an operation after it opens them anew."""
        await self._listener.close()
        await self._database.close()

    def _position(self, record: RunRecord) -> str:
        return run_position(record.created_at, self._run(record.id))

    def _undecided(self, record: RunRecord) -> StorageUnreachable:
        return StorageUnreachable(
            f"{self._where}: run {record.id!r} changed each time it was looked at.",
            hint="Try again.",
        )


def _columns(record: RunRecord) -> tuple[str, int, datetime | None, datetime | None]:
    """What is searched for, and compared."""
    return record.status, record.version, record.expires_at, record.leased_until


def _decoded(row: Record, what: str) -> tuple[RunRecord, str]:
    return decode_record(row["record"].encode(), what)
