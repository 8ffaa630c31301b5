"""From inside a session: no other session, no wider one, nobody else's name.

``AssumeRole`` and its kin are asked in every way that the engine's one port answers: signed for
``sts`` and for ``s3``, unsigned, as a form and in the query, with the parameters that would help.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlencode

import pytest

from tests.isolation.scene import Attempt, Scene, failures, refused
from tests.isolation.wire import Reply, Wire

pytestmark = pytest.mark.engine

WIDE = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)
NAMED = {"RoleSessionName": "attacker"}

UNKNOWN = {"InvalidAction", "ServiceUnavailable", "InvalidParameterValue"}
"""How the engine says that it has no such call (no LDAP server, no such action), or that an ARN is
no role's. It then issues nothing: every attempt is checked for that besides."""


def forged(claims: dict[str, object]) -> str:
    """A JWT that nobody signed."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def calls(scene: Scene) -> Iterator[tuple[str, dict[str, str]]]:
    role = scene.installation.role
    account = role.split(":")[4]
    token = scene.attacker.keys.token if scene.attacker.keys else None
    assert token is not None
    roles = {
        "the role": role,
        "another role": f"arn:aws:iam::{account}:role/admin",
        "the principal": f"arn:aws:iam::{account}:user/ringfence",
        "the session": f"{role.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/x",
        "no role": "",
    }
    for what, arn in roles.items():
        named = {**NAMED, **({"RoleArn": arn} if arn else {})}
        yield f"AssumeRole, {what}", {"Action": "AssumeRole", **named}
        yield f"AssumeRole, {what}, wide", {"Action": "AssumeRole", **named, "Policy": WIDE}
    yield "GetSessionToken", {"Action": "GetSessionToken"}
    yield "GetFederationToken", {"Action": "GetFederationToken", "Name": "attacker"}
    yield (
        "GetFederationToken, wide",
        {"Action": "GetFederationToken", "Name": "attacker", "Policy": WIDE},
    )
    yield "AssumeRoot", {"Action": "AssumeRoot", "TargetPrincipal": account}
    identities = {
        "its own token": token,
        "nobody's": forged({"iss": "https://evil.example", "sub": "admin", "aud": "sts"}),
        "the engine's, forged": forged({"iss": "ringfence", "sub": "admin", "role": role}),
    }
    for what, identity in identities.items():
        web = {"Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": identity, **NAMED}
        yield f"web identity, {what}", {**web, "RoleArn": role}
        yield f"web identity, {what}, no role", web
        yield f"web identity, {what}, wide", {**web, "RoleArn": role, "Policy": WIDE}
    saml = {"Action": "AssumeRoleWithSAML", "SAMLAssertion": "PHg+", "PrincipalArn": role}
    yield "SAML", {**saml, "RoleArn": role}
    ldap = {"Action": "AssumeRoleWithLDAPIdentity", "LDAPUsername": "a", "LDAPPassword": "b"}
    yield "LDAP", {**ldap, **NAMED, "RoleArn": role}


def in_the_query(wire: Wire, method: str, fields: dict[str, str]) -> Reply:
    query = urlencode(sorted({"Version": "2011-06-15", **fields}.items())).replace("+", "%20")
    return wire.send(method, f"/?{query}", service="sts")


def ways(scene: Scene) -> Iterator[Attempt]:
    for name, fields in calls(scene):
        for service in ("sts", "s3"):
            yield f"{name} [{service}]", partial(scene.attacker.form, service, **fields)
        yield f"{name} [unsigned]", partial(scene.anyone.form, **fields)
        yield f"{name} [query]", partial(in_the_query, scene.attacker, "POST", fields)


def issues_nothing(reply: Reply) -> bool:
    gives = b"<SecretAccessKey>" in reply.body or b"<SessionToken>" in reply.body
    return not gives and (refused(reply) or (reply.status >= 400 and reply.code in UNKNOWN))


def test_no_session_comes_from_a_session(scene: Scene) -> None:
    assert failures(scene, ways(scene), issues_nothing) == []


def test_the_role_is_refused_by_name(scene: Scene) -> None:
    """The refusal that matters most, exactly: the same call that the installation makes."""
    fields = {"Action": "AssumeRole", "RoleArn": scene.installation.role, **NAMED}
    assert refused(scene.attacker.form(**fields))
    assert refused(scene.attacker.form(**fields, Policy=WIDE))
    assert scene.installation.master.form(**fields).status == 200


def test_a_get_is_no_call_of_sts(scene: Scene) -> None:
    """In this engine it is ``ListBuckets``, whose answer to a session is empty."""
    fields = {"Action": "AssumeRole", "RoleArn": scene.installation.role, **NAMED}
    reply = in_the_query(scene.attacker, "GET", fields)
    assert b"AccessKeyId" not in reply.body
    assert b"<Name>" not in reply.body


def test_caller_identity_is_the_callers_own(scene: Scene) -> None:
    reply = scene.attacker.form(Action="GetCallerIdentity")
    assert reply.status == 200
    assert b":assumed-role/" in reply.body
    assert b":user/" not in reply.body
    assert scene.attacker.keys is not None
    assert scene.attacker.keys.secret.encode() not in reply.body
    assert refused(scene.anyone.form(Action="GetCallerIdentity"))


def test_no_buckets_are_listed(scene: Scene) -> None:
    reply = scene.attacker.send("GET", "/")
    assert reply.status == 200
    assert b"ListAllMyBucketsResult" in reply.body
    assert b"<Name>" not in reply.body
    assert refused(scene.anyone.send("GET", "/"))
