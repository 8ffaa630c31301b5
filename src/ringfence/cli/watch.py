"""``ringfence runs watch``: a run as it goes, live."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringfence.cli._common import AsJson, EnvFiles, printable, record_as_json, with_storage

if TYPE_CHECKING:
    from ringfence.state.event import Event
    from ringfence.state.record import RunRecord
    from ringfence.storage import Storage

LOOK_SECONDS = 1.0
"""How often the record is looked at while no event comes."""


def watch(
    run: Annotated[str, typer.Argument(help="The run's id.", metavar="RUN")],
    after: Annotated[
        int, typer.Option(help="Only events after this number.", metavar="SEQUENCE", min=0)
    ] = 0,
    env_files: EnvFiles = None,
    as_json: AsJson = False,
) -> None:
    """Watch a run: its events and what becomes of it, live, until it has ended.

    With --json, one JSON object on each line. Ends with 0 however the run ended.
    """

    def show(row: dict[str, Any], text: str) -> None:
        sys.stdout.write(
            (json.dumps(row, ensure_ascii=False) if as_json else printable(text)) + "\n"
        )
        sys.stdout.flush()

    def show_record(record: RunRecord) -> None:
        show({"run": record_as_json(record)}, _record_line(record))

    def show_event(event: Event) -> None:
        row = {"sequence": event.sequence, "at": event.at.isoformat(), "payload": event.payload}
        show({"event": row}, _event_line(event))

    async def work(storage: Storage) -> None:
        import asyncio

        record = await storage.state.get(run)
        if not record.status.terminal:  # how it ended is said last
            show_record(record)
        events = asyncio.create_task(_events(storage, run, after, show_event))
        try:
            while not events.done():
                await asyncio.wait({events}, timeout=LOOK_SECONDS)
                newer = await storage.state.get(run)
                if _news(record, newer) and not newer.status.terminal:
                    show_record(newer)
                record = newer
            await events
            show_record(record)
        finally:
            events.cancel()
            await asyncio.gather(events, return_exceptions=True)

    with_storage(env_files, work)


async def _events(storage: Storage, run: str, after: int, show: Any) -> None:
    async for event in storage.state.tail(run, after=after):
        show(event)


def _news(before: RunRecord, after: RunRecord) -> bool:
    """Whether a person would want to know; a heartbeat is none."""
    return (before.status, before.progress, before.step) != (
        after.status,
        after.progress,
        after.step,
    )


def _record_line(record: RunRecord) -> str:
    parts = [f"{record.updated_at:%H:%M:%S}", record.status.value]
    if record.progress:
        parts.append(f"{record.progress} %")
    parts += [text for text in (record.step, record.error) if text]
    return "  ".join(parts)


def _event_line(event: Event) -> str:
    return (
        f"{event.at:%H:%M:%S}  #{event.sequence}  {json.dumps(event.payload, ensure_ascii=False)}"
    )
