"""Starting, stopping and finding the embedded engine."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ringfence.embedded import (
    binary,
    command,
    configfiles,
    enginelog,
    envfile,
    keys,
    ports,
    process,
    readiness,
    statedir,
)
from ringfence.embedded.doorlist import FILER_SOCKET, S3_SOCKET
from ringfence.embedded.model import BUCKETS, Engine, Port, Ports
from ringfence.embedded.ports import grpc_sockets
from ringfence.embedded.statedir import StateDir
from ringfence.errors import EngineError

UP_SECONDS: Final = 30.0
DOWN_SECONDS: Final = 15.0
START_FREE_BYTES: Final = 2 * command.MIN_FREE_BYTES
"""With less room than this, the engine is not started: it would be full soon."""

_LOG_BYTES: Final = 8 << 20
_ATTEMPTS: Final = 3
_HUNG_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 0.5

Progress = Callable[[str], None]


def up(
    state_dir: Path, *, timeout: float = UP_SECONDS, on_progress: Progress | None = None
) -> Engine:
    """Starts the engine, or finds it running, and returns when it answers signed requests.

    Several calls at once, in this process or in others, come to one engine. Its data, ports and
    keys are those of the former start. ``timeout`` is in seconds. When it fails, nothing is left
    running that it started.

    Raises:
        MissingExtra: the engine's package is not installed.
        UsageError: the folder holds other things.
        EngineError: it does not start, the disk is full, a port is taken, or a door is open.
    """
    say = on_progress or _ignore
    program = binary.find()
    state = statedir.locate(state_dir)
    deadline = time.monotonic() + timeout
    with statedir.in_words(state):
        statedir.prepare(state)
        with statedir.locked(state, timeout):
            if process.is_alive(state) and not _revive(state, deadline, say):
                _end(state, DOWN_SECONDS)
            started = not process.is_alive(state)
            if started:
                _start(state, program, deadline, say)
            return _engine(state, started=started)


def down(state_dir: Path, *, timeout: float = DOWN_SECONDS) -> bool:
    """Stops the engine and returns whether there was one. Its data stays.

    It is asked to stop and given ``timeout`` seconds to close its files, then it is killed; what it
    has acknowledged is on its files in either case.

    Raises:
        EngineError: it cannot be stopped, or another command is at work.
    """
    state = statedir.locate(state_dir)
    with statedir.in_words(state):
        if not state.installation.exists():
            return False
        with statedir.locked(state, timeout):
            was_running = process.is_alive(state)
            if was_running:
                _end(state, timeout)
            return was_running


def status(state_dir: Path) -> Engine | None:
    """The engine as it is now, or None where none was ever started in this folder.

    Raises:
        EngineError: the folder cannot be read, or is damaged.
    """
    state = statedir.locate(state_dir)
    with statedir.in_words(state):
        if not state.installation.exists() or ports.kept(state) is None:
            return None
        return _engine(state, started=False)


def _ignore(_text: str) -> None:
    return


def _revive(state: StateDir, deadline: float, say: Progress) -> bool:
    """Finishes what an ``up`` that was killed may have left undone; False for one that hangs."""
    found = ports.kept(state)
    if found is None:
        return False
    limit = min(deadline, time.monotonic() + _HUNG_SECONDS)
    try:
        _finish(state, found, limit, say)
    except readiness.NotReady:
        return False
    except readiness.DoorOpen:
        _end(state, 0)
        raise
    return True


def _start(state: StateDir, program: binary.Binary, deadline: float, say: Progress) -> None:
    _require_room(state)
    fresh = ports.kept(state) is None
    for attempt in range(1, _ATTEMPTS + 1):
        settled = ports.settle(state)
        try:
            _launch(state, program, settled, deadline, say)
        except readiness.PortTaken:
            # Somebody was faster. Of new ports nobody knows yet, so others will do; of kept ones
            # all but the S3 port are nobody's business, and ``settle`` has words for that one.
            if attempt == _ATTEMPTS:
                raise
            if fresh:
                state.ports.unlink(missing_ok=True)
        else:
            return


def _launch(
    state: StateDir, program: binary.Binary, settled: Ports, deadline: float, say: Progress
) -> None:
    say(f"Starting SeaweedFS {program.version}")
    configfiles.write(state, keys.load_or_make(state))
    statedir.write_private(state.version, program.version)
    state.finished.unlink(missing_ok=True)
    _remove_sockets(state, settled)
    log, offset = process.open_log(state.log, _LOG_BYTES)
    try:
        process.spawn(state, command.command(program, settled), command.environment(state), log)
        _finish(state, settled, deadline, say)
    except readiness.NotReady as error:
        _end(state, 0)
        raise _in_words(state, offset, error) from None
    except BaseException:
        _end(state, 0)
        raise
    finally:
        os.close(log)


def _in_words(state: StateDir, offset: int, error: readiness.NotReady) -> EngineError:
    why = enginelog.reason(state.log, offset)
    said = f'it said "{why}"' if why else str(error)
    hint = f"All that it said is in {state.log}."
    if why and "address already in use" in why:
        return readiness.PortTaken(f"The engine did not start: {said}.", hint=hint)
    return EngineError(f"The engine did not start: {said}.", hint=hint)


def _finish(state: StateDir, settled: Ports, deadline: float, say: Progress) -> None:
    secrets = keys.load_or_make(state)
    say("Waiting for it to answer")
    readiness.wait(state, secrets, settled, deadline)
    say("Trying every door")
    readiness.require_closed(state, settled)
    say("Looking after the buckets")
    readiness.make_buckets(secrets, settled, deadline)
    if not state.finished.exists():
        readiness.require_objects(secrets, settled, deadline)
    statedir.write_private(state.env, envfile.render(envfile.variables(secrets, settled)))
    statedir.write_private(state.finished, "")


def _require_room(state: StateDir) -> None:
    free = free_bytes(state.root)
    if free < START_FREE_BYTES:
        raise EngineError(
            f"The disk of {state.root} has {free >> 20} MiB left, and the engine needs "
            f"{START_FREE_BYTES >> 20} MiB to start.",
            hint="Make room, or choose a folder on another disk with --dir.",
        )


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write on the folder's disk."""
    return shutil.disk_usage(folder).free


