"""A client that is killed in the middle of what it does, as a program of its own.

It lives lives of runs and prints what was acknowledged. What a line says must be there afterwards,
whenever the client was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ringfence.runs import Complete, Progress, Start, change_run, reap
from ringfence.state.base import StateStore
from ringfence.testing._runs import new_record, unique


def open_store(kind: str, url: str, options: dict[str, Any]) -> StateStore:
    """The store that the program works on."""
    if kind == "postgres":
        from ringfence.state.postgres.store import PostgresStateStore

        return PostgresStateStore(url, **options)
    if kind == "s3":
        from obstore.store import S3Store

        from ringfence.state.s3 import S3StateStore

        # Its keys are in the environment.
        return S3StateStore(S3Store(endpoint=url, **options), bucket="meta")
    from ringfence.state.redis.store import RedisStateStore

    return RedisStateStore(url, **options)


def _say(**row: Any) -> None:
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


async def lives(store: StateStore, app: str) -> None:
    """Lives, four at a time, until the process is killed."""

    def now() -> datetime:
        return datetime.now(UTC)

    async def one() -> None:
        while True:
            record = await store.create(new_record(app, at=now()))
            run = record.id
            _say(run=run, version=1)
            record = await change_run(store, record, Start(), now)
            _say(run=run, version=record.version)
            for number in range(3):
                numbers = await store.append(run, [number, number], batch=f"b{number}")
                _say(run=run, first=numbers.start)
                record = await change_run(store, record, Progress(progress=number), now)
                _say(run=run, version=record.version)
            record = await change_run(store, record, Complete(0), now)
            _say(run=run, version=record.version, done=True)

    await asyncio.gather(*(one() for _ in range(4)))


@dataclass(frozen=True)
class Target:
    """What the program works on: a kind of store, where, with which options and environment."""

    kind: str
    url: str
    options: dict[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)


async def check_killed_clients(store: StateStore, target: Target, seeds: range) -> None:
    """Kills a client for each seed at a moment of its own, and looks what is there."""
    for seed in seeds:
        app = unique("killed-")
        lines = await asyncio.to_thread(_killed, target, app, seed)
        told: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            told.setdefault(line["run"], []).append(line)
        assert told, "it was killed before it did anything"
        for run, rows in told.items():
            record = await store.get(run)
            assert record.version >= max(row.get("version", 1) for row in rows)
            if any(row.get("done") for row in rows):
                assert record.status.terminal
            events = await store.events(run)
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert [event.payload for event in events] == [n // 2 for n in range(len(events))]
            assert len(events) >= max(
                (row["first"] + 1 for row in rows if "first" in row), default=0
            )
        listed = {record.id for record in (await store.list(app, limit=1000)).records}
        assert listed >= told.keys()
        await reap(store, _much_later)
        after = [(await store.get(run)).status for run in told]
        assert all(status.terminal or status.value == "PENDING" for status in after)


def _much_later() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def _killed(target: Target, app: str, seed: int) -> list[dict[str, Any]]:
    arguments = (target.kind, target.url, json.dumps(target.options), app)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.state.killed", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        env={**os.environ, **target.env},
    )
    assert process.stdout is not None
    chance = random.Random(seed)  # noqa: S311 - a moment, not a secret
    lines = [json.loads(process.stdout.readline()) for _ in range(chance.randint(1, 120))]
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    rest, _ = process.communicate()
    # The last line may have been cut.
    return lines + [json.loads(line) for line in rest.splitlines() if line.endswith("}")]


_ROOT = Path(__file__).parents[2]


def main(arguments: list[str]) -> None:
    kind, url, options, app = arguments
    asyncio.run(lives(open_store(kind, url, json.loads(options)), app))


if __name__ == "__main__":
    main(sys.argv[1:])
