"""A command's output: read with backpressure, shown as it comes, handed on line by line."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from ringfence.executor.screen import Screen

LINE_LIMIT: Final = 64 * 1024
"""Longest line, in bytes; a longer one is cut into pieces."""

CHUNK: Final = 64 * 1024
"""Most bytes read at once: a pipe's own size."""


class Stream(StrEnum):
    """Which of a command's two outputs."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, without its line break.

    Bytes that are not UTF-8 stand as ``\\xNN``. ``at`` is when it was read. A ``partial`` line was
    cut at 64 KiB; the stream's next one goes on with it.
    """

    stream: Stream
    text: str
    at: datetime
    partial: bool = False


OnOutput = Callable[[Line], Awaitable[None]]
Clock = Callable[[], datetime]


class Lines:
    """Cuts bytes into lines. What it gives does not depend on how the bytes were cut on their way.

    A line break is ``\\n`` or ``\\r\\n``; a lone ``\\r``, as progress bars write, is kept.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[str, bool]]:
        """The lines that ``data`` completes, each with whether it is a piece of a longer one."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            if len(line) <= LINE_LIMIT:  # said twice, as this is where a million lines pass
                yield line.removesuffix(b"\r").decode("utf-8", "backslashreplace"), False
            else:
                yield from _pieces(line.removesuffix(b"\r"))
        # Two bytes beyond the limit: one may be the \r of a line break that has not come yet.
        while len(self._rest) > LINE_LIMIT + 1:
            cut = _boundary(self._rest)
            piece, self._rest = self._rest[:cut], self._rest[cut:]
            yield _text(piece), True

    def finish(self) -> Iterator[tuple[str, bool]]:
        """The last line, where the output did not end in a line break."""
        rest, self._rest = self._rest, b""
        if rest:
            yield from _pieces(rest)


def _pieces(line: bytes) -> Iterator[tuple[str, bool]]:
    while len(line) > LINE_LIMIT:
        cut = _boundary(line)
        yield _text(line[:cut]), True
        line = line[cut:]
    yield _text(line), False


def _boundary(data: bytes) -> int:
    """Where to cut: at the limit, or up to three bytes before it so that no character is split."""
    for cut in range(LINE_LIMIT, LINE_LIMIT - 4, -1):
        if data[cut] & 0xC0 != 0x80:
            return cut
    return LINE_LIMIT


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


class PipeReader:
    """Reads a pipe only when asked to, so that a slow consumer slows the command down."""

    def __init__(self, stream: Stream, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.stream = stream
        self._descriptor = descriptor
        self._left: int | None = None
        self._news = asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes, at most 64 KiB; none at the end."""
        while self._left != 0:
            try:
                data = os.read(self._descriptor, min(CHUNK, self._left or CHUNK))
            except BlockingIOError:
                if self._left is not None:
                    break
                await self._wait()
                continue
            if self._left is not None:
                self._left -= len(data)
            return data
        return b""

    def finish(self) -> None:
        """Ends the reading with what is in the pipe now: every process of the run is gone.

        Waiting for the pipe's end instead would wait for whoever else holds it open.
        """
        answer = fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4))
        self._left = int.from_bytes(answer, sys.byteorder)
        self._news.set()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._news.clear()
        # Watched only while waiting: the loop would spin while a full pipe waits for the consumer.
        loop.add_reader(self._descriptor, self._news.set)
        try:
            await self._news.wait()
        finally:
            loop.remove_reader(self._descriptor)


class Output:
    """Both streams of one command, to the screen and to ``on_output``, one line at a time."""

    def __init__(self, on_output: OnOutput, screen: Screen, clock: Clock) -> None:
        self._on_output = on_output
        self._screen = screen
        self._clock = clock
        self._turn = asyncio.Lock()
        self._readers: list[PipeReader] = []
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def attach(self, stream: Stream, descriptor: int) -> PipeReader:
        """Takes one of the command's pipes; :meth:`pump` reads it."""
        reader = PipeReader(stream, descriptor)
        self._readers.append(reader)
        return reader

    async def pump(self, reader: PipeReader) -> None:
        """Reads a pipe to its end."""
        lines = Lines()
        while data := await reader.read():
            shown = self._screen.show(reader.stream, data)
            await self._hand_on(reader.stream, lines.feed(data))
            if shown is not None and not shown.done():
                # A screen that stands still holds the command up, but not its end.
                await asyncio.wait({shown, self._finished}, return_when="FIRST_COMPLETED")
        await self._hand_on(reader.stream, lines.finish())

    async def say(self, text: str) -> None:
        """Adds a line of our own to the command's standard error."""
        self._screen.show(Stream.STDERR, f"{text}\n".encode())
        await self._hand_on(Stream.STDERR, [(text, False)])

    def finish(self) -> None:
        """Every process of the run has ended: what the pipes hold now is the rest."""
        if not self._finished.done():
            self._finished.set_result(None)
        for reader in self._readers:
            reader.finish()

    async def _hand_on(self, stream: Stream, lines: Iterable[tuple[str, bool]]) -> None:
        async with self._turn:
            now = self._clock()
            for text, partial in lines:
                await self._on_output(Line(stream, text, now, partial))
