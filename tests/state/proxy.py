"""A TCP proxy before an engine that counts the requests it really gets, by method."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_HEAD = re.compile(rb"(GET|PUT|POST|HEAD|DELETE) (/\S*) HTTP/1\.1\r\n")
_LONGEST_HEAD = 4096


@dataclass
class CountingProxy:
    """``endpoint`` is where it listens; ``requests`` counts methods, and lists as ``LIST``."""

    endpoint: str
    requests: Counter[str] = field(default_factory=Counter)

    def read(self, tail: bytes, data: bytes) -> bytes:
        """Counts the request lines that end in ``data``, and returns what the next may need."""
        seen = tail + data
        end = 0
        for head in _HEAD.finditer(seen):
            end = head.end()
            listing = b"list-type=2" in head[2]
            self.requests["LIST" if listing else head[1].decode()] += 1
        return seen[end:][-_LONGEST_HEAD:]


@contextlib.asynccontextmanager
async def counting(target: str) -> AsyncIterator[CountingProxy]:
    """Stands before the engine at ``target`` until the block is left."""
    proxy = CountingProxy("")
    upstream = urlsplit(target)
    open_now: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        there, back = await asyncio.open_connection(upstream.hostname, upstream.port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pipe(reader, back, proxy))
                both.create_task(_pipe(there, writer, None))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            back.close()
            writer.close()
            open_now.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    proxy.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(open_now):
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _pipe(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, proxy: CountingProxy | None
) -> None:
    tail = b""
    while data := await source.read(65536):
        if proxy is not None:
            tail = proxy.read(tail, data)
        sink.write(data)
        await sink.drain()
    sink.close()
