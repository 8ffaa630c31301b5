"""HTTP/1.1 as it comes: nothing normalised, nothing guessed. What is not plain is refused.

A server library would decode, fold and tidy before the double sees a request; what it authorises
would then not be what was sent.
"""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Any, Final

MAX_HEAD_BYTES: Final = 64 << 10
MAX_BODY_BYTES: Final = 64 << 20
IDLE_SECONDS: Final = 30.0

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(r"/[\x21-\x7e]*")
_ONCE: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "authorization", "x-amz-security-token"}
)

Headers = tuple[tuple[str, str], ...]


class BadRequest(Exception):
    """Not HTTP as this double reads it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``target`` is as it stood in the request line, names of headers are in lower
    case."""

    method: str
    target: str
    headers: Headers
    body: bytes = field(repr=False)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The value, or None where the header is not there. Several values are joined, as HTTP
        says."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Response:
    """One answer. ``length`` is for HEAD, whose body stays away."""

    status: int
    headers: Headers = ()
    body: bytes = field(default=b"", repr=False)
    length: int | None = None


Handler = Callable[[Request], Response]


class _Connection(socketserver.StreamRequestHandler):
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True

    def setup(self) -> None:
        server: Any = self.server
        if server.tls is not None:
            self.request = server.tls.wrap_socket(self.request, server_side=True)
        server.connections.add(self.request)
        super().setup()

    def handle(self) -> None:
        with suppress(OSError, EOFError):
            while self._exchange():
                pass

    def finish(self) -> None:
        server: Any = self.server
        with suppress(OSError):
            super().finish()
        server.connections.discard(self.request)
        self.request.close()

    def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        server: Any = self.server
        try:
            request = _read(self.rfile, self.wfile)
        except BadRequest as error:
            self.wfile.write(_answer("GET", Response(400, body=str(error).encode()), close=True))
            return False
        closes = (request.header("connection") or "").lower() == "close"
        self.wfile.write(_answer(request.method, server.handler(request), close=closes))
        self.wfile.flush()
        return not closes


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.handler = handler
        self.tls = tls
        self.connections: set[socket.socket] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, or does not like the certificate, is no error of the server's."""

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        for each in list(self.connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serves on a loopback port of its own; gives ``host:port``."""
    server = _Server(handler, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.end()
        thread.join(IDLE_SECONDS)


def _read(stream: BufferedIOBase, back: BufferedIOBase) -> Request:
    lines = _head(stream)
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1" or not _TARGET.fullmatch(parts[1]):
        raise BadRequest("that is no request line")
    headers = tuple(map(_header, lines[1:]))
    names = [name for name, _ in headers]
    if any(names.count(name) > 1 for name in _ONCE) or "host" not in names:
        raise BadRequest("a header is there twice, or Host is missing")
    chunked = dict(headers).get("transfer-encoding")
    length = dict(headers).get("content-length", "0")
    # Two lengths of one body are how requests are smuggled.
    if chunked is not None and (chunked != "chunked" or "content-length" in names):
        raise BadRequest("that is no way to send a body")
    if not (length.isascii() and length.isdecimal()) or int(length) > MAX_BODY_BYTES:
        raise BadRequest("that is no length of a body")
    if dict(headers).get("expect", "").lower() == "100-continue":
        back.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        back.flush()
    body = _chunks(stream) if chunked else _exactly(stream, int(length))
    return Request(parts[0], parts[1], headers, body)


def _exactly(stream: BufferedIOBase, length: int) -> bytes:
    body = stream.read(length)
    if len(body) != length:
        raise EOFError
    return body


def _chunks(stream: BufferedIOBase) -> bytes:
    """A chunked body (RFC 9112, section 7.1), without extensions and trailers."""
    body = bytearray()
    while True:
        size = stream.readline(16)
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}\r\n", size):
            raise BadRequest("that is no chunk")
        count = int(size, 16)
        body += _exactly(stream, count)
        if stream.readline(16) != b"\r\n" or len(body) > MAX_BODY_BYTES:
            raise BadRequest("a chunk has no end, or the body has none")
        if count == 0:
            return bytes(body)


def _head(stream: BufferedIOBase) -> list[str]:
    lines: list[str] = []
    size = 0
    while True:
        line = stream.readline(MAX_HEAD_BYTES)
        size += len(line)
        if not line:
            raise EOFError
        if not line.endswith(b"\r\n") or size > MAX_HEAD_BYTES:
            raise BadRequest("the head is too long, or has lines that end otherwise")
        text = line[:-2].decode("latin-1")
        if not text:
            return lines if lines else _head(stream)
        lines.append(text)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise BadRequest("that is no header")
    return name.lower(), value.strip(" \t")


def _answer(method: str, response: Response, *, close: bool) -> bytes:
    length = len(response.body) if response.length is None else response.length
    headers: Iterable[tuple[str, str]] = (
        *response.headers,
        ("Content-Length", str(length)),
        ("Connection", "close" if close else "keep-alive"),
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    start = f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Status')}\r\n{head}\r\n"
    bodiless = method == "HEAD" or response.status in {204, 304}
    return start.encode("latin-1") + (b"" if bodiless else response.body)


_REASONS: Final = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
