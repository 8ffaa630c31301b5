"""Who there is at the double of AWS, and what their policies say: IAM and STS."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from tests.express.http_front import Request, Response
from tests.express.sigv4 import Rejected, Rules, access_key, verify
from tests.isolation.wire import Keys
from tests.policy.iam import Policy, PolicyError, parse
from tests.policy.iam import Request as Asked

STS: Final = frozenset({"sts"})
_FORM: Final = {
    "Action", "Version", "RoleArn", "RoleSessionName", "Policy", "DurationSeconds",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Principal:
    """Who signed, by the ARN of the user or the role. ``policies`` must all allow what is asked."""

    arn: str
    policies: tuple[tuple[str, Policy], ...]

    def allowed(self, asked: Asked, holds: Callable[[str], bool]) -> bool:
        """Whether every policy that is looked at allows it."""
        return all(policy.allows(asked) for name, policy in self.policies if holds(name))


@dataclass(frozen=True, slots=True)
class Session:
    """One assumed role: its keys, its session policy, its end."""

    keys: Keys
    principal: Principal
    expires_at: datetime


@dataclass
class Directory:
    """The principals of one account: an owner with static keys, and one role."""

    owner: Keys
    owner_arn: str
    role_arn: str
    role_policy: str
    rules: Rules
    sessions: dict[str, Session] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    """Every session policy, in the order in which they came."""

    def signer(self, request: Request, services: frozenset[str]) -> tuple[Principal, bytes]:
        """Who signed a request with IAM credentials, and its body.

        Raises:
            Rejected: nobody did whose keys are good now.
        """
        key = access_key(request)
        token = request.headers.get("x-amz-security-token")
        if key == self.owner.access:
            if token is not None:
                raise Rejected(400, "InvalidToken")
            body = verify(request, self.owner, services, self.rules)
            return Principal(self.owner_arn, ()), body
        session = self.sessions.get(key)
        if session is None:
            raise Rejected(403, "InvalidAccessKeyId")
        if token is None or not secrets.compare_digest(token, session.keys.token or ""):
            raise Rejected(403, "InvalidToken")
        if self.rules.clock() >= session.expires_at:
            raise Rejected(400, "ExpiredToken")
        return session.principal, verify(request, session.keys, services, self.rules)

    def sts(self, request: Request) -> Response:
        """``AssumeRole`` with a session policy, and nothing else."""
        principal, body = self.signer(request, STS)
        form = dict(parse_qsl(body.decode(), strict_parsing=True))
        if form.get("Action") != "AssumeRole" or not form.keys() <= _FORM:
            raise Rejected(400, "InvalidAction")
        if principal.arn != self.owner_arn or form.get("RoleArn") != self.role_arn:
            raise Rejected(403, "AccessDenied", "may not assume the role")
        text, seconds = form.get("Policy", ""), int(form.get("DurationSeconds", "3600"))
        if len(text) > 2048 or not 900 <= seconds <= 43_200:
            raise Rejected(400, "ValidationError")
        # AWS would make a session without a policy; nothing here asks for one, so none is made.
        policies = (("role policy", _policy(self.role_policy)), ("session policy", _policy(text)))
        self.assumed.append(text)
        return _answer(self._new(policies, timedelta(seconds=seconds)))

    def _new(self, policies: tuple[tuple[str, Policy], ...], life: timedelta) -> Session:
        key = f"ASIA{secrets.token_hex(8).upper()}"
        keys = Keys(key, secrets.token_hex(20), secrets.token_urlsafe(64))
        expires_at = self.rules.clock() + life
        session = Session(keys, Principal(self.role_arn, policies), expires_at)
        self.sessions[key] = session
        return session


def _policy(text: str) -> Policy:
    try:
        return parse(text)
    except PolicyError as error:
        raise Rejected(400, "MalformedPolicyDocument", str(error)) from None


def _answer(session: Session) -> Response:
    parts = {
        "AccessKeyId": session.keys.access,
        "SecretAccessKey": session.keys.secret,
        "SessionToken": session.keys.token or "",
        "Expiration": session.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in parts.items())
    body = (
        '<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
        f"<Credentials>{inner}</Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
    return Response(200, body.encode(), {"Content-Type": "text/xml"})


def role_policy(account: str, region: str, buckets: tuple[str, ...]) -> str:
    """What the runtime role may do: everything on these buckets and their access points."""
    objects = [f"arn:aws:s3:::{name}{end}" for name in buckets for end in ("", "/*")]
    express = f"arn:aws:s3express:{region}:{account}"
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "s3:*", "Resource": objects},
                {
                    "Effect": "Allow",
                    "Action": "s3express:CreateSession",
                    "Resource": [
                        *(f"{express}:bucket/{name}" for name in buckets),
                        f"{express}:accesspoint/*",
                    ],
                },
            ],
        }
    )


def resource_allows(text: str, principal: str, asked: Asked) -> bool:
    """Whether a resource's policy allows a principal by its ARN.

    Only the form is known that names principals by ``{"AWS": ...}``; all else allows nothing.
    """
    document: dict[str, Any] = json.loads(text)
    for statement in document["Statement"]:
        named = statement.pop("Principal", None)
        arns = named.get("AWS") if isinstance(named, dict) and set(named) == {"AWS"} else None
        if principal not in (arns if isinstance(arns, list) else [arns]):
            return False
    return parse(json.dumps(document)).allows(asked)
