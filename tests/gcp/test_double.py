"""Each check of the double: on, it refuses; off, the attack that it is for goes through.

What the double does not refuse, no test of the fence can see. So every check is switched off here,
one at a time, and the same attempt must be found to succeed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from ringfence.scope import AccessMode, Scope, grants
from ringfence.testing.isolation import Operation, Report, neighbours_of, probes
from tests.gcp.double.backend import Backend
from tests.gcp.double.checks import Check
from tests.gcp.double.tokens import ACCESS_TOKEN, AUDIENCE, EXCHANGE, GRANT, PLATFORM
from tests.gcp.installation import EMAIL, Installation, installed, key
from tests.gcp.raw import JsonTenant, XmlTenant, bearer, resource, target, token_of, uploading
from tests.gcp.test_matrix import besieged
from tests.isolation.wire import Reply, Wire

Attempt = Callable[["Ground"], Reply]


@dataclass(frozen=True, slots=True)
class Ground:
    """A fenced token of ``app1``, and an object of ``app10`` beside it."""

    made: Installation
    wire: Wire
    token: str
    content: str

    def send(
        self, method: str, at: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Reply:
        return self.wire.send(method, at, body, {**bearer(self.token), **(headers or {})})

    def as_owner(self, method: str, at: str, body: bytes = b"") -> Reply:
        return self.wire.send(method, at, body, bearer(self.made.own_token()))

    def own(self, name: str = "own") -> str:
        return f"apps/app1/{name}"


FOREIGN = "apps/app10/secret"
SCOPE = Scope("app1", "user", "run1")


@contextmanager
def ground(backend: Backend, *off: Check) -> Iterator[Ground]:
    with installed(backend, off=off) as made:
        provider = made.provider()
        (credential,) = provider.issue(grants(SCOPE), session="double")
        provider.close()
        wire = Wire(made.front.url, None)
        here = Ground(made, wire, token_of(credential), made.buckets.content)
        assert here.as_owner("PUT", target(here.content, FOREIGN), b"secret").status == 200
        assert here.send("PUT", target(here.content, here.own()), b"own").status == 200
        yield here


@pytest.fixture(scope="module")
def checked(backend: Backend) -> Iterator[Ground]:
    """The ground with every check on."""
    with ground(backend) as made:
        yield made


# Attempts on a request -----------------------------------------------------------------------


def with_no_token(g: Ground) -> Reply:
    return g.wire.send("GET", target(g.content, FOREIGN), b"", bearer("made-up"))


def after_its_end(g: Ground) -> Reply:
    clock = g.made.tokens.clock
    g.made.tokens.clock = lambda: datetime.now(UTC) + timedelta(hours=2)
    try:
        return g.send("GET", target(g.content, g.own()))
    finally:
        g.made.tokens.clock = clock


def in_another_bucket(g: Ground) -> Reply:
    """The rules of one bucket ask for prefixes that another has too; here it is by the condition
    of a listing, which names no bucket."""
    at = target(g.made.buckets.meta, **{"list-type": "2", "prefix": "apps/app1/"})
    return g.send("GET", at)


def with_a_lesser_role(g: Ground) -> Reply:
    log = target(g.made.buckets.log, "runs/app1/run1/line")
    g.as_owner("PUT", log, b"written before")
    return g.send("GET", log)


def at_a_neighbours(g: Ground) -> Reply:
    return g.send("GET", target(g.content, FOREIGN))


def by_a_listing(g: Ground) -> Reply:
    return g.send("GET", target(g.content, **{"list-type": "2", "prefix": "apps/app10/"}))


def over_a_line(g: Ground) -> Reply:
    log = target(g.made.buckets.log, "runs/app1/run1/replaced")
    assert g.send("PUT", log, b"a line").status == 200
    return g.send("PUT", log, b"another")


def by_a_copy(g: Ground) -> Reply:
    source = {"x-goog-copy-source": f"{g.content}/{FOREIGN}"}
    return g.send("PUT", target(g.content, g.own("stolen")), b"", source)


def by_a_composition(g: Ground) -> Reply:
    body = json.dumps({"sourceObjects": [{"name": FOREIGN}]}).encode()
    at = f"/storage/v1{resource((g.content, g.own('composed')))}/compose"
    return g.send("POST", at, body, {"Content-Type": "application/json"})


def by_a_batch(g: Ground) -> Reply:
    part = f"DELETE /storage/v1{resource((g.content, FOREIGN))} HTTP/1.1"
    body = f"--x\r\nContent-Type: application/http\r\n\r\n{part}\r\n\r\n\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/mixed; boundary=x"}
    g.send("POST", "/batch/storage/v1", body.encode(), kind)
    gone = g.as_owner("GET", target(g.content, FOREIGN)).status == 404
    return Reply(204 if gone else 403, {}, b"")


def by_anothers_upload(g: Ground) -> Reply:
    """The id of an upload that was begun at another's key, used at an own one."""
    begun = g.as_owner("POST", target(g.content, "apps/app10/upload", uploads=""))
    number = begun.body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    at = target(g.content, g.own("upload"), partNumber="1", uploadId=number)
    return g.send("PUT", at, b"mixed in")


