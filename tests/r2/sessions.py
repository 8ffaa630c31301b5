"""Who stands behind a request: the parent key itself, or a session that was derived from it.

As Cloudflare documents it (R2, *Temporary credentials*); PyJWT verifies the tokens, apart from the
code that signs them. Where the documentation leaves a doubt, the double takes what is worse for a
fence: an empty list of paths opens the bucket as a missing one does, and an action needs no other
beside it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import jwt

from tests.r2.checks import Check
from tests.r2.sigv4 import Claim, Off, Refused

READS: Final = frozenset(
    {
        "HeadObject",
        "GetObject",
        "GetBucketLocation",
        "ListObjectsV1",
        "ListObjectsV2",
        "ListMultipartUploads",
        "ListParts",
    }
)
WRITES: Final = frozenset({"PutObject", "DeleteObject", "DeleteObjects", "CopyObject"})
MULTIPART: Final = frozenset(
    {
        "CreateMultipartUpload",
        "UploadPart",
        "UploadPartCopy",
        "AbortMultipartUpload",
        "CompleteMultipartUpload",
    }
)
ACTIONS: Final = READS | WRITES | MULTIPART
SCOPES: Final = {
    "object-read-only": READS,
    "object-read-write": ACTIONS,
    "admin-read-only": READS,
    "admin-read-write": ACTIONS,
}


@dataclass(frozen=True, slots=True)
class Parent:
    """An R2 API token: its access key, its secret, and what it may do at most."""

    account: str
    access_key: str
    secret: str = field(repr=False)
    buckets: frozenset[str]
    scope: str = "object-read-write"


@dataclass(frozen=True, slots=True)
class Session:
    """What a request may touch. No prefixes and no objects is the whole bucket."""

    bucket: str
    operations: frozenset[str]
    prefixes: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()

    def holds(self, key: str) -> bool:
        """Whether a key is within the paths."""
        if not self.prefixes and not self.objects:
            return True
        return key in self.objects or any(key.startswith(prefix) for prefix in self.prefixes)

    def holds_listing(self, prefix: str) -> bool:
        """Whether all that a listing of a prefix shows is within the paths."""
        if not self.prefixes and not self.objects:
            return True
        return any(prefix.startswith(each) for each in self.prefixes)


@dataclass(frozen=True, slots=True)
class Issued:
    """A credential that the API issued. Its token means nothing to anybody else."""

    access_key: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    session: Session
    ends: float


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. ``session`` is None for the parent itself."""

    secret: str = field(repr=False)
    session: Session | None


@dataclass(slots=True)
class Identities:
    """Finds out who asks."""

    parent: Parent
    host: str
    now: Callable[[], datetime]
    off: Off
    issued: dict[str, Issued] = field(default_factory=dict)

    def of(self, claim: Claim) -> Principal:
        """Whose key a request names.

        Raises:
            Refused: nobody's, or the token is none, or over.
        """
        if claim.token is None:
            if claim.access_key != self.parent.access_key:
                raise Refused(401, "Unauthorized", "no such access key")
            return Principal(self.parent.secret, None)
        issued = self.issued.get(claim.access_key)
        if issued is not None:
            if claim.token != issued.token:
                raise Refused(401, "Unauthorized", "the session token is another's")
            self._check_end(issued.ends)
            return Principal(issued.secret, issued.session)
        token = _token(claim.token)
        session = self._session(self._claims(token, claim.access_key))
        return Principal(hashlib.sha256(token.encode()).hexdigest(), session)

    def _claims(self, token: str, access_key: str) -> dict[str, Any]:
        off = self.off
        if access_key != self.parent.access_key and not off(Check.ISSUER):
            raise Refused(401, "Unauthorized", "no such access key")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self.parent.secret,
                algorithms=["HS256"],
                audience=None if off(Check.AUDIENCE) else self.host,
                issuer=None if off(Check.ISSUER) else self.parent.access_key,
                options={
                    "require": ["exp", "iat", "iss", "sub", "aud"],
                    "verify_signature": not off(Check.TOKEN_SIGNATURE),
                    "verify_aud": not off(Check.AUDIENCE),
                    "verify_iss": not off(Check.ISSUER),
                    # By the clock of the double, below.
                    "verify_exp": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise Refused(401, "Unauthorized", f"the token does not hold: {error}") from None
        if claims.get("sub") != self.parent.account and not off(Check.SUBJECT):
            raise Refused(401, "Unauthorized", "the token's subject is another account")
        ends = claims.get("exp")
        if not isinstance(ends, int):
            raise Refused(401, "Unauthorized", "the token does not end")
        self._check_end(ends)
        return claims

    def _check_end(self, ends: float) -> None:
        if self.now().timestamp() >= ends and not self.off(Check.EXPIRY):
            raise Refused(401, "Unauthorized", "the token is over")

    def _session(self, claims: dict[str, Any]) -> Session:
        bucket, scope, actions = (claims.get(name) for name in ("bucket", "scope", "actions"))
        paths = claims.get("paths", {})
        known = {"bucket", "scope", "actions", "paths", "sub", "iss", "aud", "iat", "exp", "nbf"}
        if not isinstance(bucket, str) or not isinstance(paths, dict) or claims.keys() - known:
            raise Refused(401, "Unauthorized", "the token says what is not known here")
        if scope is None and actions is None:
            raise Refused(401, "Unauthorized", "the token has neither scope nor actions")
        allowed = SCOPES[self.parent.scope]
        if scope is not None:
            allowed &= _known(SCOPES, scope)
        if actions is not None:
            allowed &= _strings(actions, ACTIONS)
        prefixes, objects = (
            tuple(_strings(paths.get(name, []))) for name in ("prefixPaths", "objectPaths")
        )
        return Session(bucket, allowed, prefixes, objects)


def _known(scopes: dict[str, frozenset[str]], scope: object) -> frozenset[str]:
    if not isinstance(scope, str) or scope not in scopes:
        raise Refused(401, "Unauthorized", "the token's scope is not known")
    return scopes[scope]


def _strings(rows: object, known: Iterable[str] | None = None) -> frozenset[str]:
    if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
        raise Refused(401, "Unauthorized", "the token has a list that is none")
    found = frozenset(rows)
    if known is not None and not found <= frozenset(known):
        raise Refused(401, "Unauthorized", "the token has actions that are not known")
    return found


def _token(text: str) -> str:
    try:
        whole = base64.b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise Refused(401, "Unauthorized", "that is no session token") from None
    kind, slash, token = whole.partition("/")
    if kind != "jwt" or not slash:
        raise Refused(401, "Unauthorized", "that is no session token of this kind")
    return token
