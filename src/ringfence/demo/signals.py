"""Ending early: whatever asks the demo to stop, nothing that it started goes on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP an exit that runs the clean-up, as Ctrl-C is one already."""
    with _handled(_ENDING, _exit):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keeps a short clean-up from being cut off by a second Ctrl-C."""
    with _handled((signal.SIGINT, *_ENDING), signal.SIG_IGN):
        yield


def leave(number: int) -> None:
    """Ends as the signal would have ended us.

    Raises:
        KeyboardInterrupt: for SIGINT.
        SystemExit: for any other.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _exit(number: int, _: FrameType | None) -> None:
    leave(number)


@contextmanager
def _handled(numbers: tuple[int, ...], handler: signal._HANDLER) -> Iterator[None]:
    # Only a main thread can have handlers; what was ignored, as under nohup, stays so.
    mine = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in numbers if mine}
    changed = {number: old for number, old in before.items() if old not in {None, signal.SIG_IGN}}
    for number in changed:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in changed.items():
            signal.signal(number, old)
