"""The launcher of one command, seen from the engine: its socket, its pipes, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from ringfence.errors import RingfenceError
from ringfence.executor._launch import wire

KILL_SECONDS: Final = 5.0
"""How long the launcher has to end everything before it is killed itself."""

_START_SECONDS: Final = 30.0
_POLL_SECONDS: Final = (0.0005, 0.05)
_PROGRAM: Final = "import sys; sys.path.append(sys.argv.pop(1)); from _launch import main; main()"
_LOADER_VARIABLES: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(slots=True)
class Report:
    """What the launcher said about the start."""

    started: bool = False
    refused: tuple[str, int] | None = None
    failed: tuple[str, int] | None = None
    achieved: frozenset[str] = frozenset()
    exposed: list[int] = field(default_factory=list)
    noted: list[tuple[str, int]] = field(default_factory=list)


class Child:
    """A started launcher. Whoever has one must await :meth:`close`."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._pipes = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
        self._control = control
        self._received = b""

    @classmethod
    def spawn(cls, environment: Mapping[str, str]) -> Self:
        """Starts a launcher, which waits for its plan.

        It has a session of its own, so that a terminal's Ctrl-C reaches only the engine.

        Raises:
            RingfenceError: the system would not start it.
        """
        # The launcher gets no variable but those its interpreter may need to be loaded at all.
        own = {name: environment[name] for name in _LOADER_VARIABLES if name in environment}
        control, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(
                    [*_interpreter(), str(theirs.fileno())],
                    stdin=_stdin(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    cwd="/",
                    env=own,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except OSError as error:
            control.close()
            raise RingfenceError(
                f"The command's launcher could not be started ({error.strerror}).",
                hint="The system may have too many processes or open files.",
            ) from error
        control.setblocking(False)
        return cls(process, control)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The reading ends of the command's standard output and standard error."""
        return tuple(pipe.fileno() for pipe in self._pipes)

    async def start(self, plan: wire.Plan) -> Report:
        """Sends the plan and waits until the command has started, or will not.

        Raises:
            RingfenceError: the launcher broke, or did not answer in thirty seconds.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                with suppress(ConnectionError):  # it ended early; why is still to be read
                    await asyncio.get_running_loop().sock_sendall(self._control, wire.pack(plan))
                return await self._report()
        except TimeoutError:
            raise RingfenceError(
                "The command's launcher did not answer.",
                hint="A file system that hangs can cause this.",
            ) from None

    async def _report(self) -> Report:
        report = Report()
        while words := await self._receive():
            match words:
                case ["refused", stage, number]:
                    report.refused = (stage, int(number))
                    return report
                case ["failed", stage, number]:
                    report.failed = (stage, int(number))
                    return report
                case ["started"]:
                    report.started = True
                    return report
                case ["achieved", *names]:
                    report.achieved = frozenset(names)
                case ["exposed", index, _]:
                    report.exposed.append(int(index))
                case ["noted", stage, number]:
                    report.noted.append((stage, int(number)))
                case _:
                    break
        reason = words[-1] if words else self._last_words()
        raise RingfenceError(f"The command's launcher ended before its time: {reason}.")

    def _last_words(self) -> str:
        """What an interpreter that could not even be loaded wrote to standard error."""
        descriptor = self.descriptors[1]
        os.set_blocking(descriptor, False)
        try:
            words = os.read(descriptor, 500).decode("utf-8", "backslashreplace").strip()
        except BlockingIOError:
            words = ""
        return words or "it gave no reason"

    async def _receive(self) -> list[str]:
        while b"\n" not in self._received:
            try:
                data = await asyncio.get_running_loop().sock_recv(self._control, 4096)
            except ConnectionError:
                return []
            if not data:
                return []
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode().split("\t")

    def signal(self, number: int) -> None:
        """Has a signal sent to the command's process group; SIGKILL ends everything."""
        with suppress(OSError):  # it has ended, or is about to be killed
            self._control.send(bytes([number]))

    def kill(self) -> None:
        """Kills the launcher itself, which ends its PID namespace if it has one."""
        self._process.kill()

    async def ended(self) -> int | None:
        """Waits for the end of everything; the command's status as ``waitpid`` gives it.

        ``None`` when the launcher was killed.
        """
        status = None
        while words := await self._receive():
            if words[0] == "ended":
                status = int(words[1])
        await self._exited()
        return status

    async def close(self) -> None:
        """Ends whatever still runs, and closes everything."""
        try:
            self.signal(signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(KILL_SECONDS):
                    await self._exited()
        finally:
            self._let_go()

    async def _exited(self) -> None:
        pause, longest = _POLL_SECONDS
        while self._process.poll() is None:
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    def _let_go(self) -> None:
        self._control.close()
        if self._process.poll() is None:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
        for pipe in self._pipes:
            pipe.close()


def _interpreter() -> list[str]:
    folder = Path(__file__).parent
    return [sys.executable, "-I", "-S", "-E", "-c", _PROGRAM, str(folder)]


def _stdin() -> int | None:
    """Ours, unless it is closed, or is a folder: through one, a command could walk out."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return subprocess.DEVNULL
    return subprocess.DEVNULL if stat.S_ISDIR(mode) else None
