"""Inside an execution: the same workspace that its runner opened for it.

Needs nothing but the variables that the runner set, and asks the runner for fresh credentials when
the first ones run out. Works in plain scripts and in async code alike.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from ringfence._registry import open_elsewhere
from ringfence.config import process_environment
from ringfence.errors import AccessDenied, StorageUnreachable, UsageError
from ringfence.layout import BucketRole, Prefix
from ringfence.presigning import DEFAULT_LIFE
from ringfence.providers.base import Credential, Enforcement, Lease
from ringfence.scope import Area, Grant, Permission, Scope
from ringfence.secret import Secret
from ringfence.state.event import Payload
from ringfence.vending import DEFAULT_SHARE, Credentials
from ringfence.workspace import Workspace, to_area

if TYPE_CHECKING:
    from obstore.store import ObjectStore

WORKSPACE_VERSION: Final = 2
RUNNER_TIMEOUT_SECONDS: Final = 30.0
RETRY_AFTER: Final = timedelta(seconds=15)


class AttachedLog:
    """Logs lines with a level and structured fields into the run's log, through the runner.

    Where the runner does not answer, a line goes to standard error, which is part of the log too.
    """

    def __init__(self, runner: _Runner) -> None:
        self._runner = runner

    def debug(self, text: str, **fields: Any) -> None:
        """Logs a line at level ``debug``."""
        self._send("debug", text, fields)

    def info(self, text: str, **fields: Any) -> None:
        """Logs a line at level ``info``."""
        self._send("info", text, fields)

    def warning(self, text: str, **fields: Any) -> None:
        """Logs a line at level ``warning``."""
        self._send("warning", text, fields)

    def error(self, text: str, **fields: Any) -> None:
        """Logs a line at level ``error``."""
        self._send("error", text, fields)

    def _send(self, level: str, text: str, fields: Mapping[str, Any]) -> None:
        try:
            self._runner.log(level, text, fields)
        except StorageUnreachable:
            sys.stderr.write(f"{level.upper()} {text} {json.dumps(dict(fields), default=str)}\n")


class Attached(Workspace):
    """The workspace of the execution that this process is. A context manager, of either kind."""

    def __init__(self, document: Mapping[str, Any], runner: _Runner, first: Credentials) -> None:
        scope = Scope(document["app"], document["user"], document["run"], document["mode"])
        sources = [_Source(runner, index, credential) for index, credential in enumerate(first)]
        areas = {Area(name): row for name, row in document["areas"].items()}

        def opener(grant: Grant) -> ObjectStore:
            row = areas[grant.area]
            source = sources[row["credential"]]
            return open_elsewhere(document["provider"], row["address"], grant.prefix, source)

        async def vend() -> Credentials:
            return first

        super().__init__(scope, tuple(_grant(a, r) for a, r in areas.items()), opener, vend)
        self._runner = runner
        self._sources = sources
        self.log = AttachedLog(runner)

    def emit(self, *payloads: Payload, batch: str | None = None) -> range:
        """Appends events to the run, through the runner, and returns their numbers. Blocking.

        A payload over 1 MiB is stored under the run's log prefix, and the event refers to it.

        Args:
            payloads: What JSON can hold, 64 MiB each at most.
            batch: An id of the caller's, by which a repeated batch is known and not doubled.

        Raises:
            UsageError: a payload is no JSON or too large, or the batch id is taken.
            StorageUnreachable: the runner, or the state store behind it, does not answer.
        """
        from ringfence.payloads import slimmed_now

        slim = [slimmed_now(self.logs, payload) for payload in payloads]
        answer = self._runner.events(slim, batch)
        return range(answer["first"], answer["last"] + 1)

    def sign(
        self,
        area: Area | str,
        path: str,
        *,
        method: str = "GET",
        expires_in: timedelta = DEFAULT_LIFE,
    ) -> str:
        """A URL for one request on one object, made by the runner. Blocking.

        See :meth:`ringfence.storage.Storage.sign`, for why not with this execution's credential.

        Raises:
            AccessDenied: the grant does not allow it.
            UsageError: the mode does not reach the area, or an argument cannot be meant.
            StorageUnreachable: the runner does not answer.
        """
        return self._runner.sign(to_area(area).value, path, method, expires_in.total_seconds())

    def credential(self, number: int) -> Credential:
        """The credential of that number, renewed if need be. Blocking.

        Raises:
            UsageError: there is none.
            StorageUnreachable: the runner does not answer, and the old one has run out.
        """
        if number >= len(self._sources):
            raise UsageError(f"This run has {len(self._sources)} credentials; they begin with 0.")
        return self._sources[number]().credential

    @property
    def run_id(self) -> str | None:
        """The run that this process is."""
        return self.scope.run_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held open: the runner owns the run."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is held open: the runner owns the run."""


