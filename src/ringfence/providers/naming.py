"""Which variables an endpoint's configuration has, for messages about what failed there.

obstore's errors name a host and no provider, so whoever opens a store says once whose host it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Names:
    """The variables of one provider. ``rejected`` maps an error code of its cloud to the variable
    that is wrong then, and what is expected of it."""

    endpoint: str
    region: str
    keys: str
    rejected: dict[str, tuple[str, str]]


S3: Final = Names(
    endpoint="AWS_ENDPOINT",
    region="AWS_REGION",
    keys=(
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, where it is set), and "
        "that AWS_ENDPOINT is theirs"
    ),
    rejected={
        "InvalidAccessKeyId": ("AWS_ACCESS_KEY_ID", "a key that it knows"),
        "SignatureDoesNotMatch": ("AWS_SECRET_ACCESS_KEY", "the secret of that key"),
        "InvalidToken": ("AWS_SESSION_TOKEN", "the token of that key, or none"),
    },
)

AZURE: Final = Names(
    endpoint="AZURE_STORAGE_ENDPOINT",
    region="AZURE_STORAGE_ENDPOINT",
    keys=(
        "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, and that AZURE_STORAGE_ENDPOINT "
        "is theirs"
    ),
    rejected={
        "AuthenticationFailed": ("AZURE_STORAGE_ACCOUNT_KEY", "a key of that account"),
        "KeyBasedAuthenticationNotPermitted": (
            "AZURE_STORAGE_ACCOUNT_KEY",
            "none, since this account permits no key",
        ),
    },
)

AZURE_SAS: Final = Names(AZURE.endpoint, AZURE.region, AZURE.keys, {})
"""For requests by SAS: what is refused then says nothing about the installation's own key."""

GCS: Final = Names(
    endpoint="GCS_ENDPOINT",
    region="GCS_ENDPOINT",
    keys="GOOGLE_APPLICATION_CREDENTIALS_JSON",
    # A token is always an exchanged one, so what is refused then is no variable's fault.
    rejected={},
)

R2: Final = Names(
    endpoint="R2_ENDPOINT",
    region="R2_ENDPOINT",
    keys="R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY, and that R2_ENDPOINT is their account's",
    rejected={
        "Unauthorized": ("R2_ACCESS_KEY_ID", "an access key that is good, not expired or revoked"),
        "InvalidAccessKeyId": ("R2_ACCESS_KEY_ID", "a key that it knows"),
        "SignatureDoesNotMatch": ("R2_SECRET_ACCESS_KEY", "the secret of that key"),
    },
)

_OF_HOST: dict[str, Names] = {}


def name_endpoint(url: str, names: Names) -> None:
    """Remembers whose endpoint a URL is. Hosts below it (a bucket's) are too."""
    _OF_HOST[urlsplit(url).netloc.lower()] = names


def names_at(url: str) -> Names:
    """The variables of the endpoint at a URL; those of S3, unless it was named as another's."""
    host = urlsplit(url).netloc.lower()
    while host:
        if host in _OF_HOST:
            return _OF_HOST[host]
        host = host.partition(".")[2]
    return S3
