"""A managed identity of this machine, as App Service has it: azure-identity asks it for tokens.

``IDENTITY_ENDPOINT`` and ``IDENTITY_HEADER`` name it (Azure App Service, *How to use managed
identities*), so the default chain is tested with nothing of it replaced.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

HEADER: Final = "the-header-of-the-identity-endpoint"


class _Handler(BaseHTTPRequestHandler):
    token: str
    asked: list[str]

    def do_GET(self) -> None:
        """One token."""
        query = parse_qs(urlsplit(self.path).query)
        resource = query.get("resource", [""])[0]
        self.asked.append(resource)
        allowed = self.headers.get("X-IDENTITY-HEADER") == HEADER
        ends = int(time.time()) + 3600
        body = {"access_token": self.token, "expires_on": str(ends), "resource": resource}
        data = json.dumps({**body, "token_type": "Bearer"}).encode() if allowed else b"{}"
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def managed_identity(token: str) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The variables by which it is found, and the resources that it was asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"token": token, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}/token"
    try:
        yield {"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": HEADER}, asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
