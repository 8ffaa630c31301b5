"""A TCP proxy before the server that counts round trips, and may lose answers.

A client that waits ends what it sends with a Sync, a Flush or a Query message, so the number
of these is the number of round trips.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.state.postgres.server import Server
from tests.state.postgres.support import until

_STARTUP = 196608  # protocol 3.0


@dataclass
class Proxy:
    """``url`` is of the server behind it. Counts from when it is told to."""

    url: str
    round_trips: int = 0
    connections: int = 0
    lose_answers: bool = False
    """Whether the next question is passed on, and the connection closed instead of an answer."""
    silent: bool = False
    """Whether answers are kept back."""
    open_now: set[asyncio.Task[None]] = field(default_factory=set)

    def break_all(self) -> None:
        """Ends every connection that is open."""
        for task in self.open_now:
            task.cancel()


class _Messages:
    """Cuts what a client sends into messages, and counts those that ask for an answer."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False

    def asked(self, data: bytes) -> int:
        self._rest += data
        asked = 0
        while (size := self._size()) and len(self._rest) >= size:
            message, self._rest = self._rest[:size], self._rest[size:]
            if self._started:
                asked += message[:1] in {b"S", b"Q", b"H"}
            elif int.from_bytes(message[4:8]) == _STARTUP:
                self._started = True
        return asked

    def _size(self) -> int:
        at = 1 if self._started else 0
        head = self._rest[at : at + 4]
        return int.from_bytes(head) + at if len(head) == 4 else 0


@contextlib.asynccontextmanager
async def before(server: Server) -> AsyncIterator[Proxy]:
    """Stands before a server until the block is left."""
    proxy = Proxy("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        proxy.open_now.add(task)
        proxy.connections += 1
        there, back = await asyncio.open_unix_connection(str(server.socket_path))
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_questions(reader, back, proxy))
                both.create_task(_answers(there, writer, proxy))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            back.close()
            writer.close()
            proxy.open_now.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    proxy.url = server.tcp_url(port=port) + "?sslmode=disable"
    try:
        yield proxy
    finally:
        listening.close()
        proxy.break_all()
        await asyncio.gather(*proxy.open_now, return_exceptions=True)


async def _questions(source: asyncio.StreamReader, sink: asyncio.StreamWriter, to: Proxy) -> None:
    messages = _Messages()
    while data := await source.read(65536):
        to.round_trips += messages.asked(data)
        sink.write(data)
        await sink.drain()
    sink.close()
    raise ConnectionError


async def _answers(source: asyncio.StreamReader, sink: asyncio.StreamWriter, to: Proxy) -> None:
    while data := await source.read(65536):
        if to.lose_answers:
            to.lose_answers = False
            break
        await until(lambda: not to.silent)
        sink.write(data)
        await sink.drain()
    raise ConnectionError
