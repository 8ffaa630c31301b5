"""Runs and their events in Redis or Valkey: Lua scripts swap versions, streams hold events.

Every script touches one slot, so that a cluster may spread the runs. A run's own keys are written
together; its app's list is in another slot, and is written first when a run is created, and last
when it ends. What a crash leaves between the two, readers skip. See
:mod:`ringfence.state.redis.keys` for what lies where.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ringfence.layout import IdCase
from ringfence.secret import Secret
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
from ringfence.state.event import (
    MAX_PAYLOAD_BYTES,
    Event,
    Payload,
    check_events_query,
    check_sequence,
    make_batch,
)
from ringfence.state.record import RunRecord, RunStatus
from ringfence.state.redis import scripts
from ringfence.state.redis.connection import Connector
from ringfence.state.redis.events import RunEvents
from ringfence.state.redis.index import RunIndex, remaining
from ringfence.state.redis.keys import Keys, RunKeys, micros, score
from ringfence.state.redis.link import COMMAND_SECONDS, CONNECT_SECONDS, MOST_CONNECTIONS, Limits
from ringfence.state.redis.scripts import Argument
from ringfence.state.redis.server import Server
from ringfence.state.redis.tidying import Tidying
from ringfence.state.scanning import Wanted
from ringfence.state.tailing import tail_events

if TYPE_CHECKING:
    from ringfence.providers.base import Clock


class RedisStateStore:
    """Run records in Redis 6.2 or later, or Valkey; single or cluster, which it finds out.

    It connects at first use, and again after a failure. Once closed it stays so.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``: REDIS_URL.
        id_case: How the installation encodes ids.
        clock: The time now, in UTC: what it says is expired is not there, whatever the server has.
        token: Random text, new with each call: a writer knows its own write by it.
        most_bytes: Largest payload of an event.
        prefix: What every key begins with.
        grace: How long keys stay after the run has expired by ``clock``. For clocks that go slower
            than the server's.
        most_connections: To each node, and as many again for tails.
        seconds: How long an answer of the server may take.
        connect_seconds: How long it may take to connect.

    Raises:
        ConfigError: the URL cannot be read.
        UsageError: the prefix is none.
    """

    def __init__(
        self,
        url: Secret | str,
        *,
        id_case: IdCase = IdCase.EXACT,
        clock: Clock = lambda: datetime.now(UTC),
        token: Callable[[], str] = lambda: secrets.token_hex(8),
        most_bytes: int = MAX_PAYLOAD_BYTES,
        prefix: str = "ringfence",
        grace: timedelta = timedelta(0),
        most_connections: int = MOST_CONNECTIONS,
        seconds: float = COMMAND_SECONDS,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        secret = Secret(url) if isinstance(url, str) else url
        limits = Limits(most_connections, seconds, connect_seconds)
        self._server = Server(Connector(secret, limits))
        self._keys = Keys(prefix, id_case)
        self._clock = clock
        self._token = token
        self._most_bytes = most_bytes
        self._grace = grace // timedelta(milliseconds=1)
        self._index = RunIndex(self._server, self._keys, clock=clock, grace=self._grace)
        self._events = RunEvents(self._server, self._keys, clock=clock)
        self._tidying = Tidying(self._server, self._keys, clock=clock, grace=self._grace)

    async def create(self, record: RunRecord) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.create`. One round trip; in a cluster, two."""
        self._keys.check_user(record.user_id)
        run = self._keys.run(record.id)
        command = scripts.CREATE(*self._swap(run, record))
        _, data = await self._server.ask_in_order(
            (self._index.entering(record), command), what="store a run"
        )
        if data is None:
            await self._index.retire(record)
            return record
        stored, _ = decode_record(data, run.record)
        await self._settle(record, stored)
        return stored

    async def get(self, run_id: str) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.get`. One round trip."""
        run = self._keys.run(run_id)
        data: bytes | None = await self._server.ask(("HGET", run.record, "j"), what="read a run")
        if data is None:
            raise run_not_found(run_id)
        record, _ = decode_record(data, run.record)
        if record.expired(self._clock()):
            raise run_not_found(run_id)
        return record

    async def replace(self, record: RunRecord, *, expected_version: int) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.replace`. One round trip; where the run ends
        and will expire, two.
        """
        run = self._keys.run(record.id)
        command = scripts.REPLACE(*self._swap(run, record), expected_version)
        answer: int | bytes = await self._server.ask(command, what="change a run")
        if answer == 0:
            raise run_not_found(record.id)
        if isinstance(answer, bytes):
            raise version_conflict(decode_record(answer, run.record)[0], expected_version)
        await self._index.retire(record)
        return record

    async def list(
        self,
        app_id: str,
        *,
        status: RunStatus | None = None,
        user: str | None = None,
        limit: int = DEFAULT_PAGE,
        cursor: str | None = None,
    ) -> Page:
        """See :meth:`ringfence.state.base.StateStore.list`.

        Two round trips for a page of a hundred. With a filter, at most 1,000 runs are looked at in
        a call.
        """
        check_limit(limit)
        wanted = Wanted(app_id, status, user, self._clock())
        return await self._index.page(wanted, limit, parse_cursor(cursor))

    async def append(
        self, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
    ) -> range:
        """See :meth:`ringfence.state.base.StateStore.append`. One round trip."""
        made = make_batch(payloads, batch, most_bytes=self._most_bytes)
        return await self._events.append(run_id, made)

    async def events(
        self, run_id: str, *, after: int = 0, limit: int = DEFAULT_PAGE
    ) -> tuple[Event, ...]:
        """See :meth:`ringfence.state.base.StateStore.events`. One round trip."""
        check_events_query(after, limit)
        return await self._events.read(run_id, after, limit)

    def tail(self, run_id: str, *, after: int = 0) -> AsyncGenerator[Event]:
        """See :meth:`ringfence.state.base.StateStore.tail`. The server wakes it."""
        return tail_events(self, run_id, after, self._events.arrival(run_id))

    async def acknowledge(self, run_id: str, consumer: str, sequence: int) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledge`. One round trip."""
        check_sequence(sequence)
        return await self._events.acknowledge(run_id, consumer, sequence)

    async def acknowledged(self, run_id: str, consumer: str) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledged`. One round trip."""
        return await self._events.acknowledged(run_id, consumer)

    async def abandoned(
        self, now: datetime, *, limit: int = DEFAULT_SWEEP
    ) -> tuple[RunRecord, ...]:
        """See :meth:`ringfence.state.base.StateStore.abandoned`. Reads the leases that are over,
        and no other run.
        """
        return await self._tidying.abandoned(now, limit)

    async def purge(self, *, limit: int = DEFAULT_SWEEP) -> int:
        """See :meth:`ringfence.state.base.StateStore.purge`. The server expires runs by itself;
        this takes them out of lists that nobody reads.
        """
        return await self._tidying.purge(limit)

    async def close(self) -> None:
        """See :meth:`ringfence.state.base.StateStore.close`."""
        await self._server.close()

    def _swap(self, run: RunKeys, record: RunRecord) -> tuple[Argument, ...]:
        """The keys of a run, and what create.lua and replace.lua store."""
        write, now = self._token(), self._clock()
        expires, lease = record.expires_at, record.leased_until
        return (
            *(run.record, run.events, run.leases),
            micros(now),
            record.version,
            write,
            encode_record(record, write),
            "" if expires is None else micros(expires),
            "" if expires is None else remaining(expires, now, self._grace),
            "" if lease is None else score(lease),
            run.segment,
            "1" if record.status.terminal else "",
        )

    async def _settle(self, record: RunRecord, stored: RunRecord) -> None:
        """Puts the list right after a creation that found the run there."""
        if (stored.app_id, self._index.position(stored)) == (
            record.app_id,
            self._index.position(record),
        ):
            # The entry is the stored run's, and has just been entered as if it did not expire.
            await self._index.retire(stored)
        else:
            # The entry just written belongs to no record, and no record will come to it.
            await self._index.leave(record)
        if not stored.same_run(record):
            raise run_exists(stored)
