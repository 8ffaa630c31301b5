"""Opening an obstore store on a bucket of Google Cloud Storage, here and inside an execution.

object_store speaks the XML API there, with a bearer token. Conditions compare generations, which it
calls ``version``; an ETag alone is no condition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ringfence.config import process_environment
from ringfence.errors import ConfigError, Problem
from ringfence.providers.base import Address, CredentialSource
from ringfence.providers.naming import GCS, name_endpoint
from ringfence.providers.stores import (
    ASK_AGAIN,
    REQUEST_TIMEOUT,
    RETRY,
    Leased,
    client_options,
    opening,
)
from ringfence.secret import Secret

if TYPE_CHECKING:
    from obstore.store import GCSCredential, GCSStore

ENDPOINT: Final = "https://storage.googleapis.com"


@dataclass(frozen=True, slots=True)
class GcsAddress:
    """Where a bucket is: what a store needs besides credentials."""

    bucket: str
    endpoint: str | None = None

    @property
    def base_url(self) -> str:
        """The endpoint, Google's own where none is configured; without a slash at its end."""
        return self.endpoint or ENDPOINT


class OwnToken:
    """obstore's credential provider over the installation's own token.

    Args:
        token: gives it, and until when to use it before asking again.
    """

    refresh_threshold = ASK_AGAIN

    def __init__(self, token: Callable[[], tuple[Secret, datetime]]) -> None:
        self._token = token

    def __call__(self) -> GCSCredential:
        token, until = self._token()
        return {"token": token.reveal(), "expires_at": until + ASK_AGAIN}


def open_elsewhere(address: Address, prefix: str, lease: CredentialSource) -> GCSStore:
    """A store on what :meth:`ringfence.providers.base.Provider.address` said, in any process."""
    return open_gcs(_address(**address), prefix, leased(lease))


def leased(lease: CredentialSource) -> Leased[GCSCredential]:
    """obstore's credential provider over a lease."""
    return Leased(lease, _credential)


def _credential(fields: Mapping[str, Secret], until: datetime) -> GCSCredential:
    return {"token": fields["token"].reveal(), "expires_at": until}


def _address(**parts: Any) -> GcsAddress:
    return GcsAddress(**parts)


def open_gcs(
    address: GcsAddress,
    prefix: str | None,
    credentials: Callable[[], GCSCredential],
    *,
    timeout: timedelta = REQUEST_TIMEOUT,
) -> GCSStore:
    """An obstore store with Ringfence's time-outs; nothing is wrapped.

    Raises:
        ConfigError: the proxy or the certificates that the environment names cannot be used.
    """
    from obstore.exceptions import BaseError
    from obstore.store import GCSStore  # 0.03 s, and not at `import ringfence`

    name_endpoint(address.base_url, GCS)
    try:
        with opening():
            return GCSStore(
                address.bucket,
                prefix=prefix,
                # Said although it may be Google's own: else the environment's GOOGLE_BASE_URL
                # would be sent the token.
                base_url=address.base_url,
                skip_signature=False,
                client_options=client_options(address.base_url, timeout),
                retry_config=RETRY,
                credential_provider=credentials,
            )
    except BaseError as error:
        if "service account" not in str(error).lower():
            raise
        raise _no_service_account() from None


def _no_service_account() -> ConfigError:
    """obstore reads its own variables, although no credential of theirs is ever used here."""
    found = "set, but to no service account that obstore can read"
    expected = "a whole key, or better nothing"
    names = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY")
    env = process_environment()
    hint = "Unset it: Ringfence reads GOOGLE_APPLICATION_CREDENTIALS_JSON."
    set_ones = [name for name in names if env.get(name)] or names[:1]
    return ConfigError(tuple(Problem(name, found, expected, hint) for name in set_ones))
