"""One database: checked at first use, and asked again where that is safe."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import asyncpg

from ringfence.state.postgres.connections import Connections
from ringfence.state.postgres.failures import (
    FAILURES,
    broken,
    collided,
    outdated,
    translate,
    untracked,
)
from ringfence.state.postgres.schema import current, migrate

if TYPE_CHECKING:
    from asyncpg import Record

    from ringfence.errors import RingfenceError
    from ringfence.state.postgres.address import Address
    from ringfence.state.postgres.statements import Statement

_TRIES: Final = 5


class Database:
    """What the store asks its questions.

    Args:
        address: Where the server is.
        schema: Where the tables are.
        version: Asks for the version of the schema.
        pool_size: Most connections at a time.
    """

    def __init__(
        self, address: Address, *, schema: str, version: Statement, pool_size: int
    ) -> None:
        self._address = address
        self._schema = schema
        self._version = version
        self._connections = Connections(address, pool_size)
        self._ready = False
        self._checking: asyncio.Task[None] | None = None

    async def ask(
        self,
        statement: Statement,
        *values: object,
        repeatable: bool = True,
        seconds: float | None = None,
    ) -> list[Record]:
        """The rows of the answer.

        A connection that breaks is replaced, and the question asked once more, where asking twice
        does no more than asking once.

        Args:
            statement: What.
            values: Its parameters.
            repeatable: Whether it may be asked again where it may have been done already.
            seconds: How long the answer may take; None is 30.

        Raises:
            RingfenceError: see ``failures.translate``.
        """
        if not self._ready:
            await self._get_ready()
        try:
            return await self._connections.fetch(statement, values, seconds)
        except FAILURES as error:
            first = error
        fetch = partial(self._connections.fetch, statement, values, seconds)
        return await self._ask_again(fetch, first, repeatable=repeatable)

    async def close(self) -> None:
        """Closes connections. The next question opens them anew."""
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
        await self._connections.close()

    async def _ask_again(
        self, fetch: Callable[[], Awaitable[list[Record]]], error: Exception, *, repeatable: bool
    ) -> list[Record]:
        breaks = 0
        for attempt in range(1, _TRIES):
            breaks += broken(error)
            if not self._may_repeat(error, repeatable=repeatable and breaks < 2):
                break
            if collided(error):
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - an order
            try:
                return await fetch()
            except FAILURES as again:
                error = again
        raise self._translated(error) from None

    def _may_repeat(self, error: Exception, *, repeatable: bool) -> bool:
        """Whether to ask once more, after clearing the way."""
        if collided(error):
            return True
        if untracked(error):
            if self._connections.named:
                self._connections.forget(named=False)
            return True
        if outdated(error) or (broken(error) and repeatable):
            self._connections.forget()
            return True
        return False

    def _translated(self, error: Exception) -> RingfenceError:
        if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedFunctionError):
            self._ready = False  # someone dropped it: the next question looks
        return translate(error, self._address.where, self._schema)

    async def _get_ready(self) -> None:
        """Checks the schema, once for all who wait for it."""
        if self._checking is None:
            self._checking = asyncio.create_task(self._check(), name="ringfence-postgres-check")
            self._checking.add_done_callback(self._checked)
        await asyncio.shield(self._checking)

    def _checked(self, task: asyncio.Task[None]) -> None:
        self._checking = None
        if not task.cancelled():
            self._ready = task.exception() is None

    async def _check(self) -> None:
        try:
            if not current(await self._found_version(), self._address.where, self._schema):
                await migrate(self._address, self._schema)
        except FAILURES as error:
            raise translate(error, self._address.where, self._schema) from None

    async def _found_version(self) -> int:
        """The version of the schema; 0 where it is missing."""
        try:
            rows = await self._connections.fetch(self._version, ())
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
            return 0
        except FAILURES as error:
            if not self._may_repeat(error, repeatable=True):
                raise
            rows = await self._connections.fetch(self._version, ())
        return int(rows[0]["version"])
