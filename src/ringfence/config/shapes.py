"""The shapes that names, URLs and ARNs must have. Pure functions over text.

Patterns are strings, compiled by ``re`` when first used, so that importing costs nothing.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ringfence.config.variables import ProviderName

# Naming rules as the clouds document them. S3: general purpose buckets; S3-compatible engines
# keep to the same. Azure: naming containers. GCS: bucket naming guidelines.
_S3_NAME: Final = r"(?=.{3,63}\Z)[a-z0-9](?:[a-z0-9-]|\.(?!\.))*[a-z0-9]"
_R2_NAME: Final = r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
_AZURE_NAME: Final = r"(?=.{3,63}\Z)[a-z0-9](?:-?[a-z0-9])*"
_GCS_NAME: Final = r"(?=.{3,222}\Z)(?=[a-z0-9])[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*(?<=[a-z0-9])"
_ENDS: Final = "beginning and ending with a letter or digit"
_NAMES: Final = {
    ProviderName.AWS: (
        _S3_NAME,
        f"a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens, {_ENDS}",
    ),
    ProviderName.R2: (
        _R2_NAME,
        f"a bucket name: 3 to 63 lower-case letters, digits and hyphens, {_ENDS}",
    ),
    ProviderName.AZURE: (
        _AZURE_NAME,
        f"a container name: 3 to 63 lower-case letters, digits and single hyphens, {_ENDS}",
    ),
    ProviderName.GCP: (
        _GCS_NAME,
        f"a bucket name: 3 to 63 lower-case letters, digits, - _ and ., {_ENDS}, without google",
    ),
}
_IP_ADDRESS: Final = r"[0-9]+(?:\.[0-9]+){3}"
# A host that ends in a number is an address, or no host at all (WHATWG URL, "host parsing").
_ENDS_IN_NUMBER: Final = r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)"
_S3_RESERVED_STARTS: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_S3_RESERVED_ENDS: Final = ("-s3alias", "--ol-s3", ".mrap", "--table-s3", "--xa-s3")

EXPRESS_END: Final = "--x-s3"
_EXPRESS_NAME: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?--([a-z0-9]+(?:-[a-z0-9]+)*-az[0-9]+)--x-s3"

_URL: Final = (
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?)"
    r"(?::(?P<port>\d{1,5}))?(?P<path>/[a-z0-9]{3,24})?/?"
)
_ROLE: Final = r"role/[\w+=,.@/-]{1,576}"


class Wrong(NamedTuple):
    """Why a value has not the shape it should."""

    expected: str
    hint: str | None = None


class Endpoint(NamedTuple):
    """An endpoint's URL, normalised: lower-case scheme and host, no slash at the end."""

    url: str
    scheme: str
    host: str

    @property
    def is_aws(self) -> bool:
        """Whether it is AWS's own, of any partition."""
        return self.host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, below which no bucket can be a subdomain."""
        return self.host.startswith("[") or bool(re.fullmatch(_ENDS_IN_NUMBER, self.host))

    @property
    def is_single_label(self) -> bool:
        """Whether the host is a bare name, such as minio or localhost."""
        return "." not in self.host and not self.is_address

    @property
    def is_clear_text(self) -> bool:
        """Whether credentials would cross a network without TLS."""
        local = self.host in {"localhost", "[::1]"} or self.host.startswith("127.")
        return self.scheme == "http" and not local


def bucket(provider: ProviderName, name: str) -> Wrong | None:
    """What is wrong with a bucket's name on a provider."""
    pattern, expected = _NAMES[provider]
    if "/" in name or ":" in name:
        return Wrong(expected, "Only the name is wanted: no s3://, no path, no ARN.")
    if not re.fullmatch(pattern, name) or re.fullmatch(_IP_ADDRESS, name):
        return Wrong(expected)
    if provider is ProviderName.AWS:
        return _reserved_on_s3(name, expected)
    if provider is ProviderName.GCP and (name.startswith("goog") or "google" in name):
        return Wrong(expected)
    return None


