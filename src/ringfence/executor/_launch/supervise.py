"""Starts the command, passes signals on to it, and ends everything that it leaves."""

from __future__ import annotations

import os
import select

from . import descendants, linux, shelter, start, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal  # the public module builds enums: 10 ms in every run

ENGINE_CHECK_MS = 2000
"""How often a supervisor looks whether the engine is still its parent. Its socket's end tells that
at once, unless a fork of the engine holds a copy of it."""


def carry_out(plan: wire.Plan, control: int) -> None:
    """The launcher's whole life, at whichever level the plan asks for."""
    start.ignore_signals()
    try:
        if plan.level >= wire.PROCESSES:
            _in_own_processes(plan, control)
        else:
            _in_shared_processes(plan, control)
    except shelter.Refused as refusal:
        wire.tell(control, "refused", refusal.stage, refusal.number)


def _in_own_processes(plan: wire.Plan, control: int) -> None:
    """Forks the first process of a PID namespace and waits: when either ends, all in it end."""
    user = shelter.enter_namespaces(plan)
    linux.die_with_parent(wire.KILL)
    if os.getppid() != plan.parent:
        return
    first = os.fork()
    if first == 0:
        linux.die_with_parent(wire.KILL)
        shelter.mount_own_proc()
        shelter.hide(plan, control)
        achieved = ["files", "processes", *(["user"] if user else [])]
        _supervise(plan, control, achieved, descendants.end_everyone)
        return
    linux.drop_privileges()
    linux.become_undumpable()
    os.waitpid(first, 0)


def _in_shared_processes(plan: wire.Plan, control: int) -> None:
    achieved = []
    if plan.level >= wire.FILES:
        achieved += ["files", *(["user"] if shelter.enter_namespaces(plan) else [])]
        shelter.hide(plan, control)
    if linux.ON_LINUX:
        linux.become_subreaper()
    _supervise(plan, control, achieved, descendants.end_family)


def _supervise(
    plan: wire.Plan,
    control: int,
    achieved: list[str],
    end: Callable[[descendants.Command], None],
) -> None:
    if plan.level >= wire.PRIVILEGES:
        linux.drop_privileges()
        achieved.append("privileges")
    if linux.ON_LINUX:
        linux.become_undumpable()
    wake = _wake_on_children()
    command = start.start(plan, control, achieved)
    if command is None:
        return
    _attend(command, control, wake, plan.parent if plan.level < wire.PROCESSES else None)
    end(command)
    wire.tell(control, "ended", command.status)


def _wake_on_children() -> int:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _nothing)
    return reading


def _nothing(_signal: int, _frame: object) -> None:
    """The wake-up pipe has the news."""


def _attend(command: descendants.Command, control: int, wake: int, parent: int | None) -> None:
    """Reaps and passes signals on until the command has ended, or has to."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while not command.has_ended():
        ready = {descriptor for descriptor, _ in poll.poll(ENGINE_CHECK_MS)}
        if wake in ready:
            _drain(wake)
        if control in ready and not _pass_on(command, control):
            return
        if parent is not None and os.getppid() != parent:
            return


def _drain(wake: int) -> None:
    try:
        while os.read(wake, 512):
            pass
    except BlockingIOError:
        return


def _pass_on(command: descendants.Command, control: int) -> bool:
    """Sends the signals that the engine asked for; false when it asked for the end, or is gone."""
    try:
        numbers = os.read(control, 64)
    except OSError:
        return False
    if not numbers or wire.KILL in numbers:
        return False
    for number in numbers:
        command.signal(number)
    return True
