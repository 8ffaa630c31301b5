"""A TCP proxy before a server: it counts round trips, and fails as networks do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from ringfence.secret import Secret


@dataclass
class Proxy:
    """``round_trips`` counts how often the client spoke after the server had, on any connection."""

    port: int = 0
    round_trips: int = 0
    connections: int = 0
    sent: bytearray = field(default_factory=bytearray)
    deaf: bool = False
    """The server's answers are not passed on any more."""
    cut_after: Callable[[bytes], bool] = lambda _: False
    """Whether to hang up, on both sides, once the server has answered what it was sent."""
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> Secret:
        return Secret(f"redis://127.0.0.1:{self.port}/0")

    def forget(self) -> None:
        self.round_trips = 0
        self.sent.clear()

    async def hang_up(self) -> None:
        """Breaks every connection."""
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


@dataclass
class _Turn:
    client_spoke: bool = False
    doomed: bool = False


@contextlib.asynccontextmanager
async def before(server_port: int) -> AsyncIterator[Proxy]:
    """Stands before the server on a port of this machine until the block is left."""
    proxy = Proxy()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        proxy._open.add(task)
        proxy.connections += 1
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await _between(proxy, reader, writer, server_port)
        writer.close()
        proxy._open.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listening.close()
        await asyncio.sleep(0)  # what was accepted has its task then
        await proxy.hang_up()


async def _between(
    proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server_port: int
) -> None:
    there, back = await asyncio.open_connection("127.0.0.1", server_port)
    turn = _Turn()
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_ask(proxy, turn, reader, back))
            both.create_task(_answer(proxy, turn, there, writer))
    except* ConnectionError:
        pass
    finally:
        back.close()


async def _ask(
    proxy: Proxy, turn: _Turn, client: asyncio.StreamReader, server: asyncio.StreamWriter
) -> None:
    while data := await client.read(1 << 20):
        proxy.round_trips += not turn.client_spoke
        turn.client_spoke = True
        proxy.sent += data
        turn.doomed = turn.doomed or proxy.cut_after(data)
        server.write(data)
        await server.drain()
    raise ConnectionResetError


async def _answer(
    proxy: Proxy, turn: _Turn, server: asyncio.StreamReader, client: asyncio.StreamWriter
) -> None:
    while data := await server.read(1 << 20):
        if turn.doomed:
            break
        turn.client_spoke = False
        if not proxy.deaf:
            client.write(data)
            await client.drain()
    raise ConnectionResetError
