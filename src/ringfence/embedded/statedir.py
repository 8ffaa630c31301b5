"""The folder of an installation: what lies where, and that nobody else can read it."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.errors import EngineError, UsageError

INSTALLATION_FILE: Final = "installation.json"
"""By which an engine's folder is known, whatever its name."""

POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class StateDir:
    """Paths. ``root`` is absolute; its mode is 0700 and so is that of every folder in it."""

    root: Path

    @property
    def env(self) -> Path:
        """The variables of the Storage Providers page, mode 0600."""
        return self.root / "env"

    @property
    def installation(self) -> Path:
        """Says that the folder is ours; the first file to be written."""
        return self.root / INSTALLATION_FILE

    @property
    def ports(self) -> Path:
        """The ports, kept over restarts."""
        return self.root / "ports.json"

    @property
    def conf(self) -> Path:
        """Keys, certificates and configuration; the engine's working folder."""
        return self.root / "conf"

    @property
    def keys(self) -> Path:
        """The secrets of the installation, made once."""
        return self.conf / "keys.json"

    @property
    def data(self) -> Path:
        """The objects."""
        return self.root / "data"

    @property
    def sockets(self) -> Path:
        """Unix sockets. The engine names them relative to ``conf``: a path may be too long."""
        return self.root / "sock"

    @property
    def tmp(self) -> Path:
        """The engine's temporary folder."""
        return self.root / "tmp"

    @property
    def log(self) -> Path:
        """What the engine says."""
        return self.root / "engine.log"

    @property
    def lock(self) -> Path:
        """Held by a command that changes something."""
        return self.root / "lock"

    @property
    def alive(self) -> Path:
        """Locked by the engine's process for as long as it lives."""
        return self.conf / "alive"

    @property
    def version(self) -> Path:
        """The version of SeaweedFS that was started last."""
        return self.conf / "version"

    @property
    def finished(self) -> Path:
        """There once the start was seen to its end."""
        return self.conf / "finished"

    @property
    def pid(self) -> Path:
        """Written by the engine's process; says nothing unless ``alive`` is locked."""
        return self.conf / "pid"


def locate(folder: Path) -> StateDir:
    """The state folder, absolute, with links resolved. It need not exist."""
    return StateDir(folder.resolve())


@contextmanager
def in_words(state: StateDir) -> Iterator[None]:
    """Turns what the system says about files into an :class:`EngineError`."""
    try:
        yield
    except OSError as error:
        where = error.filename or state.root
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise EngineError(
            f"The engine's folder {state.root} cannot be used: {error.strerror} ({where}).",
            hint="Make room on its disk." if full else "Choose another with --dir.",
        ) from error


def prepare(state: StateDir) -> None:
    """Makes the folder, private and ours.

    Raises:
        UsageError: it is no folder, or has other things in it.
        EngineError: it belongs to somebody else.
        OSError: it cannot be made or written.
    """
    root = state.root
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file, not a folder.", hint="Choose another with --dir.")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    if root.stat().st_uid != os.geteuid():
        raise EngineError(
            f"The folder {root} belongs to another user.", hint="Choose another with --dir."
        )
    if not state.installation.exists() and any(_foreign(root)):
        raise UsageError(
            f"The folder {root} holds other things, and the engine needs one of its own.",
            hint="Choose another with --dir.",
        )
    write_private(state.installation, '{"format": 1}\n', keep=True)
    for folder in (root, state.conf, state.data, state.sockets, state.tmp):
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    # Keys must not get into a repository by `git add .`.
    write_private(root / ".gitignore", "*\n", keep=True)


def _foreign(root: Path) -> Iterator[str]:
    """What is there that an interrupted first start would not have left."""
    for entry in root.iterdir():
        if entry.name != "lock" and not entry.name.startswith(".part-"):
            yield entry.name


def write_private(path: Path, text: str, *, keep: bool = False) -> None:
    """Writes a whole file that was never readable by others, not for a moment.

    With ``keep``, a file that exists is left as it is.
    """
    if keep and path.exists():
        return
    part = path.with_name(f".part-{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(part, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_private(path: Path) -> str | None:
    """The text of a file of ours, or None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


@contextmanager
def locked(state: StateDir, timeout: float) -> Iterator[None]:
    """Only one command at a time changes an installation.

    Raises:
        EngineError: another one is at it for longer than ``timeout`` seconds.
    """
    descriptor = os.open(state.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if not try_lock(descriptor, timeout=timeout):
            raise EngineError(
                f"Another `ringfence up` or `down` is at work in {state.root}.",
                hint="Wait for it, or end it.",
            )
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, *, timeout: float = 0) -> bool:
    """Takes the lock of an open file, unless somebody has it for longer than ``timeout`` seconds.

    It goes with the open file: to whoever inherits it, and until the last of them has closed it.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock; others who ask are not taken for holders."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_sockets(paths: Iterator[Path]) -> None:
    """Removes Unix sockets that a killed engine left; nothing else, and nobody else's."""
    for path in paths:
        try:
            found = path.lstat()
            if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid():
                path.unlink()
        except FileNotFoundError:
            continue
