"""The command's process, and everything that it started: their end."""

# ruff: noqa: PTH123, PTH208 - importing pathlib costs 10 ms in every run

from __future__ import annotations

import os
import select

from . import linux

KILL = 9
PASSES = 500
PASS_SECONDS = 0.01


class Command:
    """The command, a child of this supervisor and the leader of a session and group of its own.

    It is not reaped before its group was killed: until then its number cannot become another's.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status = KILL
        """As ``waitpid`` gave it; until then, as if killed."""

    def has_ended(self) -> bool:
        """Whether it has; collects every other child that has ended."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return not self.reap()
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (ended := os.waitid(os.P_ALL, 0, flags)) is not None:
            if ended.si_pid == self.pid:
                return True
            os.waitpid(ended.si_pid, 0)
        return False

    def signal(self, number: int) -> None:
        """Sends a signal to its group, which may be gone."""
        try:
            os.killpg(self.pid, number)
        except OSError:
            return

    def reap(self, *, wait: bool = False) -> bool:
        """Collects every child that has ended, or with ``wait`` all; true while some are left."""
        try:
            while True:
                pid, status = os.waitpid(-1, 0 if wait else os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self.pid:
                    self.status = status
        except ChildProcessError:
            return False


def end_everyone(command: Command) -> None:
    """Kills all other processes of a PID namespace at once; no fork escapes its first process."""
    _kill(-1)
    command.reap(wait=True)


def end_family(command: Command) -> None:
    """Kills the command's group and, on Linux, all its descendants, for a subreaper.

    Gives up after about five seconds: a process that forks without end can outrun any list.
    """
    command.signal(KILL)
    for _ in range(PASSES):
        # Orphans become the subreaper's children: when it has none, there is nobody left.
        if not command.reap():
            return
        for pid in _descendants(os.getpid()) if linux.ON_LINUX else ():
            _kill(pid)
        select.select([], [], [], PASS_SECONDS)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, KILL)
    except OSError:
        return  # it has ended


def _descendants(root: int) -> list[int]:
    """Every living descendant of ``root``, from the parents named in /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        parent = _parent(name) if name.isdigit() else None
        if parent is not None:
            children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {b"Z", b"X"} else int(fields[1])
