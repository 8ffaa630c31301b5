"""Every secret of the settings in clear: for scrubbing output, and for tests of leaks."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING

from ringfence.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringfence.config.settings import Settings


def secret_values(settings: Settings) -> frozenset[str]:
    """Every secret value in the settings, and the secrets inside them.

    These are the keys and tokens, the whole URLs and JSON documents that hold a secret, and from
    these the password (as written and decoded) and the private key. Never holds an empty string.
    """
    secrets = [*_secrets(settings), *_secrets(settings.cloud)]
    values = {part for secret in secrets for part in _parts(secret.reveal())}
    return frozenset(value for value in values if value)


def _secrets(record: object) -> Iterator[Secret]:
    for each in fields(record):  # type: ignore[arg-type]
        value = getattr(record, each.name)
        if isinstance(value, Secret):
            yield value


def _parts(value: str) -> Iterator[str]:
    yield value
    if value.startswith("{"):
        yield from _in_json(value)
    elif "://" in value:
        yield from _passwords(value)


def _in_json(text: str) -> Iterator[str]:
    import json

    document = json.loads(text)
    for name in ("private_key", "private_key_id", "client_secret", "refresh_token"):
        if isinstance(document.get(name), str):
            yield document[name]


def _passwords(url: str) -> Iterator[str]:
    from urllib.parse import unquote

    for pattern in (r"://[^/?#:]*:([^/?#]*)@", r"[?&]password=([^&#]+)"):
        for password in re.findall(pattern, url):
            yield password
            yield unquote(password)