def _reserved_on_s3(name: str, expected: str) -> Wrong | None:
    reserved = [each for each in _S3_RESERVED_STARTS if name.startswith(each)]
    reserved += [each for each in _S3_RESERVED_ENDS if name.endswith(each)]
    return Wrong(expected, f"S3 reserves names with {reserved[0]}.") if reserved else None


def express_zone(name: str) -> str | None:
    """The availability zone's id in an S3 Express name, ``base--zone--x-s3``; else None."""
    match = re.fullmatch(_EXPRESS_NAME, name)
    return match[1] if match and 3 <= len(name) <= 63 else None


def endpoint(value: str, *, account_path: bool = False) -> Endpoint | Wrong:
    """Reads an endpoint's URL: http or https, a host, perhaps a port, and nothing else.

    ``account_path`` allows one segment of path, where Azure's emulators have the account.
    """
    match = re.fullmatch(_URL, value, re.IGNORECASE | re.ASCII)
    if match and (account_path or not match["path"]) and 0 < int(match["port"] or 1) < 65536:
        host = match["host"].lower()
        scheme = match["scheme"].lower()
        port = f":{int(match['port'])}" if match["port"] else ""
        return Endpoint(f"{scheme}://{host}{port}{match['path'] or ''}", scheme, host)
    return Wrong("a URL like https://host or http://host:9000, and nothing after it", _hint(value))


def _hint(value: str) -> str | None:
    if "://" not in value:
        return "Begin it with https://, or with http:// for an engine without TLS."
    rest = value.split("://", 1)[1]
    if "<" in value:
        return "Replace what stands between < and > by your own."
    if "@" in rest:
        return "Credentials do not go into the URL; they have variables of their own."
    if "?" in rest or "#" in rest or "/" in rest.rstrip("/"):
        return "The bucket and other paths are no part of the endpoint."
    return None


def role_arn(value: str, *, on_aws: bool) -> Wrong | None:
    """What is wrong with a role's ARN. AWS needs an account in it; other engines leave it out."""
    pattern = r"arn:aws[a-z-]*:iam::\d{12}:" if on_aws else r"arn:[a-z0-9-]+:iam::(?:\w*:)?"
    if re.fullmatch(pattern + _ROLE, value, re.ASCII):
        return None
    example = "arn:aws:iam::123456789012:role/Name" if on_aws else "arn:minio:iam:::role/Name"
    return Wrong(f"a role's ARN like {example}", _role_hint(value))


def _role_hint(value: str) -> str | None:
    if ":assumed-role/" in value:
        return "That is a session of a role; the role itself is arn:aws:iam::<account>:role/<name>."
    if ":user/" in value or ":instance-profile/" in value:
        return "Only a role can be assumed: name the role, not a user or an instance profile."
    if not value.startswith("arn:"):
        return "The role's whole ARN is wanted, not its name."
    return None


def region(value: str, *, on_aws: bool) -> Wrong | None:
    """What is wrong with a region. Other engines than AWS call theirs as they like."""
    pattern = r"[a-z]{2,}(?:-[a-z]+)+-[0-9]{1,2}" if on_aws else r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
    if re.fullmatch(pattern, value):
        return None
    zone = re.fullmatch(r"[a-z]{2,}(?:-[a-z]+)+-[0-9][a-z]", value)
    hint = "That is an availability zone; its region has no letter at the end." if zone else None
    return Wrong("a region like us-east-1", hint)


def zone_is_elsewhere(zone: str, of_region: str) -> bool:
    """Whether an availability zone's id surely belongs to another region (usw2-az1, us-west-2)."""
    parts = of_region.split("-")
    if len(parts) != 3:
        return False
    area, direction, number = parts
    short = "".join(word[0] for word in re.findall(r"north|south|east|west|central", direction))
    return bool(short) and not zone.startswith(f"{area}{short}{number}-")
