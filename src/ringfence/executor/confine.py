"""How far a command is confined here, in flags and in sentences; and this process's own protection.

What each step does is in :mod:`ringfence.executor._launch`, and for users in docs/executions.md.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from ringfence.executor._launch import wire

ON_LINUX: Final = sys.platform == "linux"


class Confine(StrEnum):
    """How much confinement a caller asks for."""

    AUTO = "auto"
    """As much as the system allows; the :class:`Confinement` says what is missing."""
    REQUIRED = "required"
    """All of it, or the command is not started."""
    OFF = "off"
    """None: the command keeps every privilege of this process. It is still supervised."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A step that the kernel did not allow, with its error number."""

    level: int
    stage: str
    number: int


@dataclass(frozen=True, slots=True)
class Confinement:
    """What was asked for, and what a command was really given."""

    requested: Confine
    privileges_dropped: bool = False
    """No capabilities, and none to be had: setuid programs have no effect."""
    landlock: bool = False
    """The memory and environment of processes outside cannot be read; where the kernel is Linux
    6.12 or later, they cannot be signalled either."""
    own_files: bool = False
    """A mount namespace: hidden paths, raw disks and service sockets are out of reach."""
    own_processes: bool = False
    """A PID namespace: other processes are out of sight, and the run's die with the launcher."""
    user_namespace: bool = False
    """The namespaces were had without root: ids other than the user's own are shown as nobody's."""
    hidden: tuple[Path, ...] = ()
    exposed: tuple[Path, ...] = ()
    """Paths that were to be hidden and are not."""
    refusals: tuple[Refusal, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the command has everything that confinement can give on this system."""
        return self.own_processes and not self.exposed

    def sentences(self) -> tuple[str, ...]:
        """What is missing and why, for a person; nothing when all is there or none was wanted."""
        if self.requested is Confine.OFF:
            return ()
        return (*dict.fromkeys(map(_why, self.refusals)), *self._missing())

    def _missing(self) -> tuple[str, ...]:
        found: list[str] = []
        if not ON_LINUX:
            found.append("Confinement needs Linux; on this system the command is only supervised.")
        if not self.own_processes:
            found.append(_SHARED_GUARDED if self.landlock else _SHARED)
        if self.exposed:
            paths = ", ".join(map(str, self.exposed))
            found.append(f"The command can reach what was to be hidden: {paths}.")
        return tuple(found)


_SHARED: Final = (
    "The command shares the process table: it can signal this user's other processes, and read the "
    "memory and environment of those that are not protected, other runs included. Run executions "
    "under a user of their own."
)
_SHARED_GUARDED: Final = (
    "The command sees this user's other processes, but cannot read their memory or environment."
)

_STAGES: Final = {
    "namespaces": "new namespaces",
    "proc": "a /proc of the command's own, as it does where /proc is partly covered",
    "hide": "hiding a path",
    "kernel files": "making the kernel's files read-only",
}


def _why(refusal: Refusal) -> str:
    what = _STAGES.get(refusal.stage, refusal.stage)
    return f"The kernel refused {what} ({os.strerror(refusal.number)})."


def levels(confine: Confine) -> tuple[int, ...]:
    """The levels to try, most confined first."""
    if confine is Confine.OFF or not ON_LINUX:
        return (wire.NONE,)
    if confine is Confine.REQUIRED:
        return (wire.PROCESSES,)
    return (wire.PROCESSES, wire.FILES, wire.PRIVILEGES)


def protect_this_process() -> None:
    """Closes this process's memory, environment and open files to others of the same user.

    On Linux it becomes undumpable (``PR_SET_DUMPABLE``), on macOS debuggers are denied; it leaves
    no core file on either. For the rest of its life it cannot be traced or profiled from outside
    without root. Calling it again changes nothing. An execution calls it before it starts.
    """
    import ctypes
    import resource

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        from ringfence.executor._launch import linux

        linux.become_undumpable()
    elif sys.platform == "darwin":  # pragma: no cover - no such machine in the tests
        deny_attach = 31
        ctypes.CDLL(None).ptrace(deny_attach, 0, None, 0)
