"""Reads endpoint URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringfence.config import shapes

if TYPE_CHECKING:
    from ringfence.config.reader import Reader


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
