"""Requests that are forwarded: to Azurite, signed with the account's key."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from tests.azure.azurite import Azurite
from tests.azure.front.model import Reply, Request
from tests.azure.sharedkey import authorization

TIMEOUT_SECONDS: Final = 20.0
VERSION: Final = "2025-11-05"
"""What Azurite is asked with, whatever version the tenant speaks."""
NONE: Final[Mapping[str, str]] = {}
_HOP: Final = frozenset(
    {"host", "connection", "authorization", "x-ms-date", "date", "x-ms-version", "expect"}
)


class Upstream:
    """Azurite, over a connection for each thread."""

    def __init__(self, azurite: Azurite) -> None:
        self._azurite = azurite
        self._local = threading.local()

    def forward(
        self, request: Request, changes: Mapping[str, str] = NONE, query: list[str] | None = None
    ) -> Reply:
        """Sends a request on, its path byte for byte as it is."""
        kept = request.raw_query if query is None else query
        target = request.raw_path + (f"?{'&'.join(kept)}" if kept else "")
        headers = {n: v for n, v in request.headers.items() if n.lower() not in _HOP}
        headers = {n: v for n, v in headers.items() if n.lower() not in changes} | dict(changes)
        headers |= {
            "x-ms-version": VERSION,
            "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
        }
        if not any(name.lower() == "content-length" for name in headers):
            headers["Content-Length"] = str(len(request.body))
        headers["Authorization"] = authorization(
            self._azurite.account, self._azurite.key, request.method, target, headers
        )
        return self._sent(Request(request.method, target, headers, request.body))

    def hang_up(self) -> None:
        """Closes this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()

    def _sent(self, request: Request) -> Reply:
        # Azurite may close an idle connection at any time: a new one is tried then.
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            try:
                return self._over(connection, request)
            except (ConnectionError, http.client.BadStatusLine):
                connection.close()
        fresh = http.client.HTTPConnection("127.0.0.1", self._azurite.port, timeout=TIMEOUT_SECONDS)
        self._local.connection = fresh
        return self._over(fresh, request)

    def _over(self, connection: http.client.HTTPConnection, request: Request) -> Reply:
        connection.putrequest(
            request.method, request.target, skip_host=True, skip_accept_encoding=True
        )
        connection.putheader("Host", f"127.0.0.1:{self._azurite.port}")
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders(request.body or None)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
