"""Opening an obstore store on an S3 bucket. Used by the engine's side and inside an execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ringfence.providers.aws.express_names import zonal_endpoint
from ringfence.providers.base import Address, CredentialSource
from ringfence.providers.stores import (
    MAX_RETRIES,
    REQUEST_TIMEOUT,
    RETRY,
    Leased,
    client_options,
    opening,
)
from ringfence.secret import Secret

if TYPE_CHECKING:
    from obstore.store import S3Credential, S3Store


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
    return open_s3(address_from(address), prefix, leased(lease))


def _address(**parts: Any) -> S3Address:
    return S3Address(**parts)


def address_from(address: Address) -> S3Address:
    """What :meth:`ringfence.providers.base.Provider.address` said, as an address again."""
    return _address(**address)


def leased(lease: CredentialSource) -> Leased[S3Credential]:
    """obstore's credential provider over a lease."""
    return Leased(lease, _credential)


def _credential(fields: Mapping[str, Secret], until: datetime) -> S3Credential:
    return {
        "access_key_id": fields["access_key_id"].reveal(),
        "secret_access_key": fields["secret_access_key"].reveal(),
        "token": fields["token"].reveal(),
        "expires_at": until,
    }


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
    from obstore.store import S3Store  # 0.03 s, and not at `import ringfence`

    with opening():
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
