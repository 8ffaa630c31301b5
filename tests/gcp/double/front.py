"""The server: who it is that asks, and to which API the request belongs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl

from tests.gcp.double import batch, json_api, xml_api
from tests.gcp.double.boundary import Rejected
from tests.gcp.double.door import Answer, Asked, Door, Refused, World
from tests.gcp.double.signed import SIGNATURE, owner_by_url
from tests.gcp.double.tokens import Holder

_JSON: Final = {"Content-Type": "application/json"}


def respond(world: World, asked: Asked) -> Answer:
    """What the double answers to a request."""
    if asked.method == "POST" and asked.path == "/token":
        return _of_endpoint(lambda: world.tokens.grant(asked.body))
    if asked.method == "POST" and asked.path == "/v1/token":
        if world.tokens.failing:
            return Answer(world.tokens.failing.pop(0), b'{"error": "backend"}', _JSON)
        return _of_endpoint(lambda: world.tokens.exchange(asked.body))
    is_json = _is_json(asked.path)
    try:
        door = Door(world, _holder(world, asked))
        if SIGNATURE in asked.query:
            asked = replace(asked, query={})
        if asked.path == batch.PATH and asked.method == "POST":
            return batch.answer(door, asked)
        return json_api.answer(door, asked) if is_json else xml_api.answer(door, asked)
    except Refused as refused:
        return json_api.refusal(refused) if is_json else xml_api.refusal(refused)


def _is_json(path: str) -> bool:
    heads = ("/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/", batch.PATH)
    return path.startswith(heads)


def _of_endpoint(work: Any) -> Answer:
    try:
        return Answer(200, json.dumps(work()).encode(), _JSON)
    except Rejected as rejected:
        row = {"error": rejected.code, "error_description": rejected.text}
        return Answer(400, json.dumps(row).encode(), _JSON)


def _holder(world: World, asked: Asked) -> Holder:
    if SIGNATURE in asked.query:
        return owner_by_url(world, asked)
    kind, _, token = asked.headers.get("authorization", "").partition(" ")
    found = world.tokens.holder(token) if kind == "Bearer" else None
    if found is None:
        raise Refused(401, "AuthenticationRequired", "Authentication required.")
    return found


@dataclass(frozen=True, slots=True)
class Front:
    """A running double: its URL, and all that it knows."""

    url: str
    world: World


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    world: ClassVar[World]

    def _do(self) -> None:
        answer = self._answer()
        body = b"" if self.command == "HEAD" else answer.body
        headers = {"Content-Length": str(len(body)), **answer.headers}
        status = answer.status
        phrase = HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{n}: {v}" for n, v in headers.items())]
        if self.close_connection:
            lines.append("Connection: close")
        # In one piece, so that no acknowledgement is waited for.
        self.wfile.write("\r\n".join((*lines, "", "")).encode() + body)

    def _answer(self) -> Answer:
        # The target as it was sent: the library's own ``path`` has double slashes taken away.
        target = self.requestline.split(" ")[1]
        headers = {name.lower(): value for name, value in self.headers.items()}
        if len(headers) != len(self.headers) or "transfer-encoding" in headers:
            self.close_connection = True
            return Answer(501, b"a header is there twice, or the body has no length")
        body = self.rfile.read(int(headers.get("content-length", "0")))
        self.world.asked.append(f"{self.command} {target}")
        path, _, query = target.partition("?")
        fields = parse_qsl(query, keep_blank_values=True)
        if len({name for name, _ in fields}) != len(fields) or not path.startswith("/"):
            return Answer(400, b"<Error><Code>InvalidArgument</Code></Error>")
        return respond(self.world, Asked(self.command, path, dict(fields), headers, body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _do  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def serving(world: World) -> Iterator[Front]:
    """The double on a port of its own, for the while."""
    handler = type("_Bound", (_Handler,), {"world": world})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Front(f"http://127.0.0.1:{server.server_port}", world)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
