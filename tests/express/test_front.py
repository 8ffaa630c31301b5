"""The double itself: each check refuses an attack, and with the check off the attack gets through.

So none of them is there in name only, and the matrix stands on what they do.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from ringfence.layout import BucketRole
from ringfence.scope import AccessMode, Area, Scope
from ringfence.testing.isolation import Place, attack, neighbours_of, probes
from tests.express import http_front
from tests.express.installation import Express
from tests.express.local_aws import EXPRESS, REGION, STANDARD, LocalAws, zonal_host
from tests.express.tenant import ExpressWire, is_asked_for
from tests.isolation.s3 import delete_body
from tests.isolation.wire import Keys, Reply, Wire, authorization

pytestmark = pytest.mark.engine

Make = Callable[..., Express]


@dataclass(frozen=True, slots=True)
class Ground:
    """A tenant of an app with access points, and what lies about it."""

    installation: Express
    scope: Scope
    wire: ExpressWire
    reading: ExpressWire
    point: str
    only_reads: str

    @property
    def own(self) -> str:
        return f"/apps/{self.scope.app_id}/x"

    @property
    def foreign(self) -> str:
        return f"/apps/{self.scope.app_id}0/x"

    def session(self, name: str = "") -> Keys:
        found = self.wire.session(name or self.point)
        assert isinstance(found, Keys)
        return found


@pytest.fixture
def ground(express: Make, scope: Scope, aws: LocalAws) -> Iterator[Ground]:
    installation = express("meta content", access_points=True)
    credential = installation.credential(scope)
    reading = installation.credential(replace(scope, mode=AccessMode.INVOKE_READ))
    point, only_reads = (
        str(
            installation.provider.address(next(g for g in c.grants if g.area is Area.APP))["bucket"]
        )
        for c in (credential, reading)
    )
    wires = installation.wire(credential), installation.wire(reading)
    made = Ground(installation, scope, *wires, point, only_reads)
    places = [Place(BucketRole.CONTENT, at.removeprefix("/")) for at in (made.own, made.foreign)]
    places.append(Place(BucketRole.LOG, made.foreign.removeprefix("/")))
    for place in places:
        installation.owner.plant(place, b"planted")
    yield made
    installation.owner.clear(places, ())
    aws.off.clear()
    aws.zonal.inactive.clear()


Attack = Callable[[Ground], Reply]


def with_a_bad_signature(ground: Ground) -> Reply:
    session = ground.session()
    forged = Keys(session.access, f"{session.secret}x", session.token)
    return ground.wire.by_session("GET", ground.point, ground.own, session=forged)


def with_a_header_unsigned(ground: Ground) -> Reply:
    session = ground.session()
    host = zonal_host(ground.point)
    signed = {
        "Host": host,
        "x-amz-date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        "x-amz-content-sha256": hashlib.sha256(b"").hexdigest(),
    }
    how = {"region": REGION, "service": "s3express"}
    text = authorization(session, "GET", ground.own, signed, **how)
    token = {"x-amz-s3session-token": session.token or "", "Authorization": text}
    front = Wire(ground.installation.aws.url, None)
    return front.exchange("GET", ground.own, b"", {**signed, **token})


def with_another_body(ground: Ground) -> Reply:
    headers = {"x-amz-content-sha256": hashlib.sha256(b"other").hexdigest()}
    return ground.wire.by_session("PUT", ground.point, ground.own, b"body", headers)


def a_session_at_another_host(ground: Ground) -> Reply:
    """The question that AWS's documents leave open: a session of an access point at the bucket."""
    session = ground.session()
    return ground.wire.by_session("GET", EXPRESS.content, ground.foreign, session=session)


def a_write_by_a_reading_session(ground: Ground) -> Reply:
    found = ground.wire.session(ground.point, "ReadOnly")
    assert isinstance(found, Keys)
    return ground.wire.by_session("PUT", ground.point, ground.own, b"1", session=found)


def a_session_on_the_bucket(ground: Ground) -> Reply:
    return ground.wire.by_iam("GET", EXPRESS.content, "/?session=")


def a_writing_session_for_who_reads(ground: Ground) -> Reply:
    headers = {"x-amz-create-session-mode": "ReadWrite"}
    return ground.reading.by_iam("GET", ground.only_reads, "/?session=", b"", headers)


