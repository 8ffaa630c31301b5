"""Waiting for what happens elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

SOON: Final = 20.0
"""Seconds within which something must happen that happens at once."""


async def until(reached: Callable[[], bool]) -> None:
    """Returns once it is so."""
    deadline = asyncio.get_running_loop().time() + SOON
    while not reached():
        assert asyncio.get_running_loop().time() < deadline, "it did not come to that"
        await asyncio.sleep(0.005)
