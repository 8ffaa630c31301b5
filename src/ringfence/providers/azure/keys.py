"""The installation's own access to an Azure account: its key, or a principal of Entra ID.

Without AZURE_STORAGE_ACCOUNT_KEY the principal is that of azure-identity's default chain
(environment, workload identity, managed identity, the developer's tools). What it signs SAS with is
a *user delegation key*, which the account gives it for a while; a SAS of that key can do what the
SAS says and what the principal's roles allow, both at once (Blob Storage REST API, *Create a user
delegation SAS*).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from ringfence.errors import IssueRefused, RingfenceError, StorageUnreachable
from ringfence.providers.azure.refusals import AzureRefusal, ask, delegation_in_words
from ringfence.providers.azure.sas import SigningKey
from ringfence.providers.base import Clock
from ringfence.secret import Secret

if TYPE_CHECKING:
    import httpx
    from azure.storage.filedatalake import UserDelegationKey
    from obstore.store import AzureAccessKey, AzureBearerToken

    from azure.identity import DefaultAzureCredential

API_VERSION: Final = "2024-11-04"
"""Of the requests made here; the SAS have the SDK's own."""
KEY_LIFE: Final = timedelta(days=1)
"""Asked for a user delegation key. 7 days are allowed (*Get User Delegation Key*); a key that lies
in memory for a day serves every SAS of that day."""
BACKDATED: Final = timedelta(minutes=5)
"""How far a key's start lies back, for clocks that differ."""
ATTEMPTS: Final = 4
"""Tries in all when the account throttles (503, ``ServerBusy``) or fails."""
BACKOFF_SECONDS: Final = 0.2
IDENTITY_TIMEOUT_SECONDS: Final = 10
TOKEN_SCOPE: Final = "https://storage.azure.com/.default"  # noqa: S105 - no secret
"""Of storage, in every Azure cloud."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of Entra ID."""

    text: str = field(repr=False)
    expires_at: datetime


Tokens = Callable[[], Token]
"""Returns a token that holds for a while yet. Blocking, bounded in time, cached by who makes it."""


class IdentityTokens:
    """Tokens of azure-identity's default chain, which caches and renews them. Thread-safe."""

    def __init__(self) -> None:
        self._credential = _default_credential()

    def __call__(self) -> Token:
        """A token for storage.

        Raises:
            IssueRefused: the chain finds no principal, or the principal gets no token.
        """
        from azure.core.exceptions import AzureError

        try:
            given = self._credential.get_token(TOKEN_SCOPE)
        except AzureError as error:
            # The chain tells each of its ways on a line of its own; the first says what it is.
            said = str(error).strip().splitlines()
            raise IssueRefused(
                "AZURE_STORAGE_ACCOUNT_KEY is not set, and azure-identity's default chain has no "
                f"token for storage: {said[0][:300] if said else type(error).__name__}",
                hint=(
                    "Set the key, or give this process a managed identity, a workload identity, or "
                    "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET."
                ),
            ) from None
        return Token(given.token, datetime.fromtimestamp(given.expires_on, UTC))

    def close(self) -> None:
        """Closes the chain's connections. Idempotent."""
        self._credential.close()


def _default_credential() -> DefaultAzureCredential:
    from azure.identity import DefaultAzureCredential as Chain  # 0.1 s, for who has no key

    try:
        return Chain(
            process_timeout=IDENTITY_TIMEOUT_SECONDS,
            connection_timeout=IDENTITY_TIMEOUT_SECONDS,
            read_timeout=IDENTITY_TIMEOUT_SECONDS,
            retry_total=2,
        )
    except ValueError as error:  # by what a variable of its own says, such as the authority's host
        raise IssueRefused(
            f"azure-identity's default chain cannot be made: {str(error)[:300]}",
            hint="Check its variables, such as AZURE_TOKEN_CREDENTIALS and AZURE_AUTHORITY_HOST.",
        ) from None


class KeyCredentials:
    """obstore's credential provider by the account's key."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self) -> AzureAccessKey:
        return {"access_key": self._key.reveal(), "expires_at": None}


class TokenCredentials:
    """obstore's credential provider by tokens of Entra ID."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def __call__(self) -> AzureBearerToken:
        token = self._tokens()
        return {"token": token.text, "expires_at": token.expires_at}


class DelegationKeys:
    """User delegation keys of one account: fetched once, kept, and renewed in time. Thread-safe.

    A key is renewed before a SAS would outlive it. While one caller fetches, the others wait.
    """

    def __init__(
        self,
        http: httpx.Client,
        endpoint: str,
        tokens: Tokens,
        *,
        clock: Clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._tokens = tokens
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._key: SigningKey | None = None

    def key(self, until: datetime) -> SigningKey:
        """A key that holds at least until then, if the account gives one. Blocking.

        Raises:
            IssueRefused: there is no token, or the principal may not have a key.
            StorageUnreachable: no usable answer in time.
        """
        with self._lock:
            key = self._key
            if key is None or key.ends is None or key.ends < until:
                key = self._key = self._fetch()
            return key

    def _fetch(self) -> SigningKey:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._ask()
            except AzureRefusal as refusal:
                if not refusal.passing or attempt == ATTEMPTS:
                    raise delegation_in_words(refusal, self._endpoint, ATTEMPTS) from None
            self._sleep(BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def _ask(self) -> SigningKey:
        now = self._clock().replace(microsecond=0)
        body = (
            f"<KeyInfo><Start>{_text(now - BACKDATED)}</Start>"
            f"<Expiry>{_text(now + KEY_LIFE)}</Expiry></KeyInfo>"
        )
        answer = ask(
            self._http,
            "POST",
            f"{self._endpoint}/?restype=service&comp=userdelegationkey",
            headers=bearer(self._tokens()),
            content=body.encode(),
        )
        return _signing_key(answer.content, self._endpoint)


def bearer(token: Token) -> dict[str, str]:
    """The headers of a request by a token."""
    return {
        "Authorization": f"Bearer {token.text}",
        "x-ms-version": API_VERSION,
        "Content-Type": "application/xml",
    }


_FIELDS: Final = {
    "SignedOid": "signed_oid",
    "SignedTid": "signed_tid",
    "SignedStart": "signed_start",
    "SignedExpiry": "signed_expiry",
    "SignedService": "signed_service",
    "SignedVersion": "signed_version",
    "Value": "value",
}


def _signing_key(content: bytes, endpoint: str) -> SigningKey:
    from azure.storage.filedatalake import UserDelegationKey  # 0.3 s, for who issues

    make: Callable[[], UserDelegationKey] = UserDelegationKey
    key = make()
    found = _elements(content)
    for name, attribute in _FIELDS.items():
        if not found.get(name):
            raise _no_key(endpoint)
        setattr(key, attribute, found[name])
    return SigningKey(key, _ends(key, endpoint))


def _elements(content: bytes) -> dict[str, str]:
    try:
        # Expat bounds entity expansion since 2.4.1, and the answer is from the configured endpoint.
        root = ET.fromstring(content)  # noqa: S314
    except ET.ParseError:
        return {}
    return {element.tag: (element.text or "").strip() for element in root}


def _ends(key: UserDelegationKey, endpoint: str) -> datetime:
    try:
        return datetime.fromisoformat(str(key.signed_expiry)).astimezone(UTC)
    except ValueError:
        raise _no_key(endpoint) from None


def _no_key(endpoint: str) -> RingfenceError:
    return StorageUnreachable(
        f"{endpoint} answered with something that is no user delegation key.",
        hint="Check AZURE_STORAGE_ENDPOINT: it is the account's blob endpoint.",
    )


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
