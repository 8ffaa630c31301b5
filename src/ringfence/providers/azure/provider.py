"""Azure Blob Storage: directory SAS, one for each area.

The SAS is signed here, by Microsoft's SDK, with the account's key, or without one with a user
delegation key: no request is made for it. What is asked of the account is asked once: whether it
holds a SAS to its directory (:mod:`ringfence.providers.azure.account`), and once a day for the
delegation key (:mod:`ringfence.providers.azure.keys`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ringfence.config import AzureSettings, Buckets
from ringfence.errors import CredentialExpired
from ringfence.layout import BucketRole, Prefix
from ringfence.providers.azure import tools as azure_tools
from ringfence.providers.azure.account import PROBE_GRANT, PROBE_LIFE, FenceCheck
from ringfence.providers.azure.keys import (
    API_VERSION,
    DelegationKeys,
    IdentityTokens,
    KeyCredentials,
    TokenCredentials,
    Tokens,
)
from ringfence.providers.azure.sas import (
    DirectorySas,
    SigningKey,
    directory_sas,
    document,
    enforcement,
    mint,
    mint_url,
)
from ringfence.providers.azure.sharedkey import signed
from ringfence.providers.azure.store import AzureAddress, open_container, open_fenced
from ringfence.providers.base import (
    Address,
    Clock,
    Credential,
    CredentialSource,
    Form,
    Method,
    PolicyDocument,
    Renewal,
    ToolFile,
)
from ringfence.providers.connecting import open_client
from ringfence.providers.naming import AZURE, name_endpoint
from ringfence.providers.stores import timeout_of
from ringfence.scope import Grant, Grants
from ringfence.secret import Secret

if TYPE_CHECKING:
    import httpx
    from obstore.store import AzureCredential, AzureStore

    from ringfence.providers.azure.fenced import FencedAzureStore

PUBLIC_ENDPOINT: Final = "https://{account}.blob.core.windows.net"


class AzureProvider:
    """Opens stores on an account's containers and signs directory SAS."""

    name = "azure"

    def __init__(
        self,
        settings: AzureSettings,
        buckets: Buckets,
        *,
        credential_ttl: timedelta,
        clock: Clock = lambda: datetime.now(UTC),
        transport: httpx.BaseTransport | None = None,
        tokens: Tokens | None = None,
        fence: Callable[[], None] | None = None,
    ) -> None:
        """
        Args:
            tokens: where tokens of Entra ID come from, where there is no key; by default
                azure-identity's chain.
            fence: called before anything is issued; by default it tries the account's fence.
        """
        self._settings = settings
        self._buckets = buckets
        self._ttl = credential_ttl
        self._clock = clock
        self._transport = transport
        self._given_tokens = tokens
        self._given_fence = fence
        self._account = settings.account_name
        self._endpoint = (
            settings.endpoint or PUBLIC_ENDPOINT.format(account=settings.account_name)
        ).rstrip("/")
        name_endpoint(self._endpoint, AZURE)

    # --- fencing ---------------------------------------------------------------------------

    def plan(self, grants: Grants) -> tuple[PolicyDocument, ...]:
        """What each SAS says, one for each grant. See :class:`base.Provider`."""
        delegated = self._settings.account_key is None
        return tuple(
            document(
                sas,
                self._account,
                self._ttl,
                delegated=delegated,
                names_shared=self._settings.names_shared,
            )
            for sas in self._each(grants)
        )

    def issue(self, grants: Grants, *, session: str) -> tuple[Credential, ...]:
        """Signs a SAS for each grant. See :class:`base.Provider`.

        ``session`` is not in it: a SAS has no name, and Azure's logs tell one by its signature's
        hash.
        """
        del session
        wanted = self._each(grants)
        self._check_fence()
        now = self._clock()
        key, ends = self._key(now, self._ttl)
        return tuple(self._credential(sas, key, now, ends) for sas in wanted)

    def _each(self, grants: Grants) -> tuple[DirectorySas, ...]:
        return tuple(directory_sas(grant, self._buckets.of, self._endpoint) for grant in grants)

    def _credential(
        self, sas: DirectorySas, key: SigningKey, now: datetime, ends: datetime
    ) -> Credential:
        token = Secret(mint(sas, self._account, key, ends))
        held = (enforcement(sas.grant, names_shared=self._settings.names_shared),)
        return Credential((sas.grant,), {"sas_token": token}, now, ends, held)

    def _key(self, now: datetime, life: timedelta) -> tuple[SigningKey, datetime]:
        """What to sign with, and until when: whole seconds, and never longer than the key."""
        ends = (now + life).replace(microsecond=0)
        own = self._settings.account_key
        if own is not None:
            return SigningKey(own.reveal()), ends
        key = self._delegation_keys.key(ends)
        if key.ends is not None and key.ends < ends:
            ends = key.ends
        if ends <= now:
            raise CredentialExpired(
                f"The user delegation key that {self._endpoint} gave ended at "
                f"{ends:%Y-%m-%d %H:%M:%SZ}, in the past by this machine's clock.",
                hint="Set the clock (NTP).",
            )
        return key, ends

    # --- stores ----------------------------------------------------------------------------

    def open(self, grant: Grant, lease: CredentialSource) -> FencedAzureStore:
        """A store rooted at the grant's prefix. See :class:`base.Provider`."""
        return open_fenced(self._address(grant.bucket), grant.prefix, lease)

    def open_bucket(self, role: BucketRole, prefix: Prefix | None = None) -> AzureStore:
        """A store on a whole container with the installation's own credentials."""
        own = self._own_credentials
        return open_container(self._address(role), prefix, own, timeout_of(role))

    def _address(self, role: BucketRole) -> AzureAddress:
        return AzureAddress(self._buckets.of(role), self._account, self._endpoint)

    def sign(self, grant: Grant, path: str, method: Method, expires_in: timedelta) -> str:
        """A URL with the SAS of one blob. See :class:`base.Provider`.

        A ``PUT`` to it needs the header ``x-ms-blob-type: BlockBlob``.
        """
        key, ends = self._key(self._clock(), expires_in)
        blob = f"{grant.prefix}{path}"
        return mint_url(self._address(grant.bucket), blob, method, key, ends)

    # --- for other processes and tools -------------------------------------------------------

    def address(self, grant: Grant) -> Address:
        """Container, account and endpoint: see :class:`store.AzureAddress`."""
        return asdict(self._address(grant.bucket))

    def url(self, grant: Grant) -> str:
        """``az://container/prefix/``."""
        return azure_tools.azure_url(grant, self._address(grant.bucket))

    def environment(self, credential: Credential) -> dict[str, str]:
        """The names that object_store, adlfs, Azure's command line and its SDKs read."""
        return azure_tools.environment(credential, self._addresses(credential))

    def refreshing_environment(self, credential: Credential, at: Renewal) -> dict[str, str]:
        """As :meth:`environment`: no Azure SDK fetches a SAS by itself."""
        del at
        return self.environment(credential)

    def tool_files(self, credentials: Sequence[Credential], at: Renewal) -> tuple[ToolFile, ...]:
        """None: what takes a SAS takes it as a variable or in a URL."""
        del credentials, at
        return ()

    def export(self, credential: Credential, form: Form) -> str:
        """Storage options and DuckDB. See :class:`base.Provider`."""
        return azure_tools.export(credential, form, self._addresses(credential))

    def _addresses(self, credential: Credential) -> dict[str, AzureAddress]:
        return {grant.area.value: self._address(grant.bucket) for grant in credential.grants}

    def close(self) -> None:
        """Closes the connections to the account, if there were any. Idempotent."""
        if "_http" in self.__dict__:
            self._http.close()
        if "_identity" in self.__dict__:
            self._identity.close()

    # --- the installation's own ----------------------------------------------------------------

    @cached_property
    def _http(self) -> httpx.Client:
        return open_client(self._endpoint, self._transport)

    @cached_property
    def _tokens(self) -> Tokens:
        return self._given_tokens or self._identity

    @cached_property
    def _identity(self) -> IdentityTokens:
        return IdentityTokens()

    @cached_property
    def _own_credentials(self) -> Callable[[], AzureCredential]:
        key = self._settings.account_key
        return TokenCredentials(self._tokens) if key is None else KeyCredentials(key)

    @cached_property
    def _delegation_keys(self) -> DelegationKeys:
        return DelegationKeys(self._http, self._endpoint, self._tokens, clock=self._clock)

    # --- whether the account can hold a fence ----------------------------------------------------

    @cached_property
    def _check_fence(self) -> Callable[[], None]:
        return self._given_fence or FenceCheck(
            self._http,
            account=self._account,
            variable=self._buckets.variable(BucketRole.META),
            container=self._address(BucketRole.META).url,
            information=f"{self._endpoint}/?restype=account&comp=properties",
            own=self._own_headers,
            sas=self._probe_sas,
            names_shared=self._settings.names_shared,
        )

    def _own_headers(
        self, method: str, url: str, headers: Mapping[str, str], size: int
    ) -> dict[str, str]:
        """By the account's key, or as a principal of Entra ID."""
        versioned = {**headers, "x-ms-version": API_VERSION}
        key = self._settings.account_key
        if key is None:
            token = self._tokens().text
            return {**versioned, "Authorization": f"Bearer {token}"}
        return signed(
            method, url, versioned, account=self._account, key=key, now=self._clock(), size=size
        )

    def _probe_sas(self) -> str:
        now = self._clock()
        key, ends = self._key(now, PROBE_LIFE)
        sas = directory_sas(PROBE_GRANT, self._buckets.of, self._endpoint)
        return mint(sas, self._account, key, ends)
