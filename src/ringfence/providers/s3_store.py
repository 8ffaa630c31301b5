"""Opening an obstore store on an S3 bucket. Used by the engine's side and inside an execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ringfence.providers.base import CredentialSource

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential, S3Store

CONNECT_TIMEOUT: Final = timedelta(seconds=5)
# A stalled transfer must end, a slow one may go on: obstore's 30 s for a whole request is too
# little for a large object on a thin line.
REQUEST_TIMEOUT: Final = timedelta(minutes=5)
# Shorter than any credential has left when a store asks anew, since a retry signs with the old.
RETRY_TIMEOUT: Final = timedelta(seconds=30)
MAX_RETRIES: Final = 5
ASK_AGAIN: Final = timedelta(seconds=1)
"""obstore asks for a new credential when the old has this long left, so leases run that much on."""


class LeasedCredentials:
    """obstore's credential provider over a lease. A plain call, so sync and async methods work."""

    refresh_threshold = ASK_AGAIN

    def __init__(self, lease: CredentialSource) -> None:
        self._lease = lease

    def __call__(self) -> S3Credential:
        lease = self._lease()
        fields = lease.credential.fields
        return {
            "access_key_id": fields["access_key_id"].reveal(),
            "secret_access_key": fields["secret_access_key"].reveal(),
            "token": fields["token"].reveal(),
            "expires_at": lease.until + ASK_AGAIN,
        }


@dataclass(frozen=True, slots=True)
class S3Address:
    """Where a bucket is: what a store needs besides credentials."""

    bucket: str
    region: str
    endpoint: str | None
    path_style: bool

    @property
    def virtual_hosted(self) -> bool:
        """Whether the bucket is in the host's name.

        A dot in the name breaks the wildcard certificate of virtual-hosted addresses (S3 User
        Guide, "Virtual hosting of buckets"), so AWS itself is then asked path-style all the same.
        """
        return not self.path_style and not (self.endpoint is None and "." in self.bucket)


def open_s3(
    address: S3Address, prefix: str | None, credentials: Callable[[], S3Credential]
) -> S3Store:
    """An obstore store with Ringfence's time-outs; nothing is wrapped."""
    from obstore.store import S3Store  # 0.03 s, and not at `import ringfence`

    options: dict[str, Any] = {"region": address.region}
    if address.endpoint is not None:
        options["endpoint"] = _bucket_endpoint(address)
    return S3Store(
        address.bucket,
        prefix=prefix,
        virtual_hosted_style_request=address.virtual_hosted,
        client_options=_client_options(address.endpoint),
        retry_config=_RETRY,
        credential_provider=credentials,
        **options,
    )


def _bucket_endpoint(address: S3Address) -> str:
    """object_store takes a virtual-hosted endpoint with the bucket already in the host."""
    endpoint = address.endpoint or ""
    if not address.virtual_hosted:
        return endpoint
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{address.bucket}.{host}"


def _client_options(endpoint: str | None) -> ClientConfig:
    return {
        "connect_timeout": CONNECT_TIMEOUT,
        "timeout": REQUEST_TIMEOUT,
        "allow_http": bool(endpoint and endpoint.startswith("http:")),
        "user_agent": "ringfence",
    }


_RETRY: Final[RetryConfig] = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}