def by_two_names(g: Ground) -> Reply:
    """An own name where the query has it, a foreign one in the metadata."""
    metadata = json.dumps({"name": FOREIGN})
    parts = f"--x\r\nContent-Type: application/json\r\n\r\n{metadata}\r\n"
    parts += "--x\r\nContent-Type: text/plain\r\n\r\nhello\r\n--x--"
    at = uploading((g.content, g.own("named"))).replace("media", "multipart")
    kind = {"Content-Type": "multipart/related; boundary=x"}
    return g.send("POST", at, parts.encode(), kind)


def over_a_newer_one(g: Ground) -> Reply:
    at = target(g.content, g.own())
    return g.send("PUT", at, b"late", {"x-goog-if-generation-match": "1"})


def up_by_dots(g: Ground) -> Reply:
    return g.send("PUT", target(g.content, "apps/app1/../app10/x"), b"dots")


def with_an_acl(g: Ground) -> Reply:
    return g.send("PUT", target(g.content, g.own("public")), b"x", {"x-goog-acl": "public-read"})


def by_a_forged_url(g: Ground) -> Reply:
    now = datetime.now(UTC)
    query = {
        "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
        "X-Goog-Credential": f"{EMAIL}/{now:%Y%m%d}/auto/storage/goog4_request",
        "X-Goog-Date": f"{now:%Y%m%dT%H%M%SZ}",
        "X-Goog-Expires": "600",
        "X-Goog-SignedHeaders": "host",
        "X-Goog-Signature": "00" * 256,
    }
    return g.wire.send("GET", f"{target(g.content, FOREIGN)}?{urlencode(query)}")


def into_a_neighbours_folder(g: Ground) -> Reply:
    g.made.world.hierarchical.add(g.content)
    try:
        body = json.dumps({"name": "apps/app10/planted/"}).encode()
        return g.send("POST", f"/storage/v1/b/{g.content}/folders?recursive=true", body)
    finally:
        g.made.world.hierarchical.clear()


ON_REQUESTS: dict[Check, tuple[Attempt, int]] = {
    Check.KNOWN_TOKEN: (with_no_token, 401),
    Check.EXPIRY: (after_its_end, 401),
    Check.BUCKET: (in_another_bucket, 403),
    Check.PERMISSION: (with_a_lesser_role, 403),
    Check.CONDITION: (at_a_neighbours, 403),
    Check.LIST_PREFIX: (by_a_listing, 403),
    Check.REPLACING: (over_a_line, 403),
    Check.COPY_SOURCE: (by_a_copy, 403),
    Check.COMPOSE_SOURCE: (by_a_composition, 403),
    Check.BATCH_PARTS: (by_a_batch, 403),
    Check.UPLOAD_PLACE: (by_anothers_upload, 404),
    Check.UPLOAD_NAME: (by_two_names, 400),
    Check.PRECONDITION: (over_a_newer_one, 412),
    Check.DOT_SEGMENTS: (up_by_dots, 400),
    Check.ACL_HEADERS: (with_an_acl, 400),
    Check.SIGNED_URL: (by_a_forged_url, 403),
    Check.FOLDERS: (into_a_neighbours_folder, 403),
}


