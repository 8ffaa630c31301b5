"""The account key's signature on the few requests of Ringfence's own, which no SDK sends for it.

Source: Blob Storage REST API, *Authorize with Shared Key*. A request so signed needs no SAS, which
is what the requests are to find out about.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from ringfence.secret import Secret

_STANDARD: Final = (
    *("content-encoding", "content-language", "content-length", "content-md5", "content-type"),
    *("date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"),
)


def signed(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    account: str,
    key: Secret,
    now: datetime,
    size: int = 0,
) -> dict[str, str]:
    """``headers`` with the date and the signature of a request.

    Args:
        url: as it is sent, its path quoted.
        size: of its content, in bytes.
    """
    dated = {**headers, "x-ms-date": now.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    lowered = {name.lower(): value for name, value in dated.items()}
    lowered["content-length"] = str(size) if size else ""
    parts = urlsplit(url)
    fields = sorted(parse_qsl(parts.query, keep_blank_values=True))
    lines = (
        method,
        *(lowered.get(name, "") for name in _STANDARD),
        *(f"{name}:{lowered[name]}" for name in sorted(lowered) if name.startswith("x-ms-")),
        f"/{account}{parts.path}",
        *(f"{name.lower()}:{value}" for name, value in fields),
    )
    digest = hmac.digest(b64decode(key.reveal()), "\n".join(lines).encode(), "sha256")
    return {**dated, "Authorization": f"SharedKey {account}:{b64encode(digest).decode()}"}
