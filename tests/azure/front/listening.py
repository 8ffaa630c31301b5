"""HTTP as it comes in: one request read whole, nothing of it normalised."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

from tests.azure.front.model import Reply, Request

TIMEOUT_SECONDS: Final = 20.0


class Answering(Protocol):
    """Who answers what is read here."""

    def answer(self, request: Request) -> Reply: ...
    def hang_up(self) -> None: ...


def listen(front: Answering) -> ThreadingHTTPServer:
    """A server on the loopback interface, a thread for each connection."""
    return _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"front": front}))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = TIMEOUT_SECONDS
    wbufsize = -1
    front: Answering

    def serve(self) -> None:
        """Reads one request whole, and answers it."""
        headers = dict(self.headers.items())
        if len(headers) != len(self.headers) or "Transfer-Encoding" in self.headers:
            # A header that comes twice, or a body of a length that is not said.
            self.close_connection = True
            self._send((400, [], b""))
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # The target as it came: http.server takes a second slash at its start away.
        target = self.requestline.split(" ")[1]
        self._send(self.front.answer(Request(self.command, target, headers, body)))

    def _send(self, reply: Reply) -> None:
        status, headers, body = reply
        self.send_response_only(status)
        given = {name.lower(): value for name, value in headers}
        bare = self.command == "HEAD" or status in {204, 304}
        length = given.get("content-length", "0") if bare else str(len(body))
        for name, value in headers:
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if not bare:
            self.wfile.write(body)
        self.wfile.flush()

    def finish(self) -> None:
        """The connection is over: so is its thread, and what that has open."""
        super().finish()
        self.front.hang_up()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_OPTIONS = serve  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


_OF_THE_CONNECTION: Final = frozenset(
    {"transfer-encoding", "connection", "keep-alive", "content-length"}
)
