"""google-auth's transport over this package's HTTP client: bounded in time, with its own proxies.

google-auth's own, over ``requests``, takes 0.15 s to import and reads proxies by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from google.auth.exceptions import TransportError
from google.auth.transport import Request, Response

from ringfence.providers.connecting import open_client

if TYPE_CHECKING:
    import httpx

MAX_ANSWER_BYTES: Final = 1 << 20

_METADATA: Final = frozenset({"metadata.google.internal", "metadata", "169.254.169.254"})
"""Where the machine itself answers, with tokens in clear: never asked through a proxy."""


@dataclass(frozen=True, slots=True)
class Answer(Response):
    """What came back, as google-auth reads it."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class HttpRequest(Request):
    """A callable that sends one request. Thread-safe; keeps its connections until it is closed.

    Args:
        transport: used for every host in place of the network, by tests.
    """

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._transport = transport
        self._clients: dict[str, httpx.Client] = {}
        self._lock = Lock()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> Answer:
        """One request and its answer, whatever its status; a redirect is an answer, not followed.

        Raises:
            TransportError: there was none in time. ``timeout`` can only shorten the client's own.
        """
        import httpx

        del kwargs  # meant for requests
        client = self._client(url)
        wait = client.timeout if timeout is None else httpx.Timeout(min(timeout, _longest(client)))
        try:
            answer = client.request(method, url, content=body, headers=headers, timeout=wait)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise TransportError(reason) from None  # type: ignore[no-untyped-call]
        data = answer.content[:MAX_ANSWER_BYTES]
        return Answer(answer.status_code, dict(answer.headers.items()), data)

    def close(self) -> None:
        """Closes every connection. Idempotent."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _client(self, url: str) -> httpx.Client:
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if origin not in self._clients:
                self._clients[origin] = open_client(origin, self._transport or _direct(origin))
            return self._clients[origin]


def _direct(origin: str) -> httpx.BaseTransport | None:
    import httpx

    if urlsplit(origin).hostname not in _METADATA:
        return None
    # A client with a transport of its own looks for no proxy.
    return httpx.HTTPTransport(verify=origin.startswith("https:"))


def _longest(client: httpx.Client) -> float:
    return client.timeout.read or 0.0
