"""Our own standard output and standard error, where a command's output is shown live."""

from __future__ import annotations

import asyncio
import os
import queue
import select
import sys
import threading
from contextlib import suppress
from typing import Final, NamedTuple

STDOUT: Final = 1
STDERR: Final = 2

PATIENCE_SECONDS: Final = 5.0
"""How long a screen that stands still may hold up the end of a run."""


class _Piece(NamedTuple):
    descriptor: int
    data: bytes
    done: asyncio.Future[None]


class Screen:
    """Writes bytes unchanged and at once, from a thread of its own.

    A terminal or a pipe can stand still for as long as its reader likes, and setting it
    non-blocking would change it for every process that shares it. The thread is a daemon: one that
    is stuck in a write keeps nothing from ending. A descriptor that is closed, or whose reader has
    gone, is written to no more.
    """

    def __init__(self, *, shown: bool, to_stderr: bool = False) -> None:
        self._descriptors = {"stdout": STDERR if to_stderr else STDOUT, "stderr": STDERR}
        self._closed = _closed_descriptors() if shown else {STDOUT, STDERR}
        self._pieces: queue.SimpleQueue[_Piece | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread: threading.Thread | None = None
        self._last: asyncio.Future[None] | None = None

    def show(self, stream: str, data: bytes) -> asyncio.Future[None] | None:
        """Has ``data`` written; the future is done when it was. ``None`` where nothing is shown."""
        descriptor = self._descriptors[stream]
        if descriptor in self._closed:
            return None
        if self._thread is None:
            _flush()
            self._thread = threading.Thread(target=self._write, name="screen", daemon=True)
            self._thread.start()
        self._last = self._loop.create_future()
        self._pieces.put(_Piece(descriptor, data, self._last))
        return self._last

    async def close(self) -> None:
        """Waits until all is written, for five seconds at most, and ends the thread."""
        if self._thread is None:
            return
        self._pieces.put(None)
        if self._last is not None:
            await asyncio.wait({self._last}, timeout=PATIENCE_SECONDS)
            if self._last.done():
                self._thread.join()

    def _write(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if piece.descriptor not in self._closed:
                try:
                    _write_all(piece.descriptor, piece.data)
                except OSError:
                    self._closed.add(piece.descriptor)
            with suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(_resolve, piece.done)


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # whoever shares it with us has set it non-blocking
            select.select([], [descriptor], [])


def _closed_descriptors() -> set[int]:
    # A descriptor that was closed when Python started may be something else's by now.
    streams = {STDOUT: sys.__stdout__, STDERR: sys.__stderr__}
    return {descriptor for descriptor, stream in streams.items() if stream is None}


def _flush() -> None:
    """What was printed before comes first."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
