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
