"""Where everything lies afterwards, and the commands to look at it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ringfence.config import load_environment, process_environment
from ringfence.demo.cast import ADA, GRACE, JOB, WEATHER, examples
from ringfence.demo.house import House
from ringfence.demo.parts import Places, Ran
from ringfence.scope import AccessMode, Area, Scope
from ringfence.storage import Storage


def places(storage: Storage, house: House, ran: Ran) -> Places:
    """The places and the commands, each of which works as it is written, in this folder.

    Unless the user's environment is set to another installation: it wins over an env file.
    """
    real = process_environment()
    own = load_environment([house.ready.env_file], {})
    return Places(
        tuple(_places(storage)),
        tuple(_commands(house, ran)),
        house.kept,
        tuple(sorted(name for name in own if name in real)),
    )


def _places(storage: Storage) -> Iterator[tuple[str, str]]:
    scope = Scope(WEATHER.id, ADA.id)
    editor = Scope(WEATHER.id, ADA.id, mode=AccessMode.EDIT_APP)
    url, workspace = storage.provider.url, storage.open(scope)
    yield "data and summaries", url(workspace.grant(Area.APP))
    yield "reports", url(workspace.grant(Area.USER))
    yield "logs", url(workspace.grant(Area.LOGS))
    yield "metadata", url(storage.open(editor).grant(Area.META))
    yield "run records", f"s3://{storage.settings.buckets.meta}/execution/runs/"


def _commands(house: House, ran: Ran) -> Iterator[str]:
    ringfence, engine = _program(), f"--dir {_quoted(house.ready.folder)}"
    env_file = f"--env-file {_quoted(house.ready.env_file)}"
    ada, grace = shlex.quote(ADA.id), shlex.quote(GRACE.id)
    run = next(run.record.id for run in ran.runs if run.app is WEATHER)
    job = f"{_quoted(Path(sys.executable))} {_quoted(examples() / JOB)} {WEATHER.source} 2013"
    if not house.kept:
        yield f"{ringfence} up {engine}"
    yield f"{ringfence} runs list --app {WEATHER.id} {env_file}"
    yield f"{ringfence} logs {run} --times {env_file}"
    yield f"{ringfence} grants --app {WEATHER.id} --user {ada} --explain {env_file}"
    yield f"{ringfence} run --app {WEATHER.id} --user {grace} {env_file} -- {job}"
    yield f"{ringfence} down {engine}"


def _program() -> str:
    """How the user can call us: by name where that finds this very installation."""
    own = Path(sys.executable).with_name("ringfence")
    found = shutil.which("ringfence")
    if found and Path(found).resolve() == own.resolve():
        return "ringfence"
    return _quoted(own) if own.is_file() else f"{_quoted(Path(sys.executable))} -m ringfence"


def _quoted(path: Path) -> str:
    """A path as short as it can be written from here."""
    # Not resolved: a virtual environment's python is a link, and must be called by its own name.
    near = os.path.relpath(path)
    return shlex.quote(str(path) if near.startswith("..") else near)
