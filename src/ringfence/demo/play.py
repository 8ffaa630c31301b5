"""The whole demo, as one call: the engine up, the story told, the engine down again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

from ringfence.demo.house import House, engine
from ringfence.demo.parts import Part, Verdict
from ringfence.demo.signals import ending_in_order, leave
from ringfence.demo.story import play
from ringfence.demo.work import Interrupted
from ringfence.errors import RingfenceError


def play_on_engine(folder: Path, *, keep: bool | None, show: Callable[[Part], None]) -> Verdict:
    """Plays the story on an embedded engine in ``folder`` and returns its verdict.

    Args:
        folder: the demo's own; made where it is not there.
        keep: whether the engine goes on afterwards; None leaves it as it was found.
        show: called with each part as it is seen.

    Raises:
        RingfenceError: the story could not be told to its end.
    """
    with ending_in_order(), engine(folder, keep=keep, show=show) as house:
        try:
            verdict = asyncio.run(_played(house, show))
        except Interrupted as interrupted:
            leave(interrupted.signal)
    return verdict


async def _played(house: House, show: Callable[[Part], None]) -> Verdict:
    async with aclosing(play(house)) as parts:
        async for part in parts:
            show(part)
            if isinstance(part, Verdict):
                return part
    raise RingfenceError("The story ended without a verdict.")