@pytest.mark.parametrize("check", ON_REQUESTS)
def test_a_request_is_refused_by_its_check(backend: Backend, checked: Ground, check: Check) -> None:
    attempt, status = ON_REQUESTS[check]
    assert attempt(checked).status == status
    with ground(backend, check) as without:
        assert 200 <= attempt(without).status < 300, "switched off, it must go through"


# Attempts on the token endpoints -------------------------------------------------------------


def assertion(signer: rsa.RSAPrivateKey, scope: str = PLATFORM) -> bytes:
    now = datetime.now(UTC)
    claims = {"iss": EMAIL, "aud": AUDIENCE, "iat": now, "exp": now + timedelta(hours=1)}
    signed = jwt.encode({**claims, "scope": scope}, signer, algorithm="RS256")
    return urlencode({"grant_type": GRANT, "assertion": signed}).encode()


def exchange(made: Installation, options: str, **fields: str) -> Reply:
    form = {
        "grant_type": EXCHANGE,
        "subject_token": fields.pop("subject_token", None) or made.own_token(),
        "subject_token_type": ACCESS_TOKEN,
        "requested_token_type": ACCESS_TOKEN,
        "options": options,
        **fields,
    }
    return Wire(made.front.url, None).send("POST", "/v1/token", urlencode(form).encode())


def rule(expression: str = "resource.name.startsWith('x')", role: str = "objectViewer") -> Any:
    return {
        "availablePermissions": [f"inRole:roles/storage.{role}"],
        "availableResource": "//storage.googleapis.com/projects/_/buckets/acme",
        "availabilityCondition": {"expression": expression},
    }


def options(*rules: Any) -> str:
    return quote(json.dumps({"accessBoundary": {"accessBoundaryRules": list(rules or [rule()])}}))


def forged_grant(made: Installation) -> Reply:
    forger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Wire(made.front.url, None).send("POST", "/token", assertion(forger))


def grant_without_a_scope(made: Installation) -> Reply:
    return Wire(made.front.url, None).send("POST", "/token", assertion(key(), ""))


def downscoped_twice(made: Installation) -> Reply:
    first = json.loads(exchange(made, options()).body)["access_token"]
    return exchange(made, options(rule("true")), subject_token=first)


ON_TOKENS: dict[Check, Callable[[Installation], Reply]] = {
    Check.SIGNATURE_OF_GRANT: forged_grant,
    Check.SCOPED_SOURCE: grant_without_a_scope,
    Check.TOKEN_TYPES: lambda made: exchange(made, options(), requested_token_type="saml2"),
    Check.ONE_BOUNDARY: downscoped_twice,
    Check.RULES: lambda made: exchange(made, options(*[rule()] * 11)),
    Check.FUNCTIONS: lambda made: exchange(made, options(rule("resource.name.matches('x.*')"))),
    Check.QUOTED_OPTIONS: lambda made: exchange(
        made, json.dumps({"accessBoundary": {"accessBoundaryRules": [rule()]}})
    ),
    Check.KNOWN_ROLES: lambda made: exchange(made, options(rule(role="objectGod"))),
}


@pytest.mark.parametrize("check", ON_TOKENS)
def test_a_token_is_refused_by_its_check(backend: Backend, checked: Ground, check: Check) -> None:
    attempt = ON_TOKENS[check]
    assert attempt(checked.made).status == 400
    with installed(backend, off={check}) as without:
        assert attempt(without).status == 200


def test_every_check_has_its_attempt() -> None:
    assert set(ON_REQUESTS) | set(ON_TOKENS) == set(Check)


