"""Google's Security Token Service: a source token and a boundary in, a downscoped token out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ringfence.errors import IssueRefused
from ringfence.providers.base import Clock
from ringfence.providers.gcp.refusals import about_exchange, passing
from ringfence.providers.gcp.source import Token
from ringfence.secret import Secret

if TYPE_CHECKING:
    from ringfence.providers.gcp.boundary import Boundary
    from ringfence.providers.gcp.transport import Answer, HttpRequest

ATTEMPTS: Final = 4
BACKOFF_SECONDS: Final = 0.2

_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name


def patiently(ask: Callable[[], Answer], sleep: Callable[[float], None]) -> Answer:
    """The answer to a request that is sent again while it may yet go through."""
    for attempt in range(1, ATTEMPTS):
        answer = ask()
        if not passing(answer.status):
            return answer
        sleep(BACKOFF_SECONDS * 2**attempt)
    return ask()


@dataclass(frozen=True, slots=True)
class Exchange:
    """The Security Token Service: a source token and a boundary in, a downscoped token out."""

    endpoint: str
    request: HttpRequest
    clock: Clock
    sleep: Callable[[float], None]

    def downscope(self, source: Token, boundary: Boundary) -> Token:
        """One exchange. Blocking; throttling and failures are tried again a few times.

        Raises:
            IssueRefused: the service says no.
            StorageUnreachable: no usable answer in time.
        """
        for attempt in range(1, ATTEMPTS + 1):
            now = self.clock()
            seen = _Seen(self.request)
            row = self._once(seen, source, boundary)
            if row is not None:
                return _downscoped(row, source, now, self.endpoint)
            error = about_exchange(seen.answer, self.endpoint, ATTEMPTS)
            may_pass = seen.answer is not None and passing(seen.answer.status)
            if not may_pass or attempt == ATTEMPTS:
                raise error
            self.sleep(BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def _once(self, seen: _Seen, source: Token, boundary: Boundary) -> Any:
        """What google-auth made of the answer, or None where that is not a success."""
        from google.auth.exceptions import GoogleAuthError
        from google.oauth2.sts import Client

        client = Client(f"{self.endpoint}/v1/token")  # type: ignore[no-untyped-call]
        try:
            return client.exchange_token(  # type: ignore[no-untyped-call]
                request=seen,
                grant_type=_GRANT,
                subject_token=source.secret.reveal(),
                subject_token_type=_ACCESS_TOKEN,
                requested_token_type=_ACCESS_TOKEN,
                additional_options=boundary.to_json(),
            )
        except (GoogleAuthError, ValueError):
            return None


class _Seen:
    """Keeps the answer that google-auth reads: its errors leave the status out."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.answer: Answer | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Answer:
        self.answer = self._request(*args, **kwargs)
        return self.answer


def _downscoped(row: Any, source: Token, now: datetime, endpoint: str) -> Token:
    token = row.get("access_token") if isinstance(row, dict) else None
    if not isinstance(token, str) or not token:
        raise IssueRefused(f"The Security Token Service at {endpoint} answered without a token.")
    if token == source.secret.reveal():
        # It would open everything that the installation may.
        raise IssueRefused(f"The Security Token Service at {endpoint} gave back the source token.")
    if row.get("issued_token_type", _ACCESS_TOKEN) != _ACCESS_TOKEN:
        raise IssueRefused(
            f"The Security Token Service at {endpoint} gave a token of another type."
        )
    seconds = row.get("expires_in")
    if not isinstance(seconds, int) or seconds <= 0:
        return Token(Secret(token), source.expires_at)
    return Token(Secret(token), min(source.expires_at, now + timedelta(seconds=seconds)))
