"""A bounded pool of connections, each with its own prepared statements.

asyncpg's pool resets the session of each connection that comes back, which is a round trip of its
own. Nothing here leaves anything in a session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from ringfence.errors import StorageUnreachable
from ringfence.state.postgres.failures import FAILURES

if TYPE_CHECKING:
    from asyncpg import Connection, Record
    from asyncpg.prepared_stmt import PreparedStatement

    from ringfence.state.postgres.address import Address
    from ringfence.state.postgres.statements import Statement

TURN_SECONDS: Final = 30.0
"""How long an operation waits for a connection that others use."""

CLOSE_SECONDS: Final = 5.0


@dataclass(slots=True, eq=False)
class _Line:
    """A connection, and what is prepared on it.

    ``named`` is whether the server keeps prepared statements under their names.
    """

    connection: Connection
    era: int
    named: bool
    prepared: dict[str, PreparedStatement] = field(default_factory=dict)

    async def ask(
        self, statement: Statement, values: tuple[object, ...], seconds: float | None
    ) -> list[Record]:
        known = self.prepared.get(statement.name)
        if known is None:
            if not self.named:
                return await self._ask_in_transaction(statement, values, seconds)
            known = await self.connection.prepare(statement.sql, name=statement.name)
            self.prepared[statement.name] = known
        return await known.fetch(*values, timeout=seconds)

    async def _ask_in_transaction(
        self, statement: Statement, values: tuple[object, ...], seconds: float | None
    ) -> list[Record]:
        # So that a pooler keeps to one server from preparing to executing.
        async with self.connection.transaction(isolation="read_committed"):
            return await self.connection.fetch(statement.sql, *values, timeout=seconds)


async def _close(line: _Line) -> None:
    """Ends what the server is at for it, and then the connection."""
    with contextlib.suppress(*FAILURES):
        await line.connection.close(timeout=CLOSE_SECONDS)


class _Turn(NamedTuple):
    """Someone who waits, and until when by the clock of the event loop."""

    line: asyncio.Future[_Line | None]
    until: float


class Connections:
    """Connections to one server, opened when needed, at most so many.

    Args:
        address: Where.
        size: Most connections at a time.
        turn_seconds: How long to wait for one of them.
    """

    def __init__(self, address: Address, size: int, turn_seconds: float = TURN_SECONDS) -> None:
        self._address = address
        self._size = size
        self._turn_seconds = turn_seconds
        self._held = 0
        self._idle: list[_Line] = []
        self._turns: deque[_Turn] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None] | None] = set()
        self._era = 0
        self.named = True
        """Whether the server keeps prepared statements: a pooler that gives each transaction
        another server may not."""

    async def fetch(
        self, statement: Statement, values: tuple[object, ...], seconds: float | None = None
    ) -> list[Record]:
        """Asks, in one round trip where the statement is prepared.

        Args:
            statement: What.
            values: Its parameters.
            seconds: How long the answer may take; None is what the connection says.

        Raises:
            StorageUnreachable: no connection became free in time.
            asyncpg.PostgresError and others: see ``failures.FAILURES``.
        """
        line = self._idle_line() or await self._take()
        whole = False
        try:
            found = await line.ask(statement, values, seconds)
            whole = True
            return found
        except asyncpg.PostgresError:
            whole = True  # it answered
            raise
        finally:
            # Whoever was cancelled, or had no answer, leaves a connection in the middle of one.
            self._give(line, whole=whole)

    def forget(self, *, named: bool | None = None) -> None:
        """Closes what is idle, and what is in use when it comes back."""
        self.named = self.named if named is None else named
        self._era += 1
        while self._idle:
            self._drop(self._idle.pop())

    async def close(self) -> None:
        """Takes leave of the server. What is in use ends when it comes back."""
        self._era += 1
        idle, self._idle = self._idle, []
        self._held -= len(idle)
        await asyncio.gather(*map(_close, idle), *self._closing, return_exceptions=True)

    def _idle_line(self) -> _Line | None:
        while self._idle:
            line = self._idle.pop()
            if not line.connection.is_closed():
                return line
            self._held -= 1  # the server ended it
        return None

    async def _take(self) -> _Line:
        if self._held < self._size:
            self._held += 1
            line = None
        else:
            line = await self._wait()
        return line or await self._open()

    async def _open(self) -> _Line:
        """In a place that is held already, and given up where it fails."""
        era, named = self._era, self.named
        try:
            return _Line(await self._address.connect(statements=named), era, named)
        except BaseException:
            self._pass_on(None)
            raise

    async def _wait(self) -> _Line | None:
        """A connection that came back; or None, for the place of one that did not."""
        loop = asyncio.get_running_loop()
        turn = _Turn(loop.create_future(), loop.time() + self._turn_seconds)
        self._turns.append(turn)
        if self._alarm is None:
            self._alarm = loop.call_at(turn.until, self._expire)
        try:
            return await turn.line
        except asyncio.CancelledError:
            handed = turn.line.done() and not turn.line.cancelled()
            if handed and turn.line.exception() is None:
                self._pass_on(turn.line.result())
            raise

    def _expire(self) -> None:
        """Ends what has waited too long. One alarm is set at a time, for the first in the queue."""
        self._alarm = None
        loop = asyncio.get_running_loop()
        while self._turns and (self._turns[0].line.done() or self._turns[0].until <= loop.time()):
            turn = self._turns.popleft()
            if not turn.line.done():
                turn.line.set_exception(self._busy())
        if self._turns:
            self._alarm = loop.call_at(self._turns[0].until, self._expire)

    def _busy(self) -> StorageUnreachable:
        return StorageUnreachable(
            f"{self._address.where}: all {self._size} connections of this process were in use "
            f"for {self._turn_seconds:g} s.",
            hint="Is the server slow, or the pool too small?",
        )

    def _give(self, line: _Line, *, whole: bool) -> None:
        if line.connection.is_closed():
            self._pass_on(None)
        elif not whole:
            self._closing.add(
                asyncio.create_task(self._stop(line), name="ringfence-postgres-closing")
            )
        elif line.era == self._era:
            self._pass_on(line)
        else:
            line.connection.terminate()
            self._pass_on(None)

    async def _stop(self, line: _Line) -> None:
        """Has the server give up what nobody waits for, and takes the place when it did."""
        try:
            await _close(line)
        finally:
            self._closing.discard(asyncio.current_task())
            self._pass_on(None)

    def _pass_on(self, line: _Line | None) -> None:
        """To the next who waits: a connection, or the right to open one."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.line.done():
                turn.line.set_result(line)
                return
        if line is None:
            self._held -= 1
        else:
            self._idle.append(line)

    def _drop(self, line: _Line) -> None:
        line.connection.terminate()
        self._held -= 1
