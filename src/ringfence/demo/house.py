"""The engine that the story is played on, and what of it must stay out of reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.config import Buckets
from ringfence.demo.parts import EngineReady, Part, Working
from ringfence.demo.signals import undisturbed
from ringfence.embedded import Door, Engine, Port, doors, down, up
from ringfence.layout import BucketRole

ENGINE: Final = ".ringfence"
"""The engine's folder in the demo's. ``ringfence run`` hides a folder of this name as a whole."""

START_SECONDS: Final = 60.0
"""Longer than `ringfence up` waits: the first thing that a newcomer runs, on whatever machine."""


@dataclass(frozen=True, slots=True)
class House:
    """A running engine."""

    ready: EngineReady
    doors: Mapping[str, str]
    """Its ports and sockets that a process on this machine can reach: name to address."""
    hidden_doors: Mapping[str, str]
    """Its sockets in the hidden folders."""
    key_files: Mapping[str, Path]
    hidden: tuple[Path, ...]
    """Folders that executions must not reach."""
    kept: bool
    """Whether it goes on running after the story."""


@contextmanager
def engine(folder: Path, *, keep: bool | None, show: Callable[[Part], None]) -> Iterator[House]:
    """Has the engine running, and stops it at the end unless it is to be kept.

    Args:
        folder: the demo's folder.
        keep: None leaves the engine as it was found, running or not.
        show: told what is being done.

    Raises:
        EngineError: it could not be started.
    """
    home = folder / ENGINE
    show(Working("Starting the engine"))
    found = up(home, timeout=START_SECONDS, on_progress=lambda text: show(Working(text)))
    kept = not found.started if keep is None else keep
    try:
        yield _house(found, home, kept=kept)
    finally:
        if not kept:
            with undisturbed():
                show(Working("Stopping the engine"))
                down(home)


def _house(found: Engine, home: Path, *, kept: bool) -> House:
    ready = EngineReady(
        version=f"SeaweedFS {found.version}",
        endpoint=found.endpoint,
        folder=home,
        env_file=home / found.env_file.name,
        buckets=Buckets(
            meta=found.buckets[BucketRole.META],
            content=found.buckets[BucketRole.CONTENT],
            log=found.buckets[BucketRole.LOG],
        ),
        started=found.started,
    )
    # S3's own port is the front door, which all the other attempts go to.
    beside = [door for door in doors(found) if door.name != Port.S3]
    inside = [door for door in beside if Path(door.address).is_relative_to(found.state_dir)]
    return House(
        ready=ready,
        doors=_named(door for door in beside if door not in inside),
        hidden_doors=_named(inside),
        key_files=_key_files(found),
        hidden=(found.state_dir,),
        kept=kept,
    )


def _named(some: Iterator[Door] | list[Door]) -> dict[str, str]:
    return {_name(door): door.address for door in some}


def _name(door: Door) -> str:
    name = door.name.replace("_", " ").replace("grpc", "gRPC").removesuffix(" socket")
    return f"{name}, socket" if door.unix else f"{name}, port {door.address.rpartition(':')[2]}"


def _key_files(found: Engine) -> dict[str, Path]:
    """Those of the files with keys that are there: one that is not could not be hidden either."""
    files = {
        "the master's keys": found.env_file,
        "the engine's keys": found.state_dir / "conf" / "keys.json",
        "its certificate's key": found.state_dir / "conf" / "engine.key",
    }
    return {what: path for what, path in files.items() if path.is_file()}
