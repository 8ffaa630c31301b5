"""What an execution may ask of its runner: its own credentials, renewed, its own log and events.

A small HTTP service on the loopback interface, one for each run, for as long as it runs. Whoever
has the run's token gets exactly what the execution has already: credentials of the same fence. AWS
SDKs can renew through it by themselves, since it also speaks the protocol of container credentials
(SDK Reference Guide, "Container credential provider"), and so can google-auth, for which it is a
token endpoint (:mod:`ringfence.executor.token_exchange`).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from ringfence.errors import Refused, RingfenceError, UsageError
from ringfence.executor import token_exchange
from ringfence.logs import LogEntry
from ringfence.providers.base import Clock, Credential
from ringfence.secret import Secret
from ringfence.state.event import Payload
from ringfence.vending import Credentials

MAX_BODY_BYTES: Final = 64 << 10
MAX_EVENTS_BYTES: Final = (16 << 20) + (64 << 10)
"""A batch of events, all payloads together."""
MAX_CONNECTIONS: Final = 64
REQUEST_SECONDS: Final = 30.0
LEVELS: Final = frozenset({"debug", "info", "warning", "error"})

Answer = tuple[int, dict[str, Any]]

_CREDENTIALS: Final = {("GET", "credentials"), ("GET", "container"), ("POST", "google/token")}
"""Where a credential is had, each in a form of its own, by its number behind it."""


class RunService:
    """Serves one run. An async context manager; ``url`` and ``token`` are for its child only."""

    def __init__(
        self,
        vend: Callable[[], Awaitable[Credentials]],
        append: Callable[[LogEntry], Awaitable[None]],
        emit: Callable[[Sequence[Payload], str | None], Awaitable[range]],
        sign: Callable[[str, str, str, float], Awaitable[str]],
        clock: Clock,
    ) -> None:
        self._vend = vend
        self._append = append
        self._emit = emit
        self._sign = sign
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._tasks: set[asyncio.Task[None]] = set()
        self.token = Secret(secrets.token_urlsafe(32))
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None  # noqa: S101 - entered before it is left
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._tasks.add(task)
        try:
            async with self._places, asyncio.timeout(REQUEST_SECONDS):
                await self._exchange(reader, writer)
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answer; the connection is closed after it."""
        import h11

        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16 << 10)
        try:
            request, body = await _receive(connection, reader)
            status, answer = await self._answer(request, body)
        except h11.RemoteProtocolError:
            status, answer = 400, {"error": "That is not an HTTP request that this can read."}
        data = json.dumps(answer).encode()
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(data))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        for event in (
            h11.Response(status_code=status, headers=headers),
            h11.Data(data=data),
            h11.EndOfMessage(),
        ):
            writer.write(connection.send(event) or b"")
        await writer.drain()

    async def _answer(self, request: Any, body: bytes) -> Answer:
        method, path = request.method.decode(), request.target.decode("latin-1")
        exchange = method == "POST" and path.startswith(token_exchange.PATH)
        given = dict(request.headers).get(b"authorization", b"")
        if exchange:  # a token endpoint is given the token in its form
            given = token_exchange.presented(body)
        if not hmac.compare_digest(given, self.token.reveal().encode()):
            return 403, {"error": "The run's token is missing or wrong."}
        return await self._done(method, path, body)

    async def _done(self, method: str, path: str, body: bytes) -> Answer:
        """What somebody with the run's token asks for."""
        if method == "POST" and path == "/log":
            return await self._log(body)
        if method == "POST" and path == "/events":
            return await self._events(body)
        if method == "POST" and path == "/sign":
            return await self._signed(body)
        if method == "GET" and path == token_exchange.SUBJECT_PATH:
            return 200, token_exchange.subject(self.token)
        kind, _, index = path.strip("/").rpartition("/")
        if index.isdecimal() and (method, kind) in _CREDENTIALS:
            return await self._credential(kind, int(index))
        return 404, {"error": f"There is no {method} {path[:100]} here."}

    async def _credential(self, kind: str, index: int) -> Answer:
        try:
            credentials = await self._vend()
        except RingfenceError as error:
            return 503, {"error": str(error), "code": type(error).__name__, "message": str(error)}
        if index >= len(credentials):
            return 404, {"error": f"This run has {len(credentials)} credentials."}
        try:
            return 200, self._in_form(kind, credentials[index])
        except KeyError:  # the form of another cloud
            return 404, {"error": "This run's credentials have no such form."}

    def _in_form(self, kind: str, credential: Credential) -> dict[str, Any]:
        match kind:
            case "google/token":
                return token_exchange.as_token(credential, self._clock())
            case "container":
                return as_container(credential)
            case _:
                return as_json(credential)

    async def _log(self, body: bytes) -> Answer:
        try:
            row = json.loads(body)
            level, text, fields = str(row["level"]), str(row["text"]), dict(row.get("fields") or {})
        except (ValueError, KeyError, TypeError):
            return 400, {"error": 'A log line is {"level": ..., "text": ..., "fields": {...}}.'}
        if level not in LEVELS:
            return 400, {"error": f"A level is one of {', '.join(sorted(LEVELS))}."}
        await self._append(LogEntry(self._clock(), "log", text, level, fields or None))
        return 200, {"stored": "soon"}

    async def _events(self, body: bytes) -> Answer:
        try:
            row = json.loads(body)
            payloads, batch = list(row["payloads"]), row.get("batch")
            if not isinstance(batch, str | None):
                raise TypeError("no batch id")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return 400, {"error": 'Events are {"payloads": [...], "batch": "..."}.'}
        try:
            numbers = await self._emit(payloads, batch)
        except UsageError as error:
            return 422, {"error": str(error)}
        except RingfenceError as error:
            return 503, {"error": str(error)}
        return 200, {"first": numbers.start, "last": numbers.stop - 1}

    async def _signed(self, body: bytes) -> Answer:
        try:
            row = json.loads(body)
            area, path, method = (str(row[name]) for name in ("area", "path", "method"))
            seconds = float(row["seconds"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return 400, {"error": 'It is {"area": ..., "path": ..., "method": ..., "seconds": N}.'}
        try:
            return 200, {"url": await self._sign(area, path, method, seconds)}
        except UsageError as error:
            return 422, {"error": str(error)}
        except Refused as error:
            return 403, {"error": str(error), "code": type(error).__name__}
        except RingfenceError as error:
            return 503, {"error": str(error)}


async def _receive(connection: Any, reader: asyncio.StreamReader) -> tuple[Any, bytes]:
    import h11

    request, body = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(16 << 10))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _most_bytes(request):
                raise h11.RemoteProtocolError("too large", error_status_hint=413)
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body)
        else:
            raise ConnectionError("closed before the request was whole")


def _most_bytes(request: Any) -> int:
    return MAX_EVENTS_BYTES if request.target == b"/events" else MAX_BODY_BYTES


def as_json(credential: Credential) -> dict[str, Any]:
    """A credential as :func:`ringfence.attach` reads it: in the words of obstore."""
    return {
        "fields": {name: part.reveal() for name, part in credential.fields.items()},
        "issued_at": credential.issued_at.isoformat(),
        "expires_at": credential.expires_at.isoformat(),
    }


def as_container(credential: Credential) -> dict[str, Any]:
    """A credential in the protocol of AWS container credentials."""
    return {
        "AccessKeyId": credential.fields["access_key_id"].reveal(),
        "SecretAccessKey": credential.fields["secret_access_key"].reveal(),
        "Token": credential.fields["token"].reveal(),
        "Expiration": credential.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
