"""What every obstore store is opened with, whatever its cloud: time-outs, retries, credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ringfence.layout import BucketRole
from ringfence.providers.base import CredentialSource
from ringfence.providers.connecting import LOOPBACK, check_proxies, is_loopback, no_certificates
from ringfence.secret import Secret

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_Rendered = TypeVar("_Rendered")

CONNECT_TIMEOUT: Final = timedelta(seconds=5)
# A stalled transfer must end, a slow one may go on: obstore's 30 s for a whole request is too
# little for a large object on a thin line.
REQUEST_TIMEOUT: Final = timedelta(minutes=5)
RECORD_TIMEOUT: Final = timedelta(seconds=30)
"""For a store of small objects only: 17 MiB, the most that an event takes, in 30 s on 5 Mbit/s."""
# Shorter than any credential has left when a store asks anew, since a retry signs with the old.
RETRY_TIMEOUT: Final = timedelta(seconds=30)
MAX_RETRIES: Final = 5
RETRY: Final[RetryConfig] = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}
ASK_AGAIN: Final = timedelta(seconds=1)
"""obstore asks for a new credential when the old has this long left, so leases run that much on."""


class Leased(Generic[_Rendered]):
    """obstore's credential provider over a lease. A plain call, so sync and async methods work.

    Args:
        lease: gives the credential of the time, and until when to use it.
        rendered: a credential's fields and its end in the words of obstore's provider for a cloud.
    """

    refresh_threshold = ASK_AGAIN

    def __init__(
        self,
        lease: CredentialSource,
        rendered: Callable[[Mapping[str, Secret], datetime], _Rendered],
    ) -> None:
        self._lease = lease
        self._rendered = rendered

    def __call__(self) -> _Rendered:
        lease = self._lease()
        return self._rendered(lease.credential.fields, lease.until + ASK_AGAIN)


def timeout_of(role: BucketRole) -> timedelta:
    """The longest request of the installation's own on a bucket.

    Of the meta bucket, this side reads and writes records alone, which are small.
    """
    return RECORD_TIMEOUT if role is BucketRole.META else REQUEST_TIMEOUT


def client_options(endpoint: str | None, timeout: timedelta) -> ClientConfig:
    """Time-outs, proxies and http for stores on an endpoint; None is a cloud's own.

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


@contextmanager
def opening() -> Iterator[None]:
    """Around the making of an obstore store.

    Raises:
        ConfigError: the certificates that the environment names cannot be used.
    """
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as error:
        if "certificate" not in str(error).lower():
            raise
        raise no_certificates() from None
