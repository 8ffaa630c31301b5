"""``ringfence runs``: the records of executions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringfence.cli._common import (
    App,
    AsJson,
    EnvFiles,
    console,
    one_of,
    print_json,
    printable,
    record_as_json,
    with_storage,
)
from ringfence.cli.watch import watch

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from ringfence.state.base import Page
    from ringfence.state.record import RunRecord
    from ringfence.storage import Storage

Run = Annotated[str, typer.Argument(help="The run's id.", metavar="RUN")]


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(help="Run records: list, show, watch, cancel.", no_args_is_help=True)
    group.command("list")(list_runs)
    group.command("show")(show)
    group.command("watch")(watch)
    group.command("cancel")(cancel)
    group.command("reap")(reap)
    app.add_typer(group, name="runs")


def list_runs(
    app: App,
    status: Annotated[
        str | None, typer.Option(help="Only runs of this status: PENDING, RUNNING, ...")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's runs.", metavar="ID")] = None,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=1000)] = 20,
    cursor: Annotated[
        str | None, typer.Option(help="Go on where a page before ended.", metavar="CURSOR")
    ] = None,
    env_files: EnvFiles = None,
    as_json: AsJson = False,
) -> None:
    """List an app's runs, newest first."""
    from ringfence.state.record import RunStatus

    wanted = None
    if status is not None:
        wanted = RunStatus(one_of("--status", status.upper(), tuple(RunStatus)))

    async def work(storage: Storage) -> Page:
        return await storage.state.list(app, status=wanted, user=user, limit=limit, cursor=cursor)

    page = with_storage(env_files, work)
    if as_json:
        rows = [_as_json(record) for record in page.records]
        print_json({"runs": rows, "cursor": page.cursor})
        return
    if not page.records:
        typer.echo(f"No runs of app {printable(app)}.")
        return
    console().print(_table(page.records))
    if page.cursor:
        typer.echo(f"More: --cursor {printable(page.cursor)}")


def show(run: Run, env_files: EnvFiles = None, as_json: AsJson = False) -> None:
    """Show one run's record."""

    async def work(storage: Storage) -> RunRecord:
        return await storage.state.get(run)

    _print_record(with_storage(env_files, work), as_json=as_json)


def cancel(
    run: Run,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "Cancelled by hand.",
    env_files: EnvFiles = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a run. Its runner ends the work at its next heartbeat."""
    from ringfence.runs import Cancel, change_run

    async def work(storage: Storage) -> RunRecord:
        return await change_run(storage.state, run, Cancel(reason), storage.clock)

    _print_record(with_storage(env_files, work), as_json=as_json)


def reap(env_files: EnvFiles = None, as_json: AsJson = False) -> None:
    """End runs whose runner is gone, and remove what has expired. For a scheduler.

    A run is turned into TIMEOUT when its lease is over. Several at once do no harm.
    """

    async def work(storage: Storage) -> tuple[tuple[RunRecord, ...], int]:
        from ringfence.runs import reap as reap_runs

        return await reap_runs(storage.state, storage.clock), await storage.state.purge()

    reaped, purged = with_storage(env_files, work)
    if as_json:
        print_json({"reaped": [_as_json(record) for record in reaped], "purged": purged})
        return
    for record in reaped:
        typer.echo(f"{printable(record.id)}  {record.status.value}  {printable(record.error)}")
    typer.echo(f"{len(reaped)} runs had lost their runner; {purged} expired runs were removed.")


def _print_record(record: RunRecord, *, as_json: bool) -> None:
    row = _as_json(record)
    if as_json:
        print_json(row)
        return
    width = max(len(name) for name in row)
    for name, value in row.items():
        if value is not None:
            typer.echo(f"{name:<{width}}  {printable(value)}")


def _as_json(record: RunRecord) -> dict[str, Any]:
    """The record, and whether its runner has gone silent, as far as this clock can tell."""
    return {**record_as_json(record), "stale": record.stale(datetime.now(UTC))}


def _table(records: tuple[RunRecord, ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("RUN", "STATUS", "USER", "MODE", "CREATED (UTC)", "TOOK", "ERROR"):
        table.add_column(name, overflow="fold", no_wrap=name in {"RUN", "STATUS"})
    for record in records:
        table.add_row(
            Text(printable(record.id)),
            _status(record),
            Text(printable(record.user_id)),
            record.mode.value,
            f"{record.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            took(record),
            Text(printable(record.error or "")),
        )
    return table


STATUS_STYLES = {
    "COMPLETED": "green",
    "FAILED": "red",
    "TIMEOUT": "red",
    "CANCELLED": "yellow",
    "RUNNING": "cyan",
    "PENDING": "cyan",
}


def _status(record: RunRecord) -> Text:
    from rich.text import Text

    if record.stale(datetime.now(UTC)):
        return Text(f"{record.status.value} (no heartbeat)", "yellow")
    return Text(record.status.value, STATUS_STYLES[record.status.value])


def took(record: RunRecord) -> str:
    """How long a run took, or nothing while it has not ended."""
    if record.started_at is None or record.completed_at is None:
        return ""
    return f"{(record.completed_at - record.started_at).total_seconds():.1f} s"
