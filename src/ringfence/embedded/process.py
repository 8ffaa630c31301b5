"""The engine's process: started apart from the caller, and known by a lock that only it can hold.

The process holds a lock on ``StateDir.alive`` from before its first instruction until its last,
because it inherits the locked file. So whether it lives is a question to the kernel: no process id
that was given to another program, and no ``up`` that was killed half-way, gives a wrong answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from ringfence.embedded.statedir import (
    POLL_SECONDS,
    StateDir,
    is_locked,
    read_private,
    try_lock,
)
from ringfence.errors import EngineError

_PRIVATE: Final = 0o077
_KILL_SECONDS: Final = 10.0
_LAUNCH_SECONDS: Final = 10.0
_LOCK_SECONDS: Final = 1.0

# The inner shell says its own process id before it becomes the engine. The outer one ends at once,
# so that the engine is nobody's child and leaves no zombie behind. Both need only POSIX.
_LAUNCH: Final = """
pid=$1; shift
sh -c 'echo $$ >"$0" && exec "$@"' "$pid" "$@" </dev/null &
"""


def is_alive(state: StateDir) -> bool:
    """Whether the engine's process lives."""
    return is_locked(state.alive)


def pid_of(state: StateDir) -> int | None:
    """The engine's process id, or None while it has not said it. Means nothing once it is dead."""
    text = (read_private(state.pid) or "").strip()
    return int(text) if text.isdigit() else None


def spawn(
    state: StateDir, command: Sequence[str], environment: Mapping[str, str], log: int
) -> None:
    """Starts the engine in a session of its own, in ``state.conf``, with these variables only.

    Raises:
        EngineError: it is alive already, or the system starts no more processes.
    """
    descriptor = os.open(state.alive, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        # Somebody who asks whether it lives holds the lock too, for a moment.
        if not try_lock(descriptor, timeout=_LOCK_SECONDS):
            raise EngineError(f"The engine in {state.root} is alive already.")
        state.pid.unlink(missing_ok=True)
        subprocess.run(
            ["/bin/sh", "-c", _LAUNCH, "sh", str(state.pid), *command],
            cwd=state.conf,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(descriptor,),
            start_new_session=True,
            umask=_PRIVATE,
            timeout=_LAUNCH_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"The engine's process cannot be started ({error}).") from error
    finally:
        # The lock stays: it belongs to the open file, which the engine has too.
        os.close(descriptor)


def stop(state: StateDir, *, is_quiet: Callable[[], bool], timeout: float) -> None:
    """Ends the engine: politely until it is quiet, or for ``timeout`` seconds, then at once.

    Raises:
        EngineError: it cannot be ended.
    """
    deadline = time.monotonic() + timeout
    _signal(state, signal.SIGTERM)
    while is_alive(state) and time.monotonic() < deadline and not is_quiet():
        time.sleep(POLL_SECONDS)
    deadline = time.monotonic() + _KILL_SECONDS
    while is_alive(state):
        _signal(state, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise EngineError(
                f"The engine in {state.root} cannot be ended (process {pid_of(state)})."
            )
        time.sleep(POLL_SECONDS)
    state.pid.unlink(missing_ok=True)


def _signal(state: StateDir, number: signal.Signals) -> None:
    """Signals the engine; a process that is not the engine is never signalled.

    The process id is the engine's for as long as the engine lives. A file descriptor for it is
    taken first, where the system has those, and only then is it seen whether the engine lives.
    """
    pid = pid_of(state)
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not hasattr(os, "pidfd_open"):
            if is_alive(state):
                os.kill(pid, number)
            return
        descriptor = os.pidfd_open(pid)
        try:
            if is_alive(state):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def open_log(path: Path, limit: int) -> tuple[int, int]:
    """Opens the log to append to it, private; a long one is set aside first.

    Returns the descriptor and the size before this start.
    """
    if path.exists() and path.stat().st_size > limit:
        path.replace(path.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    return descriptor, os.fstat(descriptor).st_size