def a_session_of_a_role_without_it(ground: Ground) -> Reply:
    from tests.policy.iam import parse

    directory = ground.installation.aws.directory
    session = directory.sessions[ground.wire.keys.access]
    deny = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}'
    first, second = session.principal.policies
    principal = replace(session.principal, policies=((first[0], parse(deny)), second))
    directory.sessions[ground.wire.keys.access] = replace(session, principal=principal)
    return ground.wire.by_iam("GET", ground.point, "/?session=")


def a_session_where_the_access_point_forbids(ground: Ground) -> Reply:
    control = ground.installation.aws.control
    control.points[ground.point] = replace(control.points[ground.point], policy=None)
    return ground.wire.by_iam("GET", ground.point, "/?session=")


def outside_of_the_prefixes(ground: Ground) -> Reply:
    return ground.wire.by_session("GET", ground.point, ground.foreign)


def outside_of_the_operations(ground: Ground) -> Reply:
    at = f"/?prefix=apps%2F{ground.scope.app_id}%2F&uploads="
    return ground.wire.by_session("GET", ground.point, at)


def a_neighbour_in_a_bulk_delete(ground: Ground) -> Reply:
    body, headers = delete_body([ground.foreign.removeprefix("/")])
    reply = ground.wire.by_session("POST", ground.point, "/?delete=", body, headers)
    found = re.search(rb"<Error>.*<Code>AccessDenied</Code>", reply.body)
    return replace(reply, status=403, body=found[0]) if found else reply


def a_copy_into_the_bucket(ground: Ground) -> Reply:
    headers = {"x-amz-copy-source": f"{ground.point}{ground.own}"}
    return ground.wire.by_iam("PUT", EXPRESS.content, f"{ground.own}2", b"", headers)


def a_copy_from_the_bucket(ground: Ground) -> Reply:
    headers = {"x-amz-copy-source": f"{EXPRESS.content}{ground.foreign}"}
    return ground.wire.by_iam("PUT", ground.point, f"{ground.own}2", b"", headers)


def a_copy_from_a_standard_bucket(ground: Ground) -> Reply:
    headers = {"x-amz-copy-source": f"{STANDARD.log}{ground.foreign}"}
    return ground.wire.by_iam("PUT", ground.point, f"{ground.own}2", b"", headers)


def another_in_a_standard_bucket(ground: Ground) -> Reply:
    return ground.wire.standard("GET", f"/{STANDARD.log}{ground.foreign}", b"", {})


def dots_to_a_neighbour(ground: Ground) -> Reply:
    at = f"/apps/{ground.scope.app_id}/../{ground.scope.app_id}0/x"
    return ground.wire.by_session("GET", ground.point, at)


def half_a_prefix(ground: Ground) -> Reply:
    at = f"/?list-type=2&prefix=apps%2F{ground.scope.app_id}%2Fx"
    return ground.wire.by_session("GET", ground.point, at)


def an_inactive_bucket(ground: Ground) -> Reply:
    ground.installation.aws.zonal.inactive.add(EXPRESS.content)
    return ground.wire.by_session("GET", ground.point, ground.own)


CHECKS: dict[str, list[tuple[Attack, int, str]]] = {
    "signature": [(with_a_bad_signature, 403, "SignatureDoesNotMatch")],
    "signed headers": [(with_a_header_unsigned, 403, "AccessDenied")],
    "body digest": [(with_another_body, 400, "XAmzContentSHA256Mismatch")],
    "session's host": [(a_session_at_another_host, 403, "AccessDenied")],
    "session's mode": [(a_write_by_a_reading_session, 403, "AccessDenied")],
    "session policy": [
        (a_session_on_the_bucket, 403, "AccessDenied"),
        (another_in_a_standard_bucket, 403, "AccessDenied"),
    ],
    "role policy": [(a_session_of_a_role_without_it, 403, "AccessDenied")],
    "access point policy": [(a_session_where_the_access_point_forbids, 403, "AccessDenied")],
    "scope's prefixes": [(outside_of_the_prefixes, 403, "AccessDenied")],
    "scope's operations": [(outside_of_the_operations, 403, "AccessDenied")],
    "bulk delete's keys": [(a_neighbour_in_a_bulk_delete, 403, "AccessDenied")],
    "copy's destination": [(a_copy_into_the_bucket, 403, "AccessDenied")],
    "copy's source": [
        (a_copy_from_the_bucket, 403, "AccessDenied"),
        (a_copy_from_a_standard_bucket, 403, "AccessDenied"),
    ],
    "whole prefixes": [(half_a_prefix, 400, "InvalidArgument")],
    "inactive": [(an_inactive_bucket, 503, "ServiceUnavailable")],
}
CASES = {case[0].__name__: (check, case) for check, cases in CHECKS.items() for case in cases}


