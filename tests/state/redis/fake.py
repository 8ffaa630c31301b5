"""A server that says one thing, for what a real one says too seldom."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from ringfence.secret import Secret

Say = Callable[[list[bytes]], bytes]


@contextlib.asynccontextmanager
async def saying(say: Say | bytes) -> AsyncIterator[Secret]:
    """Answers every command so, until the block is left. What is given is the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError):
            while True:
                command = await _command(reader)
                writer.write(say(command) if callable(say) else say)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Secret(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    arguments = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        arguments.append((await reader.readexactly(size + 2))[:-2])
    return arguments


def bulk(text: str) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(text), text.encode())
