"""Moves objects with a fixed number in flight: by tasks on one event loop, or by threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

MOST_IN_FLIGHT = 32


class Mover(Protocol):
    """A store, as a bench uses it."""

    @property
    def name(self) -> str:
        """The client, as tables call it."""
        ...

    def put_all(self, keys: Sequence[str], body: bytes, in_flight: int) -> None:
        """Puts one body under every key."""
        ...

    def get_all(self, keys: Sequence[str], in_flight: int) -> bytes:
        """Reads every object whole and returns the last."""
        ...


@dataclass(frozen=True, slots=True)
class AsyncMover:
    """A store with coroutines. ``get`` returns what ``bytes()`` takes."""

    name: str
    runner: asyncio.Runner
    put: Callable[[str, bytes], Awaitable[object]]
    get: Callable[[str], Awaitable[Any]]

    def put_all(self, keys: Sequence[str], body: bytes, in_flight: int) -> None:
        """See :class:`Mover`."""

        async def work(pending: Iterator[str]) -> None:
            for key in pending:
                await self.put(key, body)

        self.runner.run(_shared(work, keys, in_flight))

    def get_all(self, keys: Sequence[str], in_flight: int) -> bytes:
        """See :class:`Mover`."""
        last: Any = b""

        async def work(pending: Iterator[str]) -> None:
            nonlocal last
            for key in pending:
                last = await self.get(key)

        self.runner.run(_shared(work, keys, in_flight))
        return bytes(last)


async def _shared(
    work: Callable[[Iterator[str]], Awaitable[None]], keys: Sequence[str], in_flight: int
) -> None:
    """So many tasks take from one iterator: each starts its next object when it is through."""
    pending = iter(keys)
    await asyncio.gather(*(work(pending) for _ in range(in_flight)))


@dataclass(frozen=True, slots=True)
class ThreadMover:
    """A store with blocking calls, used from as many threads as are to be in flight."""

    name: str
    put: Callable[[str, bytes], object]
    get: Callable[[str], bytes]
    threads: ThreadPoolExecutor

    def put_all(self, keys: Sequence[str], body: bytes, in_flight: int) -> None:
        """See :class:`Mover`."""
        if in_flight == 1:
            for key in keys:
                self.put(key, body)
        else:
            list(self.threads.map(lambda key: self.put(key, body), keys))

    def get_all(self, keys: Sequence[str], in_flight: int) -> bytes:
        """See :class:`Mover`."""
        if in_flight == 1:
            return [self.get(key) for key in keys][-1]
        return list(self.threads.map(self.get, keys))[-1]
