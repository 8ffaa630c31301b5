"""The token endpoint and the Security Token Service of the double, and what their tokens may."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote

import jwt

from tests.gcp.double.boundary import Need, Rejected, Rule, allows, parse
from tests.gcp.double.checks import Check
from tests.gcp.double.roles import OWNER

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
AUDIENCE: Final = "https://oauth2.googleapis.com/token"
PLATFORM: Final = "https://www.googleapis.com/auth/cloud-platform"
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Holder:
    """What a token stands for. ``rules`` are None for the source's own."""

    ends_at: datetime
    scopes: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] | None = None


@dataclass
class Tokens:
    """Issues and knows tokens. ``exchanges`` has each boundary that was accepted, as JSON.

    ``life`` is of a source token; a downscoped one ends with it. ``says_life`` is whether an
    exchange's answer has ``expires_in``, which Google's may lack. ``failing`` are statuses that the
    next exchanges are answered with.
    """

    email: str
    public_key: RSAPublicKey
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    off: Collection[Check] = ()
    life: timedelta = HOUR
    says_life: bool = True
    own: frozenset[str] = OWNER
    exchanges: list[Any] = field(default_factory=list)
    grants: int = 0
    failing: list[int] = field(default_factory=list)
    known: dict[str, Holder] = field(default_factory=dict)

    def grant(self, body: bytes) -> dict[str, Any]:
        """A service account's signed assertion in, a source token out."""
        form = _form(body)
        if form.get("grant_type") != GRANT:
            raise Rejected("unsupported_grant_type", "Invalid grant_type")
        claims = self._claims(form.get("assertion", ""))
        scopes = frozenset(str(claims.get("scope", "")).split())
        if not scopes and Check.SCOPED_SOURCE not in self.off:
            raise Rejected("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        self.grants += 1
        token = self._new("source", Holder(self.clock() + self.life, scopes))
        return {
            "access_token": token,
            "expires_in": int(self.life.total_seconds()),
            "token_type": "Bearer",
        }

    def _claims(self, assertion: str) -> Mapping[str, Any]:
        checked = Check.SIGNATURE_OF_GRANT not in self.off
        try:
            claims: Mapping[str, Any] = jwt.decode(
                assertion,
                self.public_key,
                algorithms=["RS256"],
                audience=AUDIENCE,
                issuer=self.email,
                leeway=timedelta(minutes=5),
                options={"require": ["exp", "iat", "iss", "aud"], "verify_signature": checked},
            )
        except jwt.InvalidSignatureError:
            raise Rejected("invalid_grant", "Invalid JWT Signature.") from None
        except jwt.PyJWTError as error:
            raise Rejected("invalid_grant", f"Invalid JWT: {error}") from None
        if checked and claims["exp"] - claims["iat"] > HOUR.total_seconds():
            raise Rejected("invalid_grant", "Invalid JWT: Token must be a short-lived token")
        return claims

    def exchange(self, body: bytes) -> dict[str, Any]:
        """A source token and a boundary in, a downscoped token out."""
        form = _form(body)
        self._check_types(form)
        source = self.known.get(form.get("subject_token", ""))
        if source is None or source.ends_at <= self.clock():
            raise Rejected("invalid_grant", "The subject token is invalid or expired")
        if PLATFORM not in source.scopes and Check.SCOPED_SOURCE not in self.off:
            raise Rejected("invalid_scope", "The subject token has no scope for this")
        if source.rules is not None and Check.ONE_BOUNDARY not in self.off:
            raise Rejected("invalid_request", "The subject token has a boundary already")
        rules = parse(form.get("options", ""), self.off)
        self.exchanges.append(json.loads(unquote(form["options"])))
        token = self._new("downscoped", Holder(source.ends_at, source.scopes, rules))
        answer = {"access_token": token, "issued_token_type": ACCESS_TOKEN, "token_type": "Bearer"}
        left = int((source.ends_at - self.clock()).total_seconds())
        return answer | ({"expires_in": left} if self.says_life else {})

    def _check_types(self, form: Mapping[str, str]) -> None:
        if Check.TOKEN_TYPES in self.off:
            return
        if form.get("grant_type") != EXCHANGE:
            raise Rejected("unsupported_grant_type", "Invalid grant_type")
        for name in ("subject_token_type", "requested_token_type"):
            if form.get(name) != ACCESS_TOKEN:
                raise Rejected("invalid_request", f"Invalid {name}")

    def _new(self, kind: str, holder: Holder) -> str:
        token = f"ya29.{kind}-{secrets.token_urlsafe(24)}"
        self.known[token] = holder
        return token

    # --- what they may ---------------------------------------------------------------------

    def holder(self, token: str) -> Holder | None:
        """Whose it is; None for one that is unknown or over."""
        found = self.known.get(token)
        if found is None:
            anybody = Holder(self.clock() + HOUR, frozenset({PLATFORM}))
            return anybody if token and Check.KNOWN_TOKEN in self.off else None
        over = found.ends_at <= self.clock() and Check.EXPIRY not in self.off
        return None if over else found

    def may(self, holder: Holder, need: Need) -> bool:
        """What the account may, and the boundary allows."""
        if need.permission not in self.own and Check.PERMISSION not in self.off:
            return False
        return holder.rules is None or allows(holder.rules, need, self.off)


def _form(body: bytes) -> dict[str, str]:
    """Each field once; a doubled one would be read in two ways."""
    try:
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise Rejected("invalid_request", "no form") from None
    if any(len(values) != 1 for values in fields.values()):
        raise Rejected("invalid_request", "a field is there twice")
    return {name: values[0] for name, values in fields.items()}
