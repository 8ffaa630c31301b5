"""Shared Key signatures, written from *Authorize with Shared Key* in the Blob Storage REST API.

Held against Microsoft's SDK and obstore by the tests: what they send must verify.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

_STANDARD = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type"),
    *("date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)


def authorization(
    account: str, key: str, method: str, target: str, headers: Mapping[str, str]
) -> str:
    """The ``Authorization`` of a request: its path as it stands, every ``x-ms-`` header signed."""
    lowered = {name.lower(): value.strip() for name, value in headers.items()}
    if lowered.get("content-length") == "0":
        lowered["content-length"] = ""
    if "x-ms-date" in lowered:
        lowered["date"] = ""
    path, _, query = target.partition("?")
    fields: dict[str, list[str]] = {}
    for name, value in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        fields.setdefault(name.lower(), []).append(value)
    text = "\n".join(
        (
            method,
            *(lowered.get(name, "") for name in _STANDARD),
            *(f"{name}:{lowered[name]}" for name in sorted(lowered) if name.startswith("x-ms-")),
            f"/{account}{path}",
        )
    ) + "".join(f"\n{name}:{','.join(sorted(fields[name]))}" for name in sorted(fields))
    digest = hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"