def _end(state: StateDir, timeout: float) -> None:
    settled = ports.kept(state)
    process.stop(state, is_quiet=_Quiet(settled), timeout=timeout)
    if settled is not None:
        _remove_sockets(state, settled)


class _Quiet:
    """Whether the engine can acknowledge nothing any more, and has had a moment to finish.

    It cannot without the part that keeps the objects or the one that keeps their names; which of
    them stops first is left to chance. Then it may be killed, and has to be: its parts wait for
    each other for 15 seconds, and sometimes for ever. What was acknowledged is in its files.
    """

    def __init__(self, settled: Ports | None) -> None:
        self._ports = settled
        self._since: float | None = None

    def __call__(self) -> bool:
        if self._ports is None:
            return True
        needed = (self._ports[Port.VOLUME_GRPC], self._ports[Port.FILER_GRPC])
        if not any(ports.is_free(number) for number in needed):
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since > _SETTLE_SECONDS


def _remove_sockets(state: StateDir, settled: Ports) -> None:
    own = [state.sockets / S3_SOCKET, state.sockets / FILER_SOCKET]
    statedir.remove_sockets(iter([*own, *grpc_sockets(settled).values()]))


def _engine(state: StateDir, *, started: bool) -> Engine:
    settled = ports.kept(state) or {}
    running = process.is_alive(state)
    free = free_bytes(state.root)
    return Engine(
        state_dir=state.root,
        running=running,
        ready=running and readiness.answers(keys.load_or_make(state), settled),
        pid=process.pid_of(state) if running else None,
        endpoint=envfile.endpoint(settled),
        version=statedir.read_private(state.version) or "unknown",
        ports=settled,
        buckets=BUCKETS,
        env_file=state.env,
        log_file=state.log,
        data_dir=state.data,
        free_bytes=free,
        full=free < command.MIN_FREE_BYTES,
        started=started,
    )
