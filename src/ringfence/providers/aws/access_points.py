"""Access points to directory buckets: each is made once, and found by its name ever after.

An access point is used only after its bucket, scope and policy were read back. A scope that is
wider would be a hole in the fence; and one that somebody changed is refused rather than put right,
since whoever uses it meanwhile would be cut off, or let in, without a word.

The master keys need ``s3express:CreateAccessPoint``, ``GetAccessPoint``, ``GetAccessPointScope``,
``GetAccessPointPolicy`` and ``PutAccessPointPolicy`` on the account's access points.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final
from xml.sax.saxutils import escape

from ringfence.errors import (
    BucketMissing,
    CredentialExpired,
    GrantNotEnforceable,
    IssueRefused,
    RingfenceError,
)
from ringfence.providers.aws.express import MAX_ACCESS_POINTS, AccessPoint
from ringfence.providers.aws.policy import CREATE_SESSION
from ringfence.providers.aws.s3_control import XMLNS, Answer, S3Control
from ringfence.providers.aws.sts import ATTEMPTS, BACKOFF_SECONDS

KNOWN: Final = 4096
"""Access points that are remembered as found; the one used longest ago goes first."""

_DENIED: Final = {"AccessDenied", "AccessDeniedException"}
_BAD_KEYS: Final = {"InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch"}
_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "RequestTimeTooSkewed"}
_TAKEN: Final = {"AccessPointAlreadyOwnedByYou", "AccessPointAlreadyExists", "OperationAborted"}
_FULL: Final = {"TooManyAccessPoints", "AccessPointLimitExceeded"}
_PERMISSIONS: Final = (
    "s3express:CreateAccessPoint, GetAccessPoint, GetAccessPointScope, GetAccessPointPolicy and "
    "PutAccessPointPolicy"
)


@dataclass(frozen=True, slots=True)
class AccessPoints:
    """Makes and finds access points. Blocking, thread-safe, bounded in time as its client is.

    Many processes may make the same one at once: one of them makes it, the others find it.
    """

    control: S3Control
    role_arn: str
    _known: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def ensure(self, point: AccessPoint) -> None:
        """Makes sure that the access point is there, and is what it must be.

        Raises:
            GrantNotEnforceable: the account has no room for another; or what has the name leads to
                another bucket, or has another scope or policy, so that it is no fence of ours.
            IssueRefused: the master keys may not make or read it, or are not accepted.
            BucketMissing: the bucket is not there.
            CredentialExpired: the master's token is over, or the clocks differ.
            StorageUnreachable: no usable answer.
        """
        with self._lock:
            if point.name in self._known:
                self._known.move_to_end(point.name)
                return
        found = self._get(point, "GetAccessPoint")
        if found is None:
            self._create(point)
            found = self._get_new(point)
        self._check(point, found)
        with self._lock:
            self._known[point.name] = None
            while len(self._known) > KNOWN:
                self._known.popitem(last=False)

    def _create(self, point: AccessPoint) -> None:
        action = "CreateAccessPoint"
        answer = self.control.call("PUT", point.name, action, _create_body(point))
        # Another process was faster: what it made is read back as our own would be.
        if not answer.done and answer.code not in _TAKEN:
            raise _in_words(answer, action, point, self.control)

    def _get_new(self, point: AccessPoint) -> Answer | None:
        """One that has just been made, by us or by another, and may take a moment to show."""
        for attempt in range(ATTEMPTS):
            found = self._get(point, "GetAccessPoint")
            if found is not None:
                return found
            self.control.sleep(BACKOFF_SECONDS * 2**attempt)
        return None

    def _check(self, point: AccessPoint, found: Answer | None) -> None:
        if found is None:
            raise _another(point, "is there and cannot be found: it may be another account's")
        owner = found.text("BucketAccountId") or self.control.account
        if found.text("Bucket") != point.bucket or owner != self.control.account:
            raise _another(point, "leads to another bucket")
        self._check_scope(point)
        self._check_policy(point)

    def _check_scope(self, point: AccessPoint) -> None:
        scope = self._get(point, "GetAccessPointScope", "/scope")
        if scope is None:
            raise _another(point, "has no scope and opens the whole bucket")
        prefixes, operations = scope.texts("Prefix"), scope.texts("Permission")
        if sorted(prefixes) != sorted(point.prefixes) or set(operations) != point.operations:
            raise _another(point, "has another scope")

    def _check_policy(self, point: AccessPoint) -> None:
        wanted = json.dumps(_policy(point, self.role_arn), separators=(",", ":"))
        found = self._get(point, "GetAccessPointPolicy", "/policy")
        if found is None:
            # New, or whoever made it has died before this. Its scope is known to be right.
            self._put_policy(point, wanted)
            found = self._get(point, "GetAccessPointPolicy", "/policy")
        if found is None or _normal(found.text("Policy")) != _normal(wanted):
            raise _another(point, "has another policy")

    def _put_policy(self, point: AccessPoint, text: str) -> None:
        action = "PutAccessPointPolicy"
        body = _document("PutAccessPointPolicyRequest", f"<Policy>{escape(text)}</Policy>")
        answer = self.control.call("PUT", f"{point.name}/policy", action, body)
        if not answer.done:
            raise _in_words(answer, action, point, self.control)

    def _get(self, point: AccessPoint, action: str, what: str = "") -> Answer | None:
        """What S3 Control knows of an access point; None where it knows nothing."""
        answer = self.control.call("GET", f"{point.name}{what}", action)
        if answer.missing:
            return None
        if not answer.done or answer.root is None:
            raise _in_words(answer, action, point, self.control)
        return answer


def _create_body(point: AccessPoint) -> bytes:
    prefixes = "".join(f"<Prefix>{escape(prefix)}</Prefix>" for prefix in point.prefixes)
    operations = "".join(f"<Permission>{each}</Permission>" for each in sorted(point.operations))
    scope = f"<Prefixes>{prefixes}</Prefixes><Permissions>{operations}</Permissions>"
    content = f"<Bucket>{point.bucket}</Bucket><Scope>{scope}</Scope>"
    return _document("CreateAccessPointRequest", content)


def _document(name: str, content: str) -> bytes:
    return f'<{name} xmlns="{XMLNS}">{content}</{name}>'.encode()


def _policy(point: AccessPoint, role_arn: str) -> Mapping[str, object]:
    """Who may come through: sessions of the runtime role, and nobody else."""
    read_only = {"Condition": {"StringEquals": {"s3express:SessionMode": "ReadOnly"}}}
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": role_arn},
        "Action": CREATE_SESSION,
        "Resource": point.arn,
        **(read_only if point.read_only else {}),
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _normal(text: str) -> object:
    """A policy without what says nothing: white space, the order of keys, lists of one."""
    try:
        return _plain(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return _plain(value[0]) if len(value) == 1 else [_plain(each) for each in value]
    return value


# --- refusals ------------------------------------------------------------------------------------


def _another(point: AccessPoint, how: str) -> GrantNotEnforceable:
    return GrantNotEnforceable(
        f"The access point {point.name}, which is to fence {' and '.join(point.prefixes)} in "
        f"{point.bucket}, {how}. It is not used, and nothing was issued.",
        hint="Somebody changed it, or made it by hand: find out who, then delete it "
        "(aws s3control delete-access-point). It is made anew when it is needed.",
    )


def _in_words(
    answer: Answer, action: str, point: AccessPoint, control: S3Control
) -> RingfenceError:
    if answer.code in _FULL:
        return GrantNotEnforceable(
            f"The account {control.account} has as many access points in {control.region} as it "
            f"may ({MAX_ACCESS_POINTS:,}, unless its quota was raised), so there is none for "
            f"{' and '.join(point.prefixes)}. {answer.said}.",
            hint="Delete those of apps and users that are gone, ask AWS for a higher quota, or use "
            "a standard bucket: Express cannot fence more users than there are access points.",
        )
    if answer.code == "NoSuchBucket":
        return BucketMissing(
            f"{point.bucket} does not exist in {control.region}, or belongs to another account "
            f"than RUNTIME_ROLE_ARN ({control.account}).",
            hint="Make it, or correct the variable.",
        )
    return _about_the_keys(answer, action, point) or IssueRefused(
        f"S3 Control would not {action} {point.name}. {answer.said}."
    )


def _about_the_keys(answer: Answer, action: str, point: AccessPoint) -> RingfenceError | None:
    if answer.code in _EXPIRED:
        return CredentialExpired(
            "The installation's own credentials have expired, or this machine's clock is off "
            f"({answer.code}).",
            hint="Renew AWS_SESSION_TOKEN with its two keys, or set the clock (NTP).",
        )
    if answer.code in _BAD_KEYS:
        return IssueRefused(
            f"S3 Control does not accept the installation's own keys ({answer.code}).",
            hint="Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        )
    if answer.code in _DENIED:
        return IssueRefused(
            f"The installation's own keys may not use s3express:{action} on {point.arn}. "
            f"{answer.said}.",
            hint=f"Allow them {_PERMISSIONS} there, or unset RINGFENCE_EXPRESS_ACCESS_POINTS.",
        )
    return None
