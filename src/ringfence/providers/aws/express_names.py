"""The names of S3 Express One Zone: zones, endpoints, and what may stand beside them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ringfence.errors import ConfigError, Problem

if TYPE_CHECKING:
    from ringfence.config import AwsSettings

_ZONE: Final = re.compile(r"[a-z0-9][a-z0-9-]*--([a-z0-9]+(?:-[a-z0-9]+)*)--xa?-s3")
_AWS_HOSTS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


def zone_of(name: str) -> str:
    """The zone's id in the name of a directory bucket or of an access point to one.

    Raises:
        ValueError: it is the name of neither.
    """
    match = _ZONE.fullmatch(name)
    if match is None:
        raise ValueError(f"not a name of S3 Express: {name!r}")
    return match[1]


def zonal_endpoint(name: str, region: str) -> str:
    """Where the objects of a bucket, or behind an access point, are (S3 User Guide, *Regional and
    Zonal endpoints*). There is no path style, and no other engine has such buckets."""
    return f"https://{name}.s3express-{zone_of(name)}.{region}.amazonaws.com"


def check_endpoint(settings: AwsSettings) -> None:
    """Refuses buckets on S3 Express beside another engine's endpoint.

    Their endpoints are AWS's own, so what is signed with the other engine's keys would go there.

    Raises:
        ConfigError: AWS_ENDPOINT is not AWS's own.
    """
    if not settings.express or settings.endpoint is None:
        return
    host = urlsplit(settings.endpoint).hostname or ""
    if not host.endswith(_AWS_HOSTS):
        expected = "unset, or an endpoint of AWS's own, with buckets on S3 Express One Zone"
        hint = "No other engine has such buckets: set their flags to false, or leave it out."
        raise ConfigError((Problem("AWS_ENDPOINT", settings.endpoint, expected, hint),))
