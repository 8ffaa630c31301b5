"""The part of a run's service that speaks to google-auth, as a token endpoint of OAuth 2.0.

google-auth asks for a subject token by a URL, hands it in at the token endpoint, and gets an access
token with its life in seconds (RFC 8693). Here the subject token is the run's own token, and what
comes back is the execution's credential: nothing that it has not got already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from ringfence.secret import Secret

if TYPE_CHECKING:
    from datetime import datetime

    from ringfence.providers.base import Credential

PATH: Final = "/google/token/"
SUBJECT_PATH: Final = "/google/subject"

_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"


def subject(token: Secret) -> dict[str, str]:
    """What a subject token's URL answers."""
    return {"subject_token": token.reveal()}


def presented(body: bytes) -> bytes:
    """The subject token of an exchange; empty where the form is none of one."""
    try:
        form = parse_qs(body.decode("ascii"), max_num_fields=16)
    except ValueError:
        return b""
    if form.get("grant_type") != [_GRANT] or len(form.get("subject_token", ())) != 1:
        return b""
    return form["subject_token"][0].encode()


def as_token(credential: Credential, now: datetime) -> dict[str, Any]:
    """A credential as the answer of an exchange. Its life is rounded down to whole seconds."""
    return {
        "access_token": credential.fields["token"].reveal(),
        "issued_token_type": _ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": max(1, int((credential.expires_at - now).total_seconds())),
    }
