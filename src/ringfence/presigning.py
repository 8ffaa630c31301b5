"""URLs for one request on one object, checked against a grant.

They are signed with the installation's own keys and never with a fenced credential: a presigned URL
carries the session token, and that of R2 and of SeaweedFS discloses the session's secret key, so
whoever were given the URL of one object would hold the whole fence (R2, *Temporary credentials*;
SeaweedFS, ``weed/iam/sts``). What the fence would have said is therefore checked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from ringfence.errors import AccessDenied, UsageError
from ringfence.providers.base import Method
from ringfence.scope import Grant, Permission

NEEDS: Final[Mapping[Method, Permission]] = {
    "GET": Permission.READ,
    "HEAD": Permission.READ,
    "PUT": Permission.WRITE,
    "DELETE": Permission.DELETE,
}
"""The methods that a URL can be for, and the permission that each needs."""

MAX_KEY_BYTES: Final = 1024
"""Longest key on S3, R2, Azure and Google Cloud Storage alike."""

DEFAULT_LIFE: Final = timedelta(minutes=15)


def check_url(
    grant: Grant, path: str, method: str, expires_in: timedelta, longest: timedelta
) -> Method:
    """Refuses what the fence would refuse. Returns the method, if a URL for it may be made.

    Args:
        path: of the object, below the grant's prefix.
        longest: the life of a credential: a URL outlives none that could have been vended.

    Raises:
        AccessDenied: the grant has not the permission that the method needs.
        UsageError: the path is no key below the prefix, or method or life cannot be meant.
    """
    wanted = next((each for each in NEEDS if each == method), None)
    if wanted is None:
        raise UsageError(
            f"No URL is signed for the method {method!r}.", hint=f"Methods: {', '.join(NEEDS)}."
        )
    if NEEDS[wanted] not in grant.permissions:
        raise AccessDenied(
            f"The grant on {grant.area!s} does not allow to {NEEDS[wanted]}, which a {method} "
            "needs: no URL was made."
        )
    _check_path(grant, path)
    if not timedelta(0) < expires_in <= longest:
        raise UsageError(
            f"A URL cannot be good for {expires_in.total_seconds():g} s.",
            hint=f"At most {longest.total_seconds():g} s, the life of a credential "
            "(RINGFENCE_CREDENTIAL_TTL).",
        )
    return wanted


def _check_path(grant: Grant, path: str) -> None:
    segments = path.split("/")
    # Engines and clients read empty and dot segments each in their own way, some as "go up".
    if not path or any(segment in {"", ".", ".."} for segment in segments):
        raise UsageError(
            f"{path!r} is no path of an object below {grant.prefix}.",
            hint="It has segments between single slashes, none of them empty, '.' or '..'.",
        )
    if "\\" in path or not path.isprintable():
        raise UsageError(f"{path!r} holds characters that no URL is signed for.")
    if len(f"{grant.prefix}{path}".encode()) > MAX_KEY_BYTES:
        raise UsageError(f"The path is too long: keys have {MAX_KEY_BYTES} bytes at most.")
