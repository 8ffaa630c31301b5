"""One connection: commands go out together, answers come back in their order.

redis-py connects: names, TLS, users, databases. From then on the connection is read and written
here. Calls that come at the same time share a packet, which is what makes many of them cheap, and
one that is given up leaves its answer to be passed over.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis import exceptions as redis
from redis.asyncio.connection import AbstractConnection

from ringfence.state.redis.scripts import Command

_NESTING: Final = 8
_INCOMPLETE: Final = -1
# Redis 6 puts what a command in a script answered behind the script's name: "…: -OOM command …".
_CODE: Final = re.compile(r"([A-Z]{2,20})\b")
_IN_SCRIPT: Final = re.compile(r"-(OOM|READONLY|NOPERM|MISCONF|NOREPLICAS|WRONGTYPE)\b")


class Refusal(Exception):
    """The server answered with an error: a code, ``WRONGTYPE`` say, and a text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        found = _CODE.match(text)
        inner = _IN_SCRIPT.search(text)
        self.code = inner[1] if inner else found[1] if found else "ERR"
        self.text = text


@dataclass(slots=True)
class _Call:
    told: asyncio.Future[list[Any]]
    count: int
    since: float
    answers: list[Any] = field(default_factory=list)


class Wire(asyncio.Protocol):
    """A connection that is open, until :attr:`broken`.

    Args:
        connection: Connected, with nothing on the way. Nobody else uses it any more.
        seconds: How long an answer may take. A wire on which one does not come is given up.
    """

    def __init__(self, connection: AbstractConnection, seconds: float) -> None:
        # redis-py has no public names for these, and has had them in every version.
        self._writer: asyncio.StreamWriter = getattr(connection, "_writer")  # noqa: B009
        for name in ("_writer", "_reader"):
            setattr(connection, name, None)
        self._transport = self._writer.transport
        self._transport.set_protocol(self)
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._calls: deque[_Call] = deque()
        self._out: list[bytes] = []
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._lost = self._loop.create_future()
        self.broken = False

    @property
    def idle(self) -> bool:
        """Whether it is open, and owes no answer."""
        return not self.broken and not self._calls

    def send(self, packed: bytes, count: int, blocks: float = 0.0) -> asyncio.Future[list[Any]]:
        """Sends commands, and returns what will be their answers.

        The future raises ``redis.ConnectionError`` or ``redis.TimeoutError``. It may be cancelled.

        Args:
            packed: The commands, from :func:`pack`.
            count: How many they are.
            blocks: Seconds for which the server holds the answer back by itself.
        """
        told: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.broken:
            told.set_exception(redis.ConnectionError("closed"))
            return told
        alone = not self._calls and not self._out
        self._calls.append(_Call(told, count, self._loop.time() + blocks))
        if self._timer is None:
            self._timer = self._loop.call_later(min(1.0, self._seconds / 4), self._watch)
        if alone:
            self._transport.write(packed)
        else:
            if not self._out:
                self._loop.call_soon(self._flush)
            self._out.append(packed)
        return told

    def give_up(self, why: redis.RedisError) -> None:
        """Closes it at once. Who waits for an answer is told why none will come."""
        self.broken = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._out.clear()
        while self._calls:
            told = self._calls.popleft().told
            if not told.done():
                told.set_exception(why)
        self._transport.abort()

    async def close(self) -> None:
        """Closes it, and returns once it is closed. Idempotent."""
        self.give_up(redis.ConnectionError("closed here"))
        await asyncio.wait({self._lost}, timeout=1)

    # --- what the event loop calls -----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Takes answers for calls, in their order."""
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while self._calls:
                answer, end = _parsed(buffer, position, _NESTING)
                if end == _INCOMPLETE:
                    break
                position = end
                self._take(answer)
        except (ValueError, IndexError):
            self.give_up(redis.ConnectionError("it does not speak Redis there"))
            return
        del buffer[:position]

    def connection_lost(self, _: Exception | None) -> None:
        """The server has closed the connection, or it broke, or it was closed here."""
        self.give_up(redis.ConnectionError("closed by the server"))
        if not self._lost.done():
            self._lost.set_result(None)

    def _take(self, answer: Any) -> None:
        call = self._calls[0]
        call.answers.append(answer)
        if len(call.answers) == call.count:
            self._calls.popleft()
            if not call.told.done():
                call.told.set_result(call.answers)

    def _flush(self) -> None:
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _watch(self) -> None:
        self._timer = None
        if not self._calls:
            return
        if self._loop.time() - self._calls[0].since >= self._seconds:
            self.give_up(redis.TimeoutError("no answer in time"))
        else:
            self._timer = self._loop.call_later(min(1.0, self._seconds / 4), self._watch)


def pack(commands: Sequence[Command]) -> bytes:
    """The commands as they are sent."""
    pieces: list[bytes] = []
    for command in commands:
        pieces.append(b"*%d\r\n" % len(command))
        for argument in command:
            data = argument if isinstance(argument, bytes) else str(argument).encode()
            pieces += (b"$%d\r\n" % len(data), data, b"\r\n")
    return b"".join(pieces)


def _parsed(buffer: bytearray, start: int, nesting: int) -> tuple[Any, int]:
    """The answer (RESP 2) that begins there, and where it ends; or ``_INCOMPLETE``.

    Raises:
        ValueError, IndexError: that is no answer of Redis.
    """
    end = buffer.find(b"\r\n", start)
    if end < 0:
        return None, _INCOMPLETE
    kind, line, after = buffer[start], buffer[start + 1 : end], end + 2
    if kind == 0x24:  # $ bytes
        return _bulk(buffer, after, int(line))
    if kind == 0x3A:  # : number
        return int(line), after
    if kind == 0x2B:  # + text
        return bytes(line), after
    if kind == 0x2D:  # - error
        return Refusal(line.decode("utf-8", errors="replace")), after
    if kind != 0x2A or not nesting:  # * list
        raise ValueError("no answer of Redis")
    return _list(buffer, after, int(line), nesting)


def _bulk(buffer: bytearray, start: int, size: int) -> tuple[bytes | None, int]:
    if size < 0:
        return None, start
    end = start + size
    if len(buffer) < end + 2:
        return None, _INCOMPLETE
    return bytes(buffer[start:end]), end + 2


def _list(buffer: bytearray, start: int, size: int, nesting: int) -> tuple[list[Any] | None, int]:
    if size < 0:
        return None, start
    found: list[Any] = []
    for _ in range(size):
        answer, start = _parsed(buffer, start, nesting - 1)
        if start == _INCOMPLETE:
            return None, _INCOMPLETE
        found.append(answer)
    return found, start
