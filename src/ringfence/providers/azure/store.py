"""Opening an obstore store on an Azure container. Used by the engine's side and in an execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from ringfence.providers.base import Address, CredentialSource
from ringfence.providers.naming import AZURE, name_endpoint
from ringfence.providers.stores import (
    REQUEST_TIMEOUT,
    RETRY,
    Leased,
    client_options,
    opening,
)
from ringfence.secret import Secret

if TYPE_CHECKING:
    from obstore.store import AzureCredential, AzureSASToken, AzureStore

    from ringfence.providers.azure.fenced import FencedAzureStore

_Store = TypeVar("_Store", bound="AzureStore")


@dataclass(frozen=True, slots=True)
class AzureAddress:
    """Where a container is: what a store needs besides credentials.

    ``endpoint`` is the account's blob endpoint, with ``/account`` at its end on an emulator.
    """

    bucket: str
    account: str
    endpoint: str

    @property
    def url(self) -> str:
        """The container's."""
        return f"{self.endpoint}/{self.bucket}"

    def url_of(self, path: str) -> str:
        """That of a blob, or of a directory, which then has no last slash."""
        return f"{self.url}/{quote(path.removesuffix('/'), safe='/~')}"


def open_elsewhere(address: Address, prefix: str, lease: CredentialSource) -> FencedAzureStore:
    """A store on what :meth:`ringfence.providers.base.Provider.address` said, in any process."""
    return open_fenced(_address(**address), prefix, lease)


def _address(**parts: Any) -> AzureAddress:
    return AzureAddress(**parts)


def open_fenced(address: AzureAddress, prefix: str, lease: CredentialSource) -> FencedAzureStore:
    """A store on one directory by its SAS. See :mod:`ringfence.providers.azure.fenced`.

    Raises:
        ConfigError: the proxy or the certificates that the environment names cannot be used.
    """
    from ringfence.providers.azure.fenced import Deletions, FencedAzureStore  # loads obstore

    store = _opened(FencedAzureStore, address, prefix, Leased(lease, _sas), REQUEST_TIMEOUT)
    options = client_options(address.endpoint, REQUEST_TIMEOUT)
    store.deletions = Deletions(address.url_of(prefix), lease, options, RETRY)
    return store


def _sas(fields: Mapping[str, Secret], until: datetime) -> AzureSASToken:
    return {"sas_token": fields["sas_token"].reveal(), "expires_at": until}


def open_container(
    address: AzureAddress,
    prefix: str | None,
    credentials: Callable[[], AzureCredential],
    timeout: timedelta,
) -> AzureStore:
    """A plain obstore store with the installation's own credentials.

    Raises:
        ConfigError: the proxy or the certificates that the environment names cannot be used.
    """
    from obstore.store import AzureStore

    return _opened(AzureStore, address, prefix, credentials, timeout)


def _opened(
    kind: type[_Store],
    address: AzureAddress,
    prefix: str | None,
    credentials: Callable[[], AzureCredential],
    timeout: timedelta,
) -> _Store:
    name_endpoint(address.endpoint, AZURE)
    with opening():
        return kind(
            address.bucket,
            prefix=prefix,
            account_name=address.account,
            endpoint=address.endpoint,
            # Said, or AZURE_STORAGE_USE_EMULATOR, AZURE_SKIP_SIGNATURE and kin would say it: an
            # emulator is asked at its own address, whatever the endpoint.
            use_emulator=False,
            use_fabric_endpoint=False,
            skip_signature=False,
            client_options=client_options(address.endpoint, timeout),
            retry_config=RETRY,
            credential_provider=credentials,
        )
