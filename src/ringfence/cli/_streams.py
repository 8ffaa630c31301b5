"""Standard output and standard error as they may be: closed, on a full disk, or without a reader.

A command ends with its own exit code whatever becomes of what it says: a result that cannot be
written is an error with a sentence, a message that cannot be written is lost.
"""

from __future__ import annotations

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, Final, cast

from ringfence.errors import RingfenceError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_STDOUT: Final = 1
_STDERR: Final = 2


class OutputLost(RingfenceError, OSError):
    """Standard output takes no more: its disk is full, say."""


class _Stream(FileIO):
    def write(self, data: ReadableBuffer, /) -> int:
        while (written := cast("int | None", super().write(data))) is None:
            # Whoever shares it with us has set it non-blocking.
            from select import select

            select([], [self], [])
        return written


class _Output(_Stream):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputLost(
                f"Standard output cannot be written to ({error.strerror}).",
                hint="What was printed is not whole; write it elsewhere, or make room.",
            ) from None


class _Messages(_Stream):
    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            # There is nobody left to tell, and the work is not the worse for it.
            return len(memoryview(data))


def open_streams() -> None:
    """Puts streams that behave as said above in the place of the process's own. Call it once.

    A descriptor that was closed is opened on the null device: the next file or socket would get its
    number otherwise, and with it what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest free number, and all below are taken: this one.
            os.open(os.devnull, os.O_RDWR)
            if name == "stdin":
                sys.stdin = open(number, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = _stream(sys.stdout, _STDOUT, _Output)
    sys.stderr = _stream(sys.stderr, _STDERR, _Messages)


def _stream(was: object, number: int, kind: type[_Stream]) -> TextIOWrapper:
    raw = kind(number, "w", closefd=False)
    unbuffered = isinstance(was, TextIOWrapper) and was.write_through
    return TextIOWrapper(
        BufferedWriter(raw),
        encoding=was.encoding if isinstance(was, TextIOWrapper) else "utf-8",
        # Ids and logs hold any text; a terminal that cannot show it must not end a command.
        errors="backslashreplace",
        line_buffering=number == _STDERR or raw.isatty() or unbuffered,
    )