def attach(env: Mapping[str, str] | None = None) -> Attached:
    """Opens the workspace of the execution that this process is.

    Args:
        env: the variables to read; None reads the process's own.

    Raises:
        UsageError: this process was not started by ``ringfence run``.
    """
    env = process_environment() if env is None else env
    try:
        document = json.loads(env["RINGFENCE_WORKSPACE"])
        rows = json.loads(env["RINGFENCE_CREDENTIALS"])
        token = Secret(env["RINGFENCE_CREDENTIALS_TOKEN"])
        version = document["v"]
    except (KeyError, ValueError, TypeError):
        raise UsageError(
            "This process is not an execution: RINGFENCE_WORKSPACE is not set, or not whole.",
            hint="Start it with `ringfence run --app APP --user USER -- COMMAND`.",
        ) from None
    if version != WORKSPACE_VERSION:
        raise UsageError(
            f"The runner speaks version {version} of the workspace, this one {WORKSPACE_VERSION}.",
            hint="Use the same version of Ringfence on both sides.",
        )
    grants = [_grant(Area(name), row) for name, row in document["areas"].items()]
    first = tuple(_credential(row, tuple(grants)) for row in rows)
    return Attached(document, _Runner(document["service"], token), first)


@dataclass(frozen=True, slots=True)
class _Runner:
    """The service of the runner, see :mod:`ringfence.executor.service`. Blocking, bounded."""

    url: str
    token: Secret

    def credential(self, index: int) -> Mapping[str, Any]:
        return self._ask("GET", f"/credentials/{index}", None)

    def log(self, level: str, text: str, fields: Mapping[str, Any]) -> None:
        row = {"level": level, "text": text, "fields": dict(fields)}
        self._ask("POST", "/log", json.dumps(row, default=str).encode())

    def events(self, payloads: list[Payload], batch: str | None) -> Mapping[str, Any]:
        body = {"payloads": payloads, "batch": batch}
        return self._ask("POST", "/events", json.dumps(body).encode())

    def sign(self, area: str, path: str, method: str, seconds: float) -> str:
        row = {"area": area, "path": path, "method": method, "seconds": seconds}
        return str(self._ask("POST", "/sign", json.dumps(row).encode())["url"])

    def _ask(self, method: str, path: str, body: bytes | None) -> Mapping[str, Any]:
        at = urlsplit(self.url)
        connection = http.client.HTTPConnection(
            at.hostname or "", at.port, timeout=RUNNER_TIMEOUT_SECONDS
        )
        try:
            connection.request(method, path, body, {"Authorization": self.token.reveal()})
            response = connection.getresponse()
            answer: Mapping[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise StorageUnreachable(
                f"The runner of this execution does not answer ({type(error).__name__}).",
                hint="It may have ended; an execution does not outlive its runner.",
            ) from None
        finally:
            connection.close()
        if response.status == 422:
            raise UsageError(str(answer.get("error")))
        if response.status == 403 and answer.get("code"):
            raise AccessDenied(str(answer.get("error")))
        if response.status != 200:
            raise StorageUnreachable(f"The runner answered: {answer.get('error')}")
        return answer


class _Source:
    """Where an attached store gets its credential from, for as long as the process lives."""

    def __init__(self, runner: _Runner, index: int, first: Credential) -> None:
        self._runner = runner
        self._index = index
        self._credential = first
        self._lock = Lock()

    def __call__(self) -> Lease:
        with self._lock:
            if datetime.now(UTC) >= _renew_at(self._credential):
                self._renew()
            return Lease(
                self._credential, max(_renew_at(self._credential), datetime.now(UTC) + RETRY_AFTER)
            )

    def _renew(self) -> None:
        try:
            row = self._runner.credential(self._index)
        except StorageUnreachable:
            if self._credential.expires_at <= datetime.now(UTC):
                raise
            return
        self._credential = _credential(row, self._credential.grants)


def _renew_at(credential: Credential) -> datetime:
    life = credential.expires_at - credential.issued_at
    return credential.issued_at + life * DEFAULT_SHARE


def _credential(row: Mapping[str, Any], grants: tuple[Grant, ...]) -> Credential:
    return Credential(
        grants,
        {name: Secret(part) for name, part in row["fields"].items()},
        datetime.fromisoformat(row["issued_at"]),
        datetime.fromisoformat(row["expires_at"]),
        tuple(Enforcement(grant.area) for grant in grants),
    )


def _grant(area: Area, row: Mapping[str, Any]) -> Grant:
    permissions = frozenset(Permission(name) for name in row["permissions"])
    return Grant(area, BucketRole(row["role"]), Prefix(row["prefix"]), permissions)
