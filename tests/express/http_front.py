"""The HTTP of the double: requests as they were sent, by TLS through a tunnel or in clear.

It is the proxy of its clients: ``CONNECT host:443`` ends in TLS with a certificate for the names of
AWS, and an absolute target or a ``Host`` says in clear whom a request is for. So clients run with
the very endpoints that production has. Nothing of a target is normalised.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

IDLE_SECONDS: Final = 20.0
MAX_BODY: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``path`` and ``query`` are as they were sent; header names are lower-case."""

    method: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    secure: bool

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def params(self) -> dict[str, str]:
        """The query's fields, decoded. One that comes twice is no request that is known here."""
        fields = [part.partition("=") for part in self.query.split("&") if part]
        found = {unquote(name): unquote(value.replace("+", " ")) for name, _, value in fields}
        if len(found) != len(fields):
            raise ValueError("a field of the query comes twice")
        return found


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Response]


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    front: Front
    tunnel: str | None = None

    def handle_one_request(self) -> None:
        # The standard one collapses slashes and answers by itself what it does not know.
        # First of all: whoever says nothing for long is read from no more, and not for ever.
        self.close_connection = True
        with contextlib.suppress(OSError):  # clients go away, or say nothing for long
            line = self.rfile.readline(65537)
            if not line.strip():
                return
            self.raw_requestline = line
            if not self.parse_request():
                return
            method, target, _ = line.decode("latin-1").split(" ", 2)
            if method == "CONNECT":
                self._open_tunnel(target)
            else:
                self._answer(method, target)

    def _open_tunnel(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        if port != "443" or self.tunnel is not None or not self.front.knows(host):
            self.send_error(403)
            return
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        stream = self.front.tls.wrap_socket(self.connection, server_side=True)
        self.tunnel = host
        self.connection = self.request = stream
        self.rfile, self.wfile = stream.makefile("rb"), stream.makefile("wb")
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        if self.tunnel is not None:
            self.connection.close()

    def _answer(self, method: str, target: str) -> None:
        host = self.headers.get("Host", "")
        if target.startswith("http://"):
            parts = urlsplit(target)
            target = target.removeprefix(f"http://{parts.netloc}") or "/"
            host = host if host == parts.netloc else ""
        if self.tunnel is not None and host != self.tunnel:
            host = ""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        body = self._body()
        path, _, query = target.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        if body is None or len(headers) != len(self.headers) or not host:
            response = Response(400)
        else:
            secure = self.tunnel is not None
            response = self.front.handle(Request(method, host, path, query, headers, body, secure))
        self._send(method, response)

    def _body(self) -> bytes | None:
        if "Transfer-Encoding" in self.headers:
            return self._chunked()
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return None
        return self.rfile.read(int(length))

    def _chunked(self) -> bytes | None:
        if self.headers["Transfer-Encoding"].lower() != "chunked":
            return None
        body = b""
        while size := int(self.rfile.readline(32).strip() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline(3)
            if len(body) > MAX_BODY:
                return None
        while self.rfile.readline(8192).strip():
            pass
        return body

    def _send(self, method: str, response: Response) -> None:
        lines = [f"HTTP/1.1 {response.status} X"]
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.wfile.write(head if method == "HEAD" else head + response.body)
        self.wfile.flush()
        self.close_connection = self.headers.get("Connection", "").lower() == "close"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Nothing: tests have their own words."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | ssl.SSLError):
            traceback.print_exc()


class Front:
    """Listens on the loopback interface until it is left. ``knows`` says which hosts are here."""

    def __init__(self, handle: Handler, knows: Callable[[str], bool], chain: Path) -> None:
        self.handle = handle
        self.knows = knows
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(chain)
        made = type("Connection", (_Connection,), {"front": self})
        self._server = _Server(("127.0.0.1", 0), made)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="front", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
