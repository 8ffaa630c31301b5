"""Waiting for what happens elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

LONG: Final = 30.0
"""Seconds: far more than anything takes here. What hangs fails."""


async def until(reached: Callable[[], bool]) -> None:
    """Returns once it is so: of the other side of a connection there is no event to wait for."""
    async with asyncio.timeout(LONG):
        while not reached():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)
