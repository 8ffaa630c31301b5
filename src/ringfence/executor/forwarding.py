"""Signals that this process gets while a command runs, passed on to the command."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

FORWARDED: Final = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)

INTERRUPTS_TO_KILL: Final = 3
"""The third Ctrl-C does not ask any more."""

Send = Callable[[int], None]


class Forwarding:
    """Passes signals on from its entry to its exit, then puts the handlers back.

    Several executions at once share the handlers and all get each signal. Only a main thread can
    have handlers: elsewhere this does nothing. A signal that this process ignores, as under
    ``nohup``, stays ignored. What arrives before the command has started is kept for it.
    """

    def __init__(self) -> None:
        self.passed: list[int] = []
        self.kill = asyncio.Event()
        """Set by the third SIGINT."""
        self._waiting: list[int] = []
        self._send: Send | None = None
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            _join(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _leave(self)

    def send_to(self, send: Send) -> None:
        """Sends what arrived already, and from now on everything, through ``send``."""
        self._send = send
        waiting, self._waiting = self._waiting, []
        for number in waiting:
            send(number)

    def receive(self, number: int) -> None:
        """Called in the signal handler, which runs between any two steps of the main thread."""
        with suppress(RuntimeError):  # the loop has closed
            self._loop.call_soon_threadsafe(self._pass_on, number)

    def _pass_on(self, number: int) -> None:
        self.passed.append(number)
        if self._send is None:
            self._waiting.append(number)
        else:
            self._send(number)
        if self.passed.count(signal.SIGINT) >= INTERRUPTS_TO_KILL:
            self.kill.set()


# Signal handlers belong to the process, so their register does too.
_active: list[Forwarding] = []
_previous: dict[int, Any] = {}


def _join(forwarding: Forwarding) -> None:
    _active.append(forwarding)
    for number in FORWARDED:
        handler = signal.getsignal(number)
        # None: a handler that Python did not install, and could not put back.
        if number not in _previous and handler not in {None, signal.SIG_IGN}:
            _previous[number] = signal.signal(number, _dispatch)


def _leave(forwarding: Forwarding) -> None:
    if forwarding not in _active:
        return
    _active.remove(forwarding)
    while _previous and not _active:
        number, handler = _previous.popitem()
        if signal.getsignal(number) is _dispatch:
            signal.signal(number, handler)


def _dispatch(number: int, _frame: FrameType | None) -> None:
    for forwarding in tuple(_active):
        forwarding.receive(number)
