"""The same life of a run on DBOS, which keeps durable workflows and their events in PostgreSQL.

A program of its own: DBOS is one for each process. ``python -m bench.peers.dbos_life URL N LIVES``
runs so many lives with N in flight, and prints how many it did in a second.
"""

from __future__ import annotations

import asyncio
import sys
import time
from importlib import import_module
from typing import Any

from bench.peers.run_records import EVENTS

_dbos: Any = import_module("dbos")
"""Not installed for the type checks."""


async def _life() -> str:
    """Ten events and an end."""
    for number in range(EVENTS):
        await _dbos.DBOS.set_event_async(f"event-{number}", {"n": number})
    return "COMPLETED"


life: Any = _dbos.DBOS.workflow()(_life)


async def lives(in_flight: int, count: int) -> float:
    """Lives in a second."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            handle = await _dbos.DBOS.start_workflow_async(life)
            await handle.get_result()
            await handle.get_status()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return count / (time.perf_counter() - began)


async def main(url: str, in_flight: int, count: int) -> None:
    """Launches, warms up, measures, prints."""
    config = {
        "name": "bench",
        "system_database_url": url,
        "log_level": "ERROR",
    }
    _dbos.DBOS(config=config)
    _dbos.DBOS.launch()
    await lives(1, 2)
    sys.stdout.write(f"{await lives(in_flight, count)}\n")
    _dbos.DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
