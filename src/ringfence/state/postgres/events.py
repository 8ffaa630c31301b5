"""The half of the store that is about events, and how far consumers of them have come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ringfence.layout import EncodedId, IdCase, encode_id
from ringfence.state.base import DEFAULT_PAGE, run_not_found
from ringfence.state.event import (
    Event,
    Payload,
    batch_mismatch,
    check_events_query,
    check_sequence,
    make_batch,
    no_such_event,
)
from ringfence.state.postgres.listening import Listener
from ringfence.state.record import MAX_COUNT

if TYPE_CHECKING:
    from ringfence.providers.base import Clock
    from ringfence.state.postgres.database import Database
    from ringfence.state.postgres.statements import Statements


class RunEvents:
    """Events of runs. The arguments are those of the store, made ready."""

    def __init__(
        self,
        database: Database,
        listener: Listener,
        sql: Statements,
        *,
        id_case: IdCase,
        clock: Clock,
        most_bytes: int,
    ) -> None:
        self._database = database
        self._listener = listener
        self._sql = sql
        self._id_case = id_case
        self._clock = clock
        self._most_bytes = most_bytes

    async def append(
        self, run_id: str, payloads: Sequence[Payload], *, batch: str | None = None
    ) -> range:
        """See :meth:`ringfence.state.base.StateStore.append`.

        Without a batch id it is not repeated here where the connection broke: the events may be
        stored.
        """
        made = make_batch(payloads, batch, most_bytes=self._most_bytes)
        rows = await self._database.ask(
            self._sql.append,
            self._run(run_id),
            self._clock(),
            made.payloads,
            made.id,
            made.digest if made.id is not None else None,
            repeatable=made.id is not None,
        )
        first: int | None = rows[0][0]
        if first is None:
            raise run_not_found(run_id)
        if first == 0:
            raise batch_mismatch(str(made.id))
        return range(first, first + len(made))

    async def events(
        self, run_id: str, *, after: int = 0, limit: int = DEFAULT_PAGE
    ) -> tuple[Event, ...]:
        """See :meth:`ringfence.state.base.StateStore.events`."""
        check_events_query(after, limit)
        rows = await self._database.ask(
            self._sql.events, self._run(run_id), self._clock(), min(after, MAX_COUNT), limit
        )
        if not rows:
            raise run_not_found(run_id)
        return tuple(
            Event(sequence, at, json.loads(payload))
            for sequence, at, payload in rows
            if sequence is not None
        )

    async def acknowledge(self, run_id: str, consumer: str, sequence: int) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledge`."""
        name = encode_id(consumer, self._id_case, what="consumer id")
        check_sequence(sequence)
        number = min(sequence, MAX_COUNT)
        rows = await self._database.ask(
            self._sql.acknowledge, self._run(run_id), self._clock(), name, number
        )
        if not rows:
            raise run_not_found(run_id)
        highest: int | None = rows[0]["sequence"]
        if highest is None:
            raise no_such_event(sequence)
        return highest

    async def acknowledged(self, run_id: str, consumer: str) -> int:
        """See :meth:`ringfence.state.base.StateStore.acknowledged`."""
        name = encode_id(consumer, self._id_case, what="consumer id")
        rows = await self._database.ask(
            self._sql.acknowledged, self._run(run_id), self._clock(), name
        )
        if not rows:
            raise run_not_found(run_id)
        return int(rows[0]["sequence"])

    def _run(self, run_id: str) -> EncodedId:
        return encode_id(run_id, self._id_case, what="run id")
