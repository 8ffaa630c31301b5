"""From the supervisor to the command: fork, the last restrictions, exec."""

from __future__ import annotations

import errno
import os

from . import descendants, linux, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

_REPORT_BYTES = 256

_IGNORED = frozenset(
    getattr(signal, f"SIG{name}")
    for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "ALRM", "TSTP")
)
_kept_ignored: set[int] = set()


def ignore_signals() -> None:
    """Leaves signals to the engine: a service manager signals every process of a service at once.

    What was ignored before (as ``nohup`` does) stays ignored in the command.
    """
    for number in _IGNORED:
        if signal.signal(number, signal.SIG_IGN) == signal.SIG_IGN:
            _kept_ignored.add(number)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def start(plan: wire.Plan, control: int, achieved: list[str]) -> descendants.Command | None:
    """Starts the command and tells the engine so, or why not; then the answer is ``None``."""
    if not _change_folder(plan, control):
        return None
    reading, writing = os.pipe()
    supervisor = os.getpid()
    child = os.fork()
    if child == 0:
        _become(plan, writing, supervisor)
    os.close(writing)
    report = _read_all(reading)
    os.close(reading)
    locked, _, failure = report.partition(b"\t")
    if failure:
        os.waitpid(child, 0)
        wire.tell(control, "failed", *failure.decode().split())
        return None
    wire.tell(control, "achieved", *achieved, *([locked.decode()] if locked else []))
    wire.tell(control, "started")
    return descendants.Command(child)


def _change_folder(plan: wire.Plan, control: int) -> bool:
    # By name and after hiding: an inherited folder would be the one under the cover.
    try:
        os.chdir(plan.cwd)
    except OSError as error:
        wire.tell(control, "failed", "cwd", error.errno)
        return False
    return True


def _read_all(descriptor: int) -> bytes:
    report = b""
    while piece := os.read(descriptor, _REPORT_BYTES):
        report += piece
    return report


def _become(plan: wire.Plan, writing: int, supervisor: int) -> None:
    """Turns this process into the command. Exec closes ``writing``, which holds its report."""
    stage = "confine"
    try:
        _leave_the_launcher(plan, supervisor)
        locked = plan.level >= wire.PRIVILEGES and linux.landlock()
        os.write(writing, b"landlock\t" if locked else b"\t")
        stage = "exec"
        os.execvpe(plan.command[0], plan.command, plan.environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        number = error.errno or 0
        if stage == "exec" and _is_there(plan.command[0], number):
            number = wire.INTERPRETER_MISSING
        os.write(writing, f"{stage} {number}".encode())
    finally:
        os._exit(127)


def _is_there(file: bytes, number: int) -> bool:
    return number == errno.ENOENT and b"/" in file and os.path.exists(file)  # noqa: PTH110


def _leave_the_launcher(plan: wire.Plan, supervisor: int) -> None:
    os.setsid()
    if linux.ON_LINUX:
        linux.die_with_parent(wire.KILL)
        if os.getppid() != supervisor:
            os._exit(127)
    signal.set_wakeup_fd(-1)
    for number in set(range(1, signal.NSIG)) - _kept_ignored:
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):
            continue  # SIGKILL, SIGSTOP, and those that the C library keeps for itself
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
