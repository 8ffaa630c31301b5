"""STS's refusals in words: the one place where its error codes become sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from ringfence.errors import (
    CredentialExpired,
    GrantNotEnforceable,
    IssueRefused,
    RegionMismatch,
    RingfenceError,
    StorageUnreachable,
)

MAX_CLOCK_SKEW: Final = timedelta(minutes=5)
"""Above this AWS refuses a signature (SigV4, "Signature expired")."""

_TELLING_SKEW: Final = timedelta(seconds=5)

_THROTTLED: Final = {"Throttling", "ThrottlingException", "RequestLimitExceeded", "SlowDown"}
_CLOCK: Final = {"RequestTimeTooSkewed", "RequestExpired"}
_CLOCK_SIGNS: Final = ("Signature expired", "Signature not yet current")
_BAD_KEYS: Final = {
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AuthFailure",
}
_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_TOO_LARGE: Final = {"PackedPolicyTooLarge", "PackedPolicyTooLargeException"}
_DENIED: Final = {"AccessDenied", "AccessDeniedException"}


class PolicyTooLarge(GrantNotEnforceable):
    """STS could not pack the session policy. Shorter policies may still fit."""


class StsRefusal(Exception):
    """An answer that is not a success, before it is put in words.

    ``skew`` is this machine's clock less the server's, where the answer had a date.
    """

    def __init__(self, *, status: int, code: str, message: str, skew: timedelta | None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.skew = skew

    @property
    def passing(self) -> bool:
        """Whether the same request may go through later."""
        return self.status >= 500 or self.status == 429 or self.code in _THROTTLED

    @property
    def clock_is_off(self) -> bool:
        """Whether the clocks explain the refusal of a signature."""
        far = self.skew is not None and abs(self.skew) > MAX_CLOCK_SKEW
        told = any(sign in self.message for sign in _CLOCK_SIGNS)
        return self.code in _CLOCK or (self.code == "SignatureDoesNotMatch" and (far or told))

    @property
    def said(self) -> str:
        """What the server said, on one line and bounded."""
        detail = f": {self.message[:300]}" if self.message else ""
        return f"STS answered {self.code or 'no error code'} (HTTP {self.status}){detail}".rstrip(
            "."
        )


@dataclass(frozen=True, slots=True)
class StsContext:
    """What a message needs to name. ``where`` is the variable that chose the endpoint."""

    endpoint: str
    where: str
    region: str
    role_arn: str
    attempts: int


def in_words(
    refusal: StsRefusal, context: StsContext, caller: Callable[[], str | None]
) -> RingfenceError:
    """The error to raise for a refusal, most specific first.

    ``caller`` finds out who the master keys stand for; it is asked only where that helps.
    """
    return (
        _about_the_keys(refusal, context)
        or _about_the_request(refusal, context)
        or _about_the_role(refusal, context, caller)
        or _about_the_endpoint(refusal, context)
    )


def _about_the_keys(refusal: StsRefusal, context: StsContext) -> RingfenceError | None:
    if refusal.clock_is_off:
        return CredentialExpired(
            f"The clock of this machine is off{_by(refusal.skew)}, so STS at {context.endpoint} "
            f"refuses its signatures ({refusal.code}).",
            hint="Set the clock (NTP) and try again.",
        )
    if refusal.code in _EXPIRED:
        return CredentialExpired(
            f"The installation's own credentials have expired ({refusal.code}).",
            hint="Renew AWS_SESSION_TOKEN with its two keys, or leave all three out.",
        )
    if refusal.code in _BAD_KEYS:
        return IssueRefused(
            f"STS at {context.endpoint} does not accept the installation's own keys "
            f"({refusal.code}).",
            hint="Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    return None


def _about_the_request(refusal: StsRefusal, context: StsContext) -> RingfenceError | None:
    if refusal.code in _TOO_LARGE:
        return PolicyTooLarge(
            f"The session policy is too large for STS. {refusal.said}.",
            hint="Use shorter ids or bucket names.",
        )
    if refusal.code == "RegionDisabledException":
        return RegionMismatch(
            f"STS is not active in the region {context.region}. {refusal.said}.",
            hint="Activate the region for this account, or set AWS_REGION.",
        )
    if "DurationSeconds" in refusal.message or "MaxSessionDuration" in refusal.message:
        return IssueRefused(
            f"The role {context.role_arn} does not allow sessions this long. {refusal.said}.",
            hint=(
                "Lower RINGFENCE_CREDENTIAL_TTL or raise the role's maximum session duration; "
                "a role that assumes another gets 3,600 seconds at most."
            ),
        )
    return None


def _about_the_role(
    refusal: StsRefusal, context: StsContext, caller: Callable[[], str | None]
) -> RingfenceError | None:
    if refusal.code in _DENIED:
        who = caller() or "The installation's own principal"
        return IssueRefused(
            f"{who} may not assume RUNTIME_ROLE_ARN ({context.role_arn}). {refusal.said}.",
            hint=(
                "Name that principal in the role's trust policy with the action "
                "sts:AssumeRole, and allow it sts:AssumeRole on the role."
            ),
        )
    if refusal.code == "NoSuchEntity" or "role" in refusal.message.lower():
        return IssueRefused(
            f"The role {context.role_arn} cannot be assumed. {refusal.said}.",
            hint="Check RUNTIME_ROLE_ARN.",
        )
    return None


def _about_the_endpoint(refusal: StsRefusal, context: StsContext) -> RingfenceError:
    if refusal.passing:
        return StorageUnreachable(
            f"STS at {context.endpoint} failed {context.attempts} times. {refusal.said}.",
            hint="It is overloaded or down; a longer RINGFENCE_CREDENTIAL_TTL asks it less.",
        )
    if not refusal.code:
        return IssueRefused(
            f"{context.endpoint} does not answer as STS does. {refusal.said}.",
            hint=f"Check {context.where}; set AWS_STS_ENDPOINT if STS is elsewhere.",
        )
    return IssueRefused(f"STS at {context.endpoint} refused. {refusal.said}.")


def _by(skew: timedelta | None) -> str:
    # An answer's date is whole seconds and its way takes time: a few seconds say nothing. The
    # clock may have been set since the request was signed, too.
    if skew is None or abs(skew) < _TELLING_SKEW:
        return ""
    seconds = int(skew.total_seconds())
    return f" by {abs(seconds)} s ({'ahead' if seconds > 0 else 'behind'})"
