"""The honest part: data in, jobs run, results and logs read back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ringfence.config import process_environment
from ringfence.demo.cast import ABOUT, ADA, APPS, JOB, USERS, App, User, examples, report_key
from ringfence.demo.parts import Computed, Finished, Granted, LogRead, Ran, Seed, Seeded
from ringfence.executor.run_command import Job, Outcome, run_command
from ringfence.logs import LogEntry, read_log
from ringfence.providers._obstore import translating
from ringfence.scope import AccessMode, Area, Scope
from ringfence.state.record import RunRecord
from ringfence.storage import Storage, new_run_id

if TYPE_CHECKING:
    from ringfence.workspace import Workspace

RunIds = Mapping[tuple[App, User], str]

JOB_TIMEOUT: Final = timedelta(seconds=120)


class Interrupted(Exception):
    """A signal that was meant for the demo reached it while a job ran, and the job got it too."""

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


async def seed(storage: Storage) -> Seeded:
    """Puts each app's data into its place, as someone who edits the app would: fenced as well."""
    return Seeded(tuple([await _seed(storage, app) for app in APPS]))


async def _seed(storage: Storage, app: App) -> Seed:
    data = (examples() / "data" / app.source).read_bytes()
    about = {"city": app.city, "source": "NOAA daily summaries", "licence": "public domain"}
    workspace = await storage.open(Scope(app.id, ADA.id, mode=AccessMode.EDIT_APP))
    with translating("store the data", "CONTENT_BUCKET and META_BUCKET"):
        await workspace.app.put_async(app.source, data)
        await workspace.meta.put_async(ABOUT, json.dumps(about).encode())
    return Seed(
        app, url(storage, workspace, Area.APP, app.source), data.count(b"\n") - 1, len(data)
    )


def granted(storage: Storage, app: App, user: User, run_id: str) -> Granted:
    """What one execution may touch."""
    scope = Scope(app.id, user.id, run_id)
    documents = storage.explain(scope)
    return Granted(scope, storage.grants(scope), storage.settings.buckets, documents[0].language)


def new_runs(storage: Storage) -> RunIds:
    """Ids for the runs of the example job: one for each app and user."""
    return {(app, user): new_run_id(storage.clock()) for app in APPS for user in USERS}


async def run_examples(storage: Storage, ids: RunIds, hide: Sequence[Path]) -> Ran:
    """Runs the example job for every app and user, all at the same time."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_run(storage, app, user, run_id, hide))
                for (app, user), run_id in ids.items()
            ]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return Ran(tuple(task.result() for task in tasks))


async def _run(
    storage: Storage, app: App, user: User, run_id: str, hide: Sequence[Path]
) -> Finished:
    command = (sys.executable, str(examples() / JOB), app.source, user.year)
    outcome = await execute(storage, command, app, user, hide=hide, run_id=run_id)
    return Finished(app, user, outcome.record, await trouble(storage, outcome))


async def execute(
    storage: Storage,
    command: Sequence[str],
    app: App,
    user: User,
    *,
    hide: Sequence[Path],
    run_id: str,
) -> Outcome:
    """One execution, as ``ringfence run`` does it, without showing its output.

    Raises:
        Interrupted: the user wants the demo to end.
    """
    job = Job(
        command=command,
        app=app.id,
        user=user.id,
        run_id=run_id,
        timeout=JOB_TIMEOUT,
        environment=process_environment(),
        hide=hide,
        passthrough=False,
    )
    outcome = await run_command(storage, job)
    if outcome.ending.forwarded:
        raise Interrupted(outcome.ending.forwarded[0])
    return outcome


async def trouble(storage: Storage, outcome: Outcome) -> str | None:
    """What to tell of a run that did not end well: the error, and the last line it wrote."""
    if outcome.exit_code == 0:
        return None
    if outcome.trouble is not None:
        return str(outcome.trouble)
    entries = await log_of(storage, outcome.record)
    last = next((entry.text for entry in reversed(entries) if entry.text.strip()), "")
    return " ".join(filter(None, (outcome.record.error, last)))


async def read_report(storage: Storage, app: App, user: User) -> Computed:
    """A report, read back from its user's place as an app's backend would."""
    workspace = storage.open(Scope(app.id, user.id, mode=AccessMode.INVOKE_NONE))
    key = report_key(user)
    report: dict[str, Any] = {}
    # Where it is not there, or not whole, the part says so.
    with translating("read the report", "CONTENT_BUCKET"), suppress(FileNotFoundError, ValueError):
        body = await (await workspace.user.get_async(key)).bytes_async()
        report = json.loads(bytes(body))
    return Computed(app, user, url(storage, workspace, Area.USER, key), report)


async def read_logs(storage: Storage, record: RunRecord) -> LogRead:
    """A run's log, with the right to read logs and no other."""
    workspace = storage.open(_reading(record))
    entries = await log_of(storage, record)
    return LogRead(record, url(storage, workspace, Area.LOGS, ""), tuple(entries))


async def log_of(storage: Storage, record: RunRecord) -> list[LogEntry]:
    """The lines of a run's log."""
    return [entry async for entry in read_log(storage.open(_reading(record)).logs)]


async def stored_log(storage: Storage, record: RunRecord) -> str:
    """The key of one stored part of a run's log."""
    workspace = storage.open(_reading(record))
    with translating("list the log", "LOG_BUCKET"):
        listing = await workspace.logs.list().collect_async()
    return f"{workspace.grant(Area.LOGS).prefix}{listing[0]['path']}"


def _reading(record: RunRecord) -> Scope:
    return Scope(record.app_id, record.user_id, record.id, AccessMode.READ_LOGS)


def url(storage: Storage, workspace: Workspace, area: Area, key: str) -> str:
    """The place of an object as the cloud's tools write it."""
    return f"{storage.provider.url(workspace.grant(area))}{key}"
