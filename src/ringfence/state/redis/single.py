"""A link to one server, or to one node: a connection that all calls share, and a bounded number of
others for those that are large or block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as redis
from redis.asyncio.connection import AbstractConnection

from ringfence.state.redis.failures import BROKEN, Failures
from ringfence.state.redis.link import (
    CLOSED,
    LARGE_BYTES,
    Limits,
    joined,
)
from ringfence.state.redis.scripts import Command
from ringfence.state.redis.wire import Wire, pack


class SingleLink:
    """See :class:`ringfence.state.redis.link.Link`.

    Args:
        connect: Makes a connection that is not connected yet.
        failures: The words for what goes wrong.
        limits: How many connections, and how long.
    """

    ordered = True

    def __init__(
        self,
        connect: Callable[[], AbstractConnection],
        failures: Failures,
        limits: Limits,
    ) -> None:
        self._connect = connect
        self._failures = failures
        self._most = limits.connections
        self._seconds = limits.seconds
        self._connect_seconds = limits.connect_seconds
        self._shared: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None
        self._gate = asyncio.Semaphore(limits.connections)
        self._waiting = 0
        self._idle: list[Wire] = []
        self._wires: set[Wire] = set()
        self._closed = False

    async def ask(
        self, commands: Sequence[Command], *, replay: bool, large: bool = False
    ) -> list[Any]:
        """See :meth:`ringfence.state.redis.link.Link.ask`. One round trip."""
        packed, count = pack(commands), len(commands)
        call = self._alone if large or len(packed) > LARGE_BYTES else self._together
        try:
            try:
                return await call(packed, count)
            except redis.ConnectionError:
                if not replay or self._closed:
                    raise
                return await call(packed, count)
        except BROKEN as error:
            raise self._failures.translate(error) from None

    async def wait(self, command: Command, seconds: float) -> Any:
        """See :meth:`ringfence.state.redis.link.Link.wait`."""
        if self._waiting >= self._most:
            raise BlockingIOError
        self._waiting += 1
        try:
            return (await self._exclusively(pack((command,)), 1, seconds))[0]
        except BROKEN as error:
            raise self._failures.translate(error) from None
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """See :meth:`ringfence.state.redis.link.Link.close`."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await asyncio.gather(*(wire.close() for wire in tuple(self._wires)))
        self._wires.clear()
        self._idle.clear()

    async def _together(self, packed: bytes, count: int) -> list[Any]:
        wire = self._shared
        if wire is None or wire.broken:
            wire = await self._open_shared()
        return await wire.send(packed, count)

    async def _alone(self, packed: bytes, count: int) -> list[Any]:
        try:
            async with asyncio.timeout(self._seconds):
                await self._gate.acquire()
        except TimeoutError:
            raise self._failures.all_busy(self._most, self._seconds) from None
        try:
            return await self._exclusively(packed, count)
        finally:
            self._gate.release()

    async def _exclusively(self, packed: bytes, count: int, blocks: float = 0.0) -> list[Any]:
        while self._idle and not self._idle[-1].idle:
            self._wires.discard(self._idle.pop())
        wire = self._idle.pop() if self._idle else await self._open()
        try:
            return await wire.send(packed, count, blocks)
        finally:
            if wire.idle and not self._closed:
                self._idle.append(wire)
            else:  # it broke, or an answer that nobody waits for any more is still to come
                self._wires.discard(wire)
                await wire.close()

    async def _open_shared(self) -> Wire:
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="ringfence-redis-connect")
            self._opening.add_done_callback(self._opened)
        return await joined(self._opening, self._failures.unreachable(CLOSED))

    def _opened(self, opening: asyncio.Task[Wire]) -> None:
        self._opening = None
        # Asked for, so that nobody complains where all who waited are gone.
        if not opening.cancelled() and opening.exception() is None:
            if self._shared is not None:
                self._wires.discard(self._shared)
            self._shared = opening.result()

    async def _open(self) -> Wire:
        if self._closed:
            raise self._failures.unreachable(CLOSED)
        connection = self._connect()
        try:
            async with asyncio.timeout(self._connect_seconds):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise redis.TimeoutError("no answer while connecting") from None
            raise
        wire = Wire(connection, self._seconds)
        self._wires.add(wire)
        return wire
