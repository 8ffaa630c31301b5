"""``ringfence logs``: what an execution said."""

from __future__ import annotations

import json
import sys
from collections import deque
from typing import TYPE_CHECKING, Annotated

import typer

from ringfence.cli._common import AsJson, EnvFiles, with_storage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from ringfence.logs import LogEntry
    from ringfence.storage import Storage


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("logs")(logs)


def logs(
    run: Annotated[str, typer.Argument(help="The run's id.", metavar="RUN")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until the run has ended.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", help="Only the last lines.", min=0)
    ] = None,
    times: Annotated[bool, typer.Option("--times", "-t", help="Show when and where.")] = False,
    env_files: EnvFiles = None,
    as_json: AsJson = False,
) -> None:
    """Print an execution's log. With --json, one JSON object on each line."""

    def show(entry: LogEntry) -> None:
        text = json.dumps(entry.to_json(), ensure_ascii=False) if as_json else _line(entry, times)
        sys.stdout.write(text if entry.partial and not (times or as_json) else f"{text}\n")

    async def work(storage: Storage) -> None:
        if follow:
            async for entry in _follow(storage, run):
                show(entry)
                sys.stdout.flush()
            return
        last: deque[LogEntry] = deque(maxlen=tail)
        async for entry in _read(storage, run):
            if tail is None:
                show(entry)
            else:
                last.append(entry)
        for entry in last:
            show(entry)

    with_storage(env_files, work)


def _line(entry: LogEntry, times: bool) -> str:
    text = entry.text
    if entry.fields:
        text += "".join(f" {name}={value!r}" for name, value in entry.fields.items())
    if entry.level:
        text = f"{entry.level.upper()} {text}"
    return f"{entry.at:%H:%M:%S.%f}"[:-3] + f" {entry.stream:<6} {text}" if times else text


async def _read(storage: Storage, run: str) -> AsyncIterator[LogEntry]:
    from ringfence.logs import read_log
    from ringfence.scope import AccessMode, Scope

    record = await storage.state.get(run)
    scope = Scope(record.app_id, record.user_id, record.id, AccessMode.READ_LOGS)
    async for entry in read_log(storage.open(scope).logs):
        yield entry


async def _follow(storage: Storage, run: str) -> AsyncIterator[LogEntry]:
    import asyncio

    from ringfence.logs import follow_log
    from ringfence.scope import AccessMode, Scope

    record = await storage.state.get(run)
    scope = Scope(record.app_id, record.user_id, record.id, AccessMode.READ_LOGS)
    done = asyncio.Event()
    watcher = asyncio.create_task(_until_terminal(storage, run, done))
    try:
        async for entry in follow_log(storage.open(scope).logs, done):
            yield entry
    finally:
        watcher.cancel()


async def _until_terminal(storage: Storage, run: str, done: asyncio.Event) -> None:
    import asyncio

    while not (await storage.state.get(run)).status.terminal:  # noqa: ASYNC110 - another process's
        await asyncio.sleep(1)
    done.set()