@pytest.mark.parametrize("name", CASES)
def test_a_check_is_what_refuses(ground: Ground, aws: LocalAws, name: str) -> None:
    check, (tried, status, code) = CASES[name]
    reply = tried(ground)
    assert (reply.status, reply.code) == (status, code)
    with aws.without(check):
        through = tried(ground)
    assert 200 <= through.status < 300, through.body


def test_dot_segments_are_refused_before_the_engine_reads_them(
    ground: Ground, aws: LocalAws
) -> None:
    reply = dots_to_a_neighbour(ground)
    assert (reply.status, reply.code) == (400, "InvalidURI")
    with aws.without("dot segments"):
        # The engine has a check of its own: it is asked for exactly this path, nothing normalised.
        assert dots_to_a_neighbour(ground).code != "InvalidURI"


def test_every_check_has_a_mutation(ground: Ground, aws: LocalAws) -> None:
    """Asks for each check at least once, and compares the names."""
    for cases in CHECKS.values():
        for tried, _, _ in cases:
            tried(ground)
    tested_elsewhere = {"session's end", "dot segments"}
    assert aws.asked == {*CHECKS, *tested_elsewhere}


def test_the_matrix_sees_a_session_that_opens_the_bucket(ground: Ground, aws: LocalAws) -> None:
    """What it would mean if AWS let an access point's session in at the bucket."""
    installation, scope = ground.installation, ground.scope
    credential = installation.credential(scope)
    doors, _ = next(installation.doors(credential))
    near = [each for each in neighbours_of(scope) if each.kind == "app, longer"]
    wanted = probes(scope, near, installation.settings.id_case, held=())
    asked = [p for p in wanted if is_asked_for(p) and p.bucket is BucketRole.CONTENT]
    tenant = installation.tenant(credential, doors)
    tenant.wire._sessions[EXPRESS.content] = ground.session()
    attack(tenant, installation.owner, asked, ()).check()
    with aws.without("session's host"):
        report = attack(tenant, installation.owner, asked, ())
    assert any(violation.what == "LEAK" for violation in report.violations)


UNKNOWN = {
    "start-after": ("GET", "/?list-type=2&prefix=apps%2F&start-after=x", {}),
    "first version": ("GET", "/?prefix=apps%2F", {}),
    "tagging": ("GET", "/apps/x?tagging=", {}),
    "acl": ("PUT", "/apps/x", {"x-amz-acl": "public-read"}),
    "rename": ("PUT", "/apps/x?renameObject=", {}),
    "policy": ("GET", "/?policy=", {}),
    "attributes": ("GET", "/apps/x?attributes=", {}),
    "bucket": ("DELETE", "/", {}),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_known_is_refused(ground: Ground, what: str) -> None:
    method, target, headers = UNKNOWN[what]
    reply = ground.wire.by_session(method, ground.point, target, b"", headers)
    assert (reply.status, reply.code) == (501, "NotImplemented")


def test_another_host_is_refused(ground: Ground, aws: LocalAws) -> None:
    for host in ("example.com", "x.s3express-use1-az4.us-west-2.amazonaws.com", ""):
        reply = Wire(aws.url, None).exchange("GET", "/", b"", {"Host": host})
        assert reply.status == 400


def test_a_session_needs_its_own_header(ground: Ground) -> None:
    session = ground.session()
    iam = ExpressWire(ground.installation.aws.url, session)
    assert iam.by_iam("GET", ground.point, ground.own).denied


def test_an_old_request_is_refused(ground: Ground, aws: LocalAws) -> None:
    aws.skew = timedelta(minutes=16)
    try:
        reply = ground.wire.by_iam("GET", ground.point, "/?session=")
    finally:
        aws.skew = timedelta(0)
    assert reply.code == "RequestTimeTooSkewed"


def test_who_says_nothing_for_long_is_hung_up_on(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its thread ends: one that reads on for ever takes the time of all the others."""
    monkeypatch.setattr(http_front._Connection, "timeout", 0.2)
    before = threading.active_count()
    address = urlsplit(aws.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as idle:
        idle.sendall(b"GET http://nowhere.example/ HTTP/1.1\r\nHost: nowhere.example\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 ")
        assert idle.recv(4096) == b""
    until = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before
