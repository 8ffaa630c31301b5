"""The installation's own tokens on Google Cloud, from which every other is downscoped.

A downscoped token ends when its source does (IAM, "Credential Access Boundaries"), and a source
token is good for an hour. So the source is renewed well before its end, and every downscoped token
has at least :data:`LEAST_LIFE` to go. A machine's metadata server is the exception: it keeps a
token until shortly before its end and gives out no other, so what it gives is taken while
:data:`SHORTEST_LIFE` is left of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ringfence.errors import IssueRefused
from ringfence.providers.base import Clock
from ringfence.providers.gcp.refusals import (
    about_source,
    bad_credentials,
    no_default_credentials,
)
from ringfence.secret import Secret

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from ringfence.providers.gcp.transport import HttpRequest

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
"""Of the source token. A service account without one signs a token for itself, which the exchange
refuses as ``invalid_scope``; what a downscoped token may do is the boundary's business."""

LEAST_LIFE: Final = timedelta(minutes=30)
"""What a source token has left, at least, when a token is downscoped from it."""
SHORTEST_LIFE: Final = timedelta(minutes=2)
"""The same, of a token that its source would not renew sooner."""
ASK_SOURCE_AGAIN: Final = timedelta(seconds=30)
"""How long a source that would not renew sooner is left alone."""


_SOURCE: Final = "The source of the installation's own token"


@dataclass(frozen=True, slots=True)
class Token:
    """An OAuth 2.0 access token, and its end."""

    secret: Secret
    expires_at: datetime


def load_credentials(given: Secret | None, request: HttpRequest) -> Credentials:
    """The installation's own credentials: those of the settings, else the process's default ones.

    Raises:
        ConfigError: there are none, or they cannot be read.
        IssueRefused, StorageUnreachable: those that need the network for it could not be had.
    """
    import google.auth
    from google.auth.exceptions import (
        GoogleAuthError,
        OAuthError,
        RefreshError,
        TransportError,
    )

    try:
        if given is not None:
            return _of_settings(json.loads(given.reveal()), request)
        found, _ = google.auth.default(scopes=[SCOPE], request=request)
    except (TransportError, RefreshError, OAuthError) as error:
        # Those of another cloud's workload ask for their project, with a first token.
        raise about_source(error, _SOURCE) from None
    except (GoogleAuthError, ValueError, KeyError, TypeError):
        raise (bad_credentials() if given else no_default_credentials()) from None
    return found


def _of_settings(info: dict[str, Any], request: HttpRequest) -> Credentials:
    if info["type"] == "service_account":
        # The usual kind, without the loaders of all the others.
        from google.oauth2.service_account import Credentials as ServiceAccount

        return ServiceAccount.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call, no-any-return]
    import warnings

    import google.auth

    with warnings.catch_warnings():
        # It warns of credentials from elsewhere; these are the operator's own configuration.
        warnings.simplefilter("ignore", DeprecationWarning)
        found, _ = google.auth.load_credentials_from_dict(  # type: ignore[no-untyped-call]
            info, scopes=[SCOPE], request=request
        )
    return found  # type: ignore[no-any-return]


class SourceTokens:
    """The installation's own token, cached and renewed. Thread-safe; callers wait for one renewal.

    Args:
        load: finds the credentials, once, when they are first needed.
    """

    def __init__(self, load: Callable[[], Credentials], request: HttpRequest, clock: Clock) -> None:
        self._load = load
        self._request = request
        self._clock = clock
        self._lock = Lock()
        self._credentials: Credentials | None = None
        self._token: Token | None = None
        self._asked_at: datetime | None = None

    @property
    def credentials(self) -> Credentials:
        """The credentials behind it: who signs a URL.

        Raises:
            ConfigError: there are none.
        """
        with self._lock:
            return self._loaded()

    def token(self, least: timedelta = LEAST_LIFE) -> Token:
        """A token with at least ``least`` to go, or the longest that its source gives. Blocking.

        Raises:
            ConfigError: there are no credentials.
            IssueRefused, CredentialExpired: Google gives no token for them.
            StorageUnreachable: no usable answer in time.
        """
        with self._lock:
            now = self._clock()
            if self._token is None or not self._is_good(self._token, least, now):
                self._token = self._renewed(now)
            return self._token

    def _is_good(self, token: Token, least: timedelta, now: datetime) -> bool:
        left = token.expires_at - now
        asked_lately = self._asked_at is not None and now - self._asked_at < ASK_SOURCE_AGAIN
        return left >= least or (asked_lately and left >= SHORTEST_LIFE)

    def _renewed(self, now: datetime) -> Token:
        from google.auth.exceptions import GoogleAuthError

        credentials = self._loaded()
        self._asked_at = now
        began = datetime.now(UTC)
        try:
            credentials.refresh(self._request)  # type: ignore[no-untyped-call]
        except GoogleAuthError as error:
            raise about_source(error, _where(credentials)) from None
        token = _token_of(credentials, began, now)
        if token.expires_at - self._clock() < SHORTEST_LIFE:
            raise IssueRefused(
                "Google gave a token for the installation's own credentials that has all but "
                "expired.",
                hint="The clock of this machine may be off: set it (NTP).",
            )
        return token

    def _loaded(self) -> Credentials:
        if self._credentials is None:
            self._credentials = self._load()
        return self._credentials


def _where(credentials: Credentials) -> str:
    """The endpoint that the source's token comes from, as far as credentials say."""
    for name in ("_token_uri", "_token_url"):
        where = getattr(credentials, name, None)
        if isinstance(where, str):
            return where.partition("?")[0]
    return _SOURCE


def _token_of(credentials: Credentials, began: datetime, now: datetime) -> Token:
    """google-auth reckons the end by this machine's clock; here it is told by the given one."""
    expiry = credentials.expiry
    if not credentials.token or expiry is None:
        raise IssueRefused(
            "Google's answer for the installation's own credentials has no token, or no end of it.",
            hint="Check GOOGLE_APPLICATION_CREDENTIALS_JSON.",
        )
    return Token(Secret(str(credentials.token)), now + (expiry.replace(tzinfo=UTC) - began))
