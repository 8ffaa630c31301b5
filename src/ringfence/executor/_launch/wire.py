"""What the engine and the launcher say to each other over the control socket.

To the launcher: the plan (four bytes of length, then fields between NULs, which no path, argument
or variable can hold), and after it single bytes, each the number of a signal to pass on; ``KILL``
ends everything. From the launcher: lines of words between tabs, see :func:`tell`. When the socket
closes, the other side is gone.
"""

from __future__ import annotations

import os

NONE = 0
"""No confinement: the launcher only supervises."""
PRIVILEGES = 1
"""No new privileges, no capabilities, and Landlock scopes where the kernel has them."""
FILES = 2
"""Also a mount namespace, through a user namespace if not root: paths can be hidden."""
PROCESSES = 3
"""Also a PID namespace with its own /proc: other processes are out of sight and reach."""

KILL = 9

INTERPRETER_MISSING = -1
"""In place of an error number: the file is there, what its first line names is not."""

MAX_PLAN_BYTES = 64 * 1024 * 1024


class Plan:
    """What to start and how. Paths, arguments and variables are bytes, as the kernel has them."""

    __slots__ = ("command", "cwd", "environment", "hide", "level", "parent", "required")

    def __init__(
        self,
        *,
        level: int,
        required: bool,
        parent: int,
        cwd: bytes,
        hide: list[bytes],
        environment: dict[bytes, bytes],
        command: list[bytes],
    ) -> None:
        self.level = level
        self.required = required
        self.parent = parent
        self.cwd = cwd
        self.hide = hide
        self.environment = environment
        self.command = command


def pack(plan: Plan) -> bytes:
    """A plan as bytes, with its length in front."""
    numbers = (plan.level, int(plan.required), plan.parent, len(plan.hide), len(plan.environment))
    variables = [name + b"=" + value for name, value in plan.environment.items()]
    fields = [b"%d" % number for number in numbers]
    body = b"\0".join([*fields, plan.cwd, *plan.hide, *variables, *plan.command])
    return len(body).to_bytes(4, "big") + body


def unpack(body: bytes) -> Plan:
    """The plan that :func:`pack` wrote, without its length."""
    fields = body.split(b"\0")
    level, required, parent, hidden, variables = (int(field) for field in fields[:5])
    at = 6 + hidden
    pairs = (field.partition(b"=") for field in fields[at : at + variables])
    return Plan(
        level=level,
        required=bool(required),
        parent=parent,
        cwd=fields[5],
        hide=fields[6:at],
        environment={name: value for name, _, value in pairs},
        command=fields[at + variables :],
    )


def receive_plan(control: int) -> Plan | None:
    """Reads the plan; ``None`` when the engine went away first."""
    head = _exactly(control, 4)
    if head is None:
        return None
    body = _exactly(control, min(int.from_bytes(head, "big"), MAX_PLAN_BYTES))
    return None if body is None else unpack(body)


def _exactly(control: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = os.read(control, size - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)


def tell(control: int, *words: object) -> None:
    """Sends one line to the engine. An engine that is gone is no error: its absence is seen.

    ``refused STAGE ERRNO`` the level cannot be had, nothing was started; ``exposed INDEX ERRNO`` a
    path could not be hidden; ``noted STAGE ERRNO`` a step that failed; ``achieved NAME...``;
    ``started``; ``failed STAGE ERRNO`` the command could not be started; ``ended STATUS`` as
    ``waitpid`` gave it; ``broken ERRNO TEXT``.
    """
    line = "\t".join(str(word).replace("\t", " ").replace("\n", " ") for word in words)
    try:
        os.write(control, f"{line}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        return
