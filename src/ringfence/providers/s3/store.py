"""Opening an obstore store on an S3 bucket. Used by the engine's side and inside an execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ringfence.providers.aws.express_names import zonal_endpoint
from ringfence.providers.base import Address, CredentialSource
from ringfence.providers.connecting import LOOPBACK, check_proxies, is_loopback, no_certificates

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential, S3Store

CONNECT_TIMEOUT: Final = timedelta(seconds=5)
# A stalled transfer must end, a slow one may go on: obstore's 30 s for a whole request is too
# little for a large object on a thin line.
REQUEST_TIMEOUT: Final = timedelta(minutes=5)
RECORD_TIMEOUT: Final = timedelta(seconds=30)
"""For a store of small objects only: 17 MiB, the most that an event takes, in 30 s on 5 Mbit/s."""
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
    """Where a bucket is: what a store needs besides credentials.

    ``express`` is for a bucket of S3 Express or an access point to one: its endpoint follows from
    its name, and object_store makes sessions there by itself.
    """

    bucket: str
    region: str
    endpoint: str | None
    path_style: bool
    express: bool = False

    @property
    def virtual_hosted(self) -> bool:
        """Whether the bucket is in the host's name.

        A dot in the name breaks the wildcard certificate of virtual-hosted addresses (S3 User
        Guide, "Virtual hosting of buckets"), so AWS itself is then asked path-style all the same.
        """
        return not self.path_style and not (self.endpoint is None and "." in self.bucket)


def open_elsewhere(address: Address, prefix: str, lease: CredentialSource) -> S3Store:
    """A store on what :meth:`ringfence.providers.base.Provider.address` said, in any process."""
    return open_s3(address_from(address), prefix, LeasedCredentials(lease))


def _address(**parts: Any) -> S3Address:
    return S3Address(**parts)


def address_from(address: Address) -> S3Address:
    """What :meth:`ringfence.providers.base.Provider.address` said, as an address again."""
    return _address(**address)


def open_s3(
    address: S3Address,
    prefix: str | None,
    credentials: Callable[[], S3Credential],
    *,
    timeout: timedelta = REQUEST_TIMEOUT,
    max_retries: int = MAX_RETRIES,
) -> S3Store:
    """An obstore store with Ringfence's time-outs; nothing is wrapped.

    Raises:
        ConfigError: the proxy or the certificates that the environment names cannot be used.
    """
    from obstore.exceptions import BaseError
    from obstore.store import S3Store  # 0.03 s, and not at `import ringfence`

    try:
        return S3Store(
            address.bucket,
            prefix=prefix,
            region=address.region,
            endpoint=_bucket_endpoint(address),
            virtual_hosted_style_request=address.virtual_hosted,
            s3_express=address.express,  # said either way: else the environment would say it
            client_options=client_options(address.endpoint, timeout),
            retry_config={**RETRY, "max_retries": max_retries},
            credential_provider=credentials,
        )
    except BaseError as error:
        if "certificate" not in str(error).lower():
            raise
        raise no_certificates() from None


def _bucket_endpoint(address: S3Address) -> str:
    """object_store takes a virtual-hosted endpoint with the bucket already in the host.

    AWS's own is named too: else obstore would take one from the environment (AWS_ENDPOINT_URL),
    which may be meant for something else, and would be sent what is signed for AWS.
    """
    if address.express:
        # CreateSession goes there whatever the endpoint is (object_store 0.14, aws/builder.rs).
        return zonal_endpoint(address.bucket, address.region)
    endpoint = address.endpoint or aws_endpoint("s3", address.region)
    if not address.virtual_hosted:
        return endpoint
    scheme, _, host = endpoint.partition("://")
    return f"{scheme}://{address.bucket}.{host}"


def aws_endpoint(service: str, region: str) -> str:
    """AWS's regional endpoint of a service (AWS General Reference, "Service endpoints")."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{service}.{region}.{domain}"


def client_options(endpoint: str | None, timeout: timedelta) -> ClientConfig:
    """Time-outs, proxies and http for stores on an endpoint, whatever the cloud.

    Raises:
        ConfigError: a proxy that the environment names is none.
    """
    options: ClientConfig = {
        "connect_timeout": CONNECT_TIMEOUT,
        "timeout": timeout,
        "allow_http": bool(endpoint and endpoint.startswith("http:")),
        "user_agent": "ringfence",
    }
    if endpoint is None or not is_loopback(endpoint):
        check_proxies()
    else:
        # A proxy that is given keeps those of the environment out, and this one is never used.
        # Should it be all the same, it is the endpoint: nobody else is sent a signature.
        options["proxy_url"], options["proxy_excludes"] = endpoint, LOOPBACK
    return options


RETRY: Final[RetryConfig] = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}
