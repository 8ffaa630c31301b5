"""Following a run's events: the one loop that every store's ``tail`` is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Final

from ringfence.errors import StorageUnreachable
from ringfence.state.event import Event

if TYPE_CHECKING:
    from ringfence.state.base import StateStore

PAGE: Final = 100
"""Events that are read at a time. They wait in the store, so this bounds what is in memory."""

LONGEST_WAIT: Final = 5.0
"""Seconds until a tail looks again although nothing woke it: a wake-up that was lost costs this."""

RETRY_SECONDS: Final = 0.5
GIVE_UP_SECONDS: Final = 60.0
"""How long a tail goes on while its store is out of reach."""

Arrival = Callable[[int], Awaitable[None]]
"""Waits until the run may have events after this number, or may have ended. It may return early,
fail, or never return: the loop bounds it, and looks for itself."""

_log = logging.getLogger(__name__)


class Polling:
    """An arrival for stores that wake nobody: it waits longer the longer nothing comes."""

    def __init__(self, least: float = 0.2, most: float = 2.0) -> None:
        self._least = least
        self._most = most
        self._delay = least
        self._after = -1

    async def __call__(self, after: int) -> None:
        """Waits. The first time after something came, the least."""
        self._delay = min(self._delay * 2, self._most) if after == self._after else self._least
        self._after = after
        await asyncio.sleep(self._delay)


async def tail_events(
    store: StateStore,
    run_id: str,
    after: int,
    arrival: Arrival,
    *,
    longest_wait: float = LONGEST_WAIT,
) -> AsyncGenerator[Event]:
    """Yields events until the run has ended and all that came before its end is told.

    ``arrival`` must be woken by what happens after it was called; what happened before is seen by
    the look that follows here. A store that is out of reach for less than a minute is waited for.
    """
    ended, failing_since = False, None
    while not ended:
        try:
            found = await store.events(run_id, after=after, limit=PAGE)
            if not found:
                ended, found = await _wait(store, run_id, after, arrival, longest_wait)
            failing_since = None
        except StorageUnreachable as error:
            now = asyncio.get_running_loop().time()
            failing_since = failing_since or now
            if now - failing_since > GIVE_UP_SECONDS:
                raise
            _log.warning("The events of run %s cannot be read for now: %s", run_id, error)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        for event in found:
            after = event.sequence
            yield event


async def _wait(
    store: StateStore, run_id: str, after: int, arrival: Arrival, longest_wait: float
) -> tuple[bool, tuple[Event, ...]]:
    """Waits where nothing is to be told. Returns whether that was all, and what came meanwhile."""
    waiting = asyncio.ensure_future(arrival(after))
    try:
        # In this order: what was appended before the end is there once the end is seen.
        ended = (await store.get(run_id)).status.terminal
        found = await store.events(run_id, after=after, limit=PAGE)
        if ended or found:
            return ended and not found, found
        await asyncio.wait({waiting}, timeout=longest_wait)
        if waiting.done() and waiting.exception() is not None:
            await asyncio.sleep(RETRY_SECONDS)  # it wakes nobody, so the loop polls
        return False, ()
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
