"""Waits for a command's end, and brings it about when it has to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import IntEnum

from ringfence.executor.child import KILL_SECONDS, Child


class Why(IntEnum):
    """Why a command ended; of several at once, the first."""

    BY_ITSELF = 0
    KILLED = 1
    STOPPED = 2
    TIMED_OUT = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a command. Times are in seconds."""

    timeout: float | None
    grace: float
    stop: asyncio.Event | None
    kill: asyncio.Event


async def until_ended(child: Child, limits: Limits) -> tuple[int | None, Why]:
    """Waits until nothing of the run is left; its status (see :meth:`Child.ended`), and why."""
    ended = asyncio.create_task(child.ended())
    try:
        why = await _first_reason(ended, limits)
        if why in {Why.STOPPED, Why.TIMED_OUT}:
            child.signal(signal.SIGTERM)
            child.signal(signal.SIGCONT)  # a stopped process is asked as well
            await _within(limits.grace, ended, limits.kill)
        if not ended.done():
            child.signal(signal.SIGKILL)
            await asyncio.wait({ended}, timeout=KILL_SECONDS)
        if not ended.done():
            child.kill()
            await asyncio.wait({ended}, timeout=KILL_SECONDS)
        return (ended.result() if ended.done() else None), why
    finally:
        ended.cancel()


async def _first_reason(ended: asyncio.Task[int | None], limits: Limits) -> Why:
    waits: dict[asyncio.Task[object], Why] = {_task(limits.kill.wait()): Why.KILLED}
    if limits.stop is not None:
        waits[_task(limits.stop.wait())] = Why.STOPPED
    if limits.timeout is not None:
        waits[_task(asyncio.sleep(limits.timeout))] = Why.TIMED_OUT
    try:
        done, _ = await asyncio.wait({ended, *waits}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
    return min(waits.get(task, Why.BY_ITSELF) for task in done)


async def _within(seconds: float, ended: asyncio.Task[int | None], kill: asyncio.Event) -> None:
    killed = _task(kill.wait())
    try:
        await asyncio.wait({ended, killed}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        killed.cancel()


def _task(awaitable: Awaitable[object]) -> asyncio.Task[object]:
    return asyncio.ensure_future(awaitable)
