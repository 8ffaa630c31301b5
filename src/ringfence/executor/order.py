"""What is to be run, checked and in the kernel's terms; and why it could not be, in a person's."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from ringfence.errors import RingfenceError, UsageError
from ringfence.executor._launch import wire
from ringfence.executor.confine import Confine

_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126


@dataclass(frozen=True, slots=True)
class Order:
    """A command with its folder, its variables and the paths to hide from it."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    cwd: Path
    hide: tuple[Path, ...]
    confine: Confine

    def plan(self, level: int) -> wire.Plan:
        """The order at one level of confinement, for the launcher."""
        return wire.Plan(
            level=level,
            required=self.confine is Confine.REQUIRED,
            parent=os.getpid(),
            cwd=os.fsencode(self.cwd),
            hide=[os.fsencode(path) for path in self.hide],
            environment={os.fsencode(k): os.fsencode(v) for k, v in self.environment.items()},
            command=[os.fsencode(argument) for argument in self.command],
        )


def take_order(
    command: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path | None,
    hide: Sequence[Path],
    confine: Confine,
) -> Order:
    """Checks what can be checked before anything is started.

    Raises:
        UsageError: no command, a NUL, a variable's name with ``=``, or no such folder.
    """
    if isinstance(command, str) or not command or not command[0]:
        raise UsageError(
            "There is no command to run.", hint="Give the program and its arguments, after --."
        )
    if any("\0" in text for text in (*command, *environment, *environment.values())):
        raise UsageError("An argument or a variable holds a NUL, which the system cannot pass on.")
    if any(not name or "=" in name for name in environment):
        raise UsageError("A variable's name is empty or holds '='.")
    folder = _folder(cwd)
    variables = dict(environment)
    if cwd is not None and "PWD" in variables:
        variables["PWD"] = str(folder)
    # A path that is not there needs no hiding.
    hidden = dict.fromkeys(path.resolve() for path in hide if os.path.lexists(path))
    return Order(tuple(command), variables, folder, tuple(hidden), confine)


def _folder(cwd: Path | None) -> Path:
    try:
        folder = (cwd or Path.cwd()).absolute()
    except FileNotFoundError:
        raise UsageError("The current folder does not exist any more.") from None
    if not folder.is_dir():
        raise UsageError(f"The command's folder {folder} is not there, or is no folder.")
    return folder


class NotStarted(NamedTuple):
    """Why a command did not start, and what a shell would exit with."""

    sentence: str
    exit_code: int


def not_started(order: Order, stage: str, number: int) -> NotStarted:
    """Why the launcher could not start the command.

    Raises:
        UsageError: the command cannot enter its folder.
        RingfenceError: it was not the command's fault.
    """
    if stage == "cwd":
        raise UsageError(
            f"The command cannot enter its folder {order.cwd} ({os.strerror(number)}).",
            hint="It may lie in a folder that is hidden from commands.",
        )
    if stage != "exec":
        raise RingfenceError(f"The command's process was refused ({os.strerror(number)}).")
    name = order.command[0]
    if not name.isprintable():
        name = repr(name)  # it is shown on a terminal, which it must not steer
    where = "" if "/" in name else " on the PATH"
    match number:
        case errno.ENOENT | errno.ENOTDIR:
            return NotStarted(f"ringfence: {name}: command not found{where}", _NOT_FOUND)
        case wire.INTERPRETER_MISSING:
            reason = "the interpreter that it names is missing"
            return NotStarted(f"ringfence: {name}: {reason}", _NOT_FOUND)
        case errno.EACCES:
            reason = "not executable, or a folder (permission denied)"
        case errno.ENOEXEC:
            reason = "not a program for this machine, or a script without a #! line"
        case _:
            reason = os.strerror(number)
    return NotStarted(f"ringfence: {name}: {reason}", _NOT_EXECUTABLE)
