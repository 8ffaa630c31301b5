"""Reads endpoint URLs, and whether buckets can be subdomains of their hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ringfence.config import shapes

if TYPE_CHECKING:
    from ringfence.config.reader import Reader

PATH_STYLE: Final = "AWS_USE_PATH_STYLE"


def read_endpoint(
    reader: Reader, name: str, *, account_path: bool = False
) -> shapes.Endpoint | None:
    """An endpoint's URL, or None where it is unset or wrong."""
    value = reader.text(name)
    if value is None:
        return None
    endpoint = shapes.endpoint(value, account_path=account_path)
    if isinstance(endpoint, shapes.Wrong):
        reader.problem(reader.holder(name), endpoint.expected, endpoint.hint)
        return None
    if endpoint.is_clear_text:
        reader.note(name, "without TLS, credentials and data cross the network in clear.")
    return endpoint


def check_subdomains(reader: Reader, endpoint: shapes.Endpoint | None) -> None:
    """Without path-style URLs a bucket is a subdomain of the endpoint, which not every host has."""
    if endpoint is None or reader.is_bad(PATH_STYLE):
        return
    if endpoint.is_address:
        hint = (
            "A bucket cannot be its subdomain: set AWS_USE_PATH_STYLE=true, or use a host's name."
        )
        reader.problem(PATH_STYLE, "true for an endpoint that is an IP address", hint)
    elif endpoint.is_single_label:
        reader.note(
            PATH_STYLE,
            f"buckets are asked for at <bucket>.{endpoint.host}; most engines need true.",
        )