REFUSED = (
    "resource.name.matches('a')",
    "resource.name + 'x' == 'y'",
    "r'a' == resource.name",
    "resource.name.contains('a')",
    "resource.name.size() > 0",
    "resource.name in ['a']",
    "[1].exists(x, x == 1)",
    "true ? true : false",
    "resource.name.startsWith(",
    "",
)


@pytest.mark.parametrize("expression", REFUSED)
def test_what_google_cannot_read_is_refused(gcs: Installation, expression: str) -> None:
    reply = exchange(gcs, options(rule(expression)))
    assert (reply.status, json.loads(reply.body)["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "change",
    [
        {"availableResource": "//storage.googleapis.com/projects/_/buckets/*"},
        {"availableResource": "//storage.googleapis.com/projects/p"},
        {"availablePermissions": []},
        {"availablePermissions": ["storage.objects.get"]},
        {"availabilityCondition": {"expression": "true", "else": "true"}},
        {"more": 1},
    ],
)
def test_a_rule_of_another_shape_is_refused(gcs: Installation, change: dict[str, Any]) -> None:
    assert exchange(gcs, options({**rule(), **change})).status == 400


UNKNOWN = (
    ("POST", "/storage/v1/b"),
    ("PATCH", "/storage/v1/b/{bucket}"),
    ("PATCH", "/storage/v1/b/{bucket}/o/apps%2Fapp1%2Fown"),
    ("GET", "/storage/v1/b/{bucket}/iam"),
    ("GET", "/storage/v1/b/{bucket}/o/apps%2Fapp1%2Fown/acl"),
    ("POST", "/storage/v1/b/{bucket}/o/apps%2Fapp1%2Fown/moveTo/o/x"),
    ("GET", "/storage/v1/b/{bucket}/folders"),
    ("GET", "/storage/v1/b/{bucket}/o?versions=true"),
    ("GET", "/{bucket}?acl"),
    ("PUT", "/{bucket}"),
    ("DELETE", "/{bucket}"),
    ("GET", "/{bucket}/apps/app1/own?acl"),
    ("GET", "/{bucket}/apps/app1/own?generation=1"),
    ("POST", "/{bucket}/apps/app1/own"),
    ("PUT", "/{bucket}/apps/app1/own?partNumber=1"),
    ("GET", "/"),
    ("GET", "//{bucket}/apps/app10/secret"),
    ("GET", "/_internal/healthcheck"),
)


def test_a_request_that_is_not_known_is_not_done(checked: Ground) -> None:
    for method, at in UNKNOWN:
        reply = checked.send(method, at.format(bucket=checked.content))
        assert reply.status in {400, 403, 501}, (method, at, reply)


def test_what_a_check_is_for_is_seen_by_the_matrix_too(backend: Backend) -> None:
    """The matrix itself, against a double that lets something through."""
    scope = Scope("app1", "user", "run1", AccessMode.INVOKE_READ)
    longer = [each for each in neighbours_of(scope) if each.kind == "app, longer"]
    seen: dict[Check, set[Operation]] = {
        Check.CONDITION: {Operation.GET, Operation.LIST, Operation.COPY_FROM},
        Check.LIST_PREFIX: {Operation.LIST, Operation.LIST_LEVEL, Operation.LIST_AFTER},
        Check.PERMISSION: {Operation.PUT, Operation.DELETE, Operation.UPLOAD_START},
        Check.COPY_SOURCE: {Operation.COPY_FROM},
    }
    for check, operations in seen.items():
        with installed(backend, off={check}) as without:
            wanted = [p for p in probes(scope, longer, without.settings.id_case) if p.prefix]
            report = besieged(without, scope, wanted, XmlTenant)
        assert operations <= leaks(report), (check, report)
    with installed(backend, off={Check.BATCH_PARTS}) as without:
        wanted = [p for p in probes(scope, longer, without.settings.id_case) if p.prefix]
        assert Operation.DELETE_MANY in leaks(besieged(without, scope, wanted, JsonTenant))


def leaks(report: Report) -> set[Operation]:
    return {v.probe.operation for v in report.violations if v.what == "LEAK" and v.probe}
