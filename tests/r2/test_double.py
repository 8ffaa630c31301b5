"""The doubles check what R2 checks: each check refuses an attack that succeeds without it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from xml.sax.saxutils import escape

import jwt
import pytest

from ringfence.config import Settings
from ringfence.layout import BucketRole
from ringfence.scope import Area, Scope, grants
from ringfence.testing.isolation import Operation, Report, attack, probes
from tests.embedded.support import RunningEngine
from tests.isolation.installation import keys_of
from tests.isolation.s3 import copy_source, delete_body, target, texts
from tests.isolation.wire import Keys, Reply, Wire
from tests.r2.checks import NONE_OFF, Check
from tests.r2.front import utc_now
from tests.r2.installation import (
    ACCOUNT,
    API_TOKEN,
    PARENT_KEY,
    PARENT_SECRET,
    R2Installation,
    installed,
)
from tests.r2.test_matrix import longer

pytestmark = pytest.mark.engine

HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Scene:
    """A tenant, and a neighbour whose objects hold ``secret``."""

    at: R2Installation
    scope: Scope
    secret: bytes

    @property
    def content(self) -> str:
        return self.at.buckets.content

    @property
    def own(self) -> str:
        return target(self.content, f"apps/{self.scope.app_id}/object")

    @property
    def foreign(self) -> str:
        return target(self.content, f"apps/{self.scope.app_id}0/object")

    @property
    def keys(self) -> Keys:
        return keys_of(self.at.credential(self.scope, Area.APP))

    @property
    def tenant(self) -> Wire:
        return self.at.wire(self.keys)

    def forged(self, secret: str = PARENT_SECRET, **claims: Any) -> Wire:
        """A tenant with a token of its own making, beyond what it was given."""
        access = claims.pop("access", PARENT_KEY)
        now = int(utc_now().timestamp())
        every = {
            "bucket": self.content,
            "actions": ["GetObject"],
            "paths": {"prefixPaths": ["apps/"], "objectPaths": []},
            "sub": ACCOUNT,
            "iss": PARENT_KEY,
            "aud": self.at.front.host,
            "iat": now,
            "exp": now + 900,
            **claims,
        }
        token = jwt.encode(every, secret, algorithm="HS256")
        text = base64.b64encode(f"jwt/{token}".encode()).decode()
        return self.at.wire(Keys(access, hashlib.sha256(token.encode()).hexdigest(), text))

    def api(self, token: str = API_TOKEN, account: str = ACCOUNT, **body: Any) -> Reply:
        asked = {
            "bucket": self.content,
            "parentAccessKeyId": PARENT_KEY,
            "permission": "object-read-only",
            "ttlSeconds": 900,
            "prefixes": ["apps/x/"],
            **body,
        }
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        wire = Wire(self.at.api.url, None)
        at = f"/client/v4/accounts/{account}/r2/temp-access-credentials"
        return wire.send("POST", at, json.dumps(asked).encode(), headers)


@contextmanager
def scene(engine: RunningEngine, scope: Scope, off: frozenset[Check]) -> Iterator[Scene]:
    with installed(engine, "local", off=off) as at:
        made = Scene(at, scope, f"secret of {scope.app_id}0".encode())
        meta, log = (
            target(at.bucket(BucketRole.META), f"apps/{scope.app_id}/object"),
            target(at.buckets.log, f"runs/{scope.app_id}/{scope.run_id}/object"),
        )
        for place, body in (
            (made.own, b"own"),
            (made.foreign, made.secret),
            (meta, made.secret),
            (log, made.secret),
        ):
            assert at.engine.send("PUT", place, body).status == 200
        yield made
        for place in (made.own, made.foreign, meta, log):
            at.engine.send("DELETE", place)


# --- the attacks: each is True where it got through ------------------------------------------


def leaks(scene: Scene, reply: Reply) -> bool:
    return scene.secret in reply.body


def wrong_secret(scene: Scene) -> bool:
    keys = scene.keys
    reply = scene.at.wire(Keys(keys.access, "0" * 64, keys.token)).send("GET", scene.own)
    assert reply.status == 200 or reply.code == "SignatureDoesNotMatch"
    return reply.status == 200


def header_added_on_the_way(scene: Scene) -> bool:
    """As on a presigned URL, to which anybody may add headers."""
    tenant = scene.tenant
    at = f"{scene.own}-copy"
    signed = tenant.sign("PUT", at, b"", {"Host": tenant.host}, "s3")
    added = {**signed, **copy_source(scene.content, f"apps/{scene.scope.app_id}/object")}
    reply = tenant.exchange("PUT", at, b"", {**added, "Content-Length": "0"})
    scene.at.engine.send("DELETE", at)
    return b"CopyObjectResult" in reply.body


def old_signature(scene: Scene) -> bool:
    stamp = (utc_now() - HOUR).strftime("%Y%m%dT%H%M%SZ")
    return scene.tenant.send("GET", scene.own, headers={"X-Amz-Date": stamp}).status == 200


def other_body(scene: Scene) -> bool:
    digest = hashlib.sha256(b"meant").hexdigest()
    headers = {"X-Amz-Content-SHA256": digest}
    return scene.tenant.send("PUT", scene.own, b"evil", headers).status == 200


def old_url(scene: Scene) -> bool:
    grant = next(g for g in grants(scene.scope) if g.area is Area.APP)
    url = scene.at.provider.sign(grant, "object", "GET", timedelta(minutes=1))
    scene.at.front.now = lambda: utc_now() + HOUR
    try:
        at = url.removeprefix(scene.at.front.endpoint)
        return scene.at.wire(None).send("GET", at).status == 200
    finally:
        scene.at.front.now = utc_now


def unknown_parameter(scene: Scene) -> bool:
    return scene.tenant.send("GET", f"{scene.own}?versionId=null").status != 501


def dot_segments(scene: Scene) -> bool:
    seen = len(scene.at.front.seen)
    app = scene.scope.app_id
    scene.tenant.send("GET", f"/{scene.content}/apps/{app}/../{app}0/object")
    return len(scene.at.front.seen) > seen  # the engine behind has a check of its own


def forged_token(scene: Scene) -> bool:
    return leaks(scene, scene.forged(secret="f" * 64).send("GET", scene.foreign))


def other_issuer(scene: Scene) -> bool:
    other = "e" * 32
    return leaks(scene, scene.forged(iss=other, access=other).send("GET", scene.foreign))


def other_subject(scene: Scene) -> bool:
    return leaks(scene, scene.forged(sub="e" * 32).send("GET", scene.foreign))


def other_audience(scene: Scene) -> bool:
    wire = scene.forged(aud=f"{ACCOUNT}.eu.r2.cloudflarestorage.com")
    return leaks(scene, wire.send("GET", scene.foreign))


def token_that_is_over(scene: Scene) -> bool:
    over = int(utc_now().timestamp()) - 1
    return leaks(scene, scene.forged(exp=over).send("GET", scene.foreign))


def other_bucket(scene: Scene) -> bool:
    at = target(scene.at.buckets.meta, f"apps/{scene.scope.app_id}/object")
    return leaks(scene, scene.tenant.send("GET", at))


def other_operation(scene: Scene) -> bool:
    logs = scene.at.holding(scene.at.credential(scene.scope, Area.LOGS))
    at = target(scene.at.buckets.log, f"runs/{scene.scope.app_id}/{scene.scope.run_id}/object")
    return leaks(scene, logs.send("GET", at))


def other_path(scene: Scene) -> bool:
    return leaks(scene, scene.tenant.send("GET", scene.foreign))


def other_listing(scene: Scene) -> bool:
    at = target(scene.content, **{"list-type": "2", "prefix": f"apps/{scene.scope.app_id}0/"})
    return b"<Key>" in scene.tenant.send("GET", at).body


def other_source(scene: Scene) -> bool:
    source = copy_source(scene.content, f"apps/{scene.scope.app_id}0/object")
    scene.tenant.send("PUT", scene.own, headers=source)
    return leaks(scene, scene.tenant.send("GET", scene.own))


def other_deleted(scene: Scene) -> bool:
    own, foreign = (f"apps/{scene.scope.app_id}{n}/object" for n in ("", "0"))
    body, headers = delete_body([own, foreign])
    reply = scene.tenant.send("POST", target(scene.content, delete=""), body, headers)
    assert reply.status == 200
    assert f"<Deleted><Key>{own}</Key>".encode() in reply.body, "the own one goes all the same"
    return scene.at.engine.send("GET", scene.foreign).status == 404


def parts_of_other_sizes(scene: Scene) -> bool:
    begun = scene.tenant.send("POST", f"{scene.own}?uploads=")
    (upload,) = texts(begun, "UploadId")
    rows = ""
    for number, size in enumerate((6 << 20, 5 << 20, 1), 1):
        at = f"{scene.own}?partNumber={number}&uploadId={upload}"
        tag = scene.tenant.send("PUT", at, b"x" * size).headers["ETag"]
        rows += f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    reply = scene.tenant.send("POST", f"{scene.own}?uploadId={upload}", body)
    if reply.status != 200:
        assert reply.code == "InvalidPart"
        scene.tenant.send("DELETE", f"{scene.own}?uploadId={upload}")
    return reply.status == 200


def issues(reply: Reply) -> bool:
    return bool(json.loads(reply.body)["success"])


ATTACKS: Final[dict[Check, Callable[[Scene], bool]]] = {
    Check.SIGNATURE: wrong_secret,
    Check.SIGNED_HEADERS: header_added_on_the_way,
    Check.DATE: old_signature,
    Check.PAYLOAD: other_body,
    Check.URL_LIFE: old_url,
    Check.UNKNOWN: unknown_parameter,
    Check.DOTS: dot_segments,
    Check.TOKEN_SIGNATURE: forged_token,
    Check.ISSUER: other_issuer,
    Check.SUBJECT: other_subject,
    Check.AUDIENCE: other_audience,
    Check.EXPIRY: token_that_is_over,
    Check.BUCKET: other_bucket,
    Check.OPERATION: other_operation,
    Check.PATH: other_path,
    Check.LIST_PREFIX: other_listing,
    Check.COPY_SOURCE: other_source,
    Check.DELETE_KEYS: other_deleted,
    Check.PART_SIZES: parts_of_other_sizes,
    Check.BEARER: lambda s: issues(s.api(token="nobodys")),
    Check.PERMISSION: lambda s: issues(s.api(token="reader")),
    Check.ACCOUNT: lambda s: issues(s.api(account="f" * 32)),
    Check.PARENT: lambda s: issues(s.api(parentAccessKeyId="e" * 32)),
    Check.PARENT_RIGHTS: lambda s: issues(s.api(permission="admin-read-write")),
    Check.TTL: lambda s: issues(s.api(ttlSeconds=604_801)),
    Check.PREFIXES: lambda s: issues(s.api(prefixes=["apps/x/", ""])),
}
# Without the bearer's check nobody has a permission, so that check must be off with it.
WITH: Final = {Check.BEARER: {Check.PERMISSION}}


def test_every_check_is_tried() -> None:
    assert set(ATTACKS) == set(Check)


def test_with_every_check_no_attack_gets_through(r2_engine: RunningEngine, scope: Scope) -> None:
    with scene(r2_engine, scope, NONE_OFF) as made:
        made.at.api.tokens["reader"] = frozenset({"Workers R2 Storage: Read"})
        found = [check for check, attack_on in ATTACKS.items() if attack_on(made)]
        assert found == []
        assert made.tenant.send("PUT", made.own, b"own").status == 200
        assert made.tenant.send("GET", made.own).body == b"own"
        assert issues(made.api())


@pytest.mark.parametrize("check", Check)
def test_without_a_check_its_attack_gets_through(
    r2_engine: RunningEngine, scope: Scope, check: Check
) -> None:
    off = frozenset({check, *WITH.get(check, ())})
    with scene(r2_engine, scope, off) as made:
        made.at.api.tokens["reader"] = frozenset({"Workers R2 Storage: Read"})
        assert ATTACKS[check](made)


# --- what the matrix sees --------------------------------------------------------------------


SEEN: Final[dict[Check, set[Operation]]] = {
    Check.BUCKET: {Operation.GET, Operation.PUT},
    Check.OPERATION: {Operation.GET, Operation.LIST, Operation.DELETE, Operation.COPY_FROM},
    Check.PATH: {Operation.GET, Operation.PUT, Operation.UPLOAD_START, Operation.UPLOAD_ABORT},
    Check.LIST_PREFIX: {Operation.LIST, Operation.LIST_V1_LEVEL, Operation.LIST_AFTER},
    Check.COPY_SOURCE: {Operation.COPY_FROM, Operation.PART_COPY_FROM},
    Check.DELETE_KEYS: {Operation.DELETE_MANY},
}
"""What the double would let through without a check, and operations by which that must show."""


def look_around(at: R2Installation, scope: Scope) -> set[Operation]:
    """The operations by which a leak shows, to any of a scope's credentials."""
    found: set[Operation] = set()
    for credential in at.credentials(scope):
        every = probes(scope, longer(scope), at.case, held=credential.grants)
        held = {grant.area for grant in credential.grants}
        wanted = [p for p in every if p.prefix and (p.area is None or p.area in held)]
        report: Report = attack(at.tenant(credential), at.owner, wanted, credential.grants)
        found |= {v.probe.operation for v in report.violations if v.what == "LEAK" and v.probe}
    return found


@pytest.mark.parametrize("check", SEEN)
def test_the_matrix_sees_it(r2_engine: RunningEngine, scope: Scope, check: Check) -> None:
    with installed(r2_engine, "local", off=frozenset({check})) as at:
        assert SEEN[check] <= look_around(at, scope)


# --- what it refuses beyond ------------------------------------------------------------------


UNKNOWN: Final = {
    "an ACL": ("GET", "?acl="),
    "tags": ("GET", "?tagging="),
    "a version": ("GET", "?versionId=1"),
    "a rename": ("PUT", "?renameObject="),
    "a restore": ("POST", "?restore="),
    "a selection": ("POST", "?select=&select-type=2"),
    "its attributes": ("GET", "?attributes="),
    "a lock": ("PUT", "?legal-hold="),
    "another method": ("PATCH", ""),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_r2_has_not_is_refused(local: R2Installation, scope: Scope, what: str) -> None:
    method, query = UNKNOWN[what]
    tenant = local.holding(local.credential(scope, Area.APP))
    at = target(local.buckets.content, f"apps/{scope.app_id}/object")
    reply = tenant.send(method, f"{at}{query}")
    assert (reply.status, reply.code) == (501, "NotImplemented")


HEADERS: Final = {
    "x-amz-acl": "public-read",
    "x-amz-tagging": "a=b",
    "x-amz-object-lock-mode": "GOVERNANCE",
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-expected-bucket-owner": "111122223333",
    "x-amz-rename-source": "/a/b",
    "x-amz-website-redirect-location": "https://evil.example",
    "x-anything": "1",
}


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_r2_has_not_are_refused(
    local: R2Installation, scope: Scope, header: str
) -> None:
    tenant = local.holding(local.credential(scope, Area.APP))
    at = target(local.buckets.content, f"apps/{scope.app_id}/object")
    reply = tenant.send("PUT", at, b"x", {header: HEADERS[header]})
    assert (reply.status, reply.code) == (501, "NotImplemented")


BUCKET_CALLS: Final = {
    "all buckets": ("GET", "/"),
    "make it": ("PUT", "/{}"),
    "remove it": ("DELETE", "/{}"),
    "its rules": ("GET", "/{}?cors="),
    "its policy": ("GET", "/{}?policy="),
    "its uploads": ("GET", "/{}?uploads="),
    "its place": ("GET", "/{}?location="),
    "whether it is": ("HEAD", "/{}"),
}


@pytest.mark.parametrize("what", BUCKET_CALLS)
def test_a_session_has_no_calls_on_the_bucket(
    local: R2Installation, scope: Scope, what: str
) -> None:
    method, at = BUCKET_CALLS[what]
    for credential in local.credentials(scope):
        reply = local.holding(credential).send(method, at.format(local.buckets.content))
        assert reply.status in {403, 501}, reply


@pytest.mark.parametrize(
    "claims",
    [
        {"actions": None, "scope": None},
        {"actions": []},
        {"actions": ["GetObject", "Everything"]},
        {"actions": "GetObject"},
        {"scope": "object-everything"},
        {"paths": ["apps/"]},
        {"paths": {"prefixPaths": "apps/"}},
        {"bucket": None},
        {"more": 1},
        {"exp": None},
        {"exp": "tomorrow"},
    ],
)
def test_a_token_that_says_odd_things_opens_nothing(
    local: R2Installation, scope: Scope, claims: dict[str, Any]
) -> None:
    made = Scene(local, scope, b"")
    wire = made.forged(**claims)
    assert wire.send("GET", made.own).status in {401, 403}


def test_who_is_not_signed_at_all_is_nobody(local: R2Installation, scope: Scope) -> None:
    made = Scene(local, scope, b"")
    assert local.wire(None).send("GET", made.own).status == 401
    assert local.wire(Keys("e" * 32, PARENT_SECRET)).send("GET", made.own).status == 401
    for token in ("", "x", base64.b64encode(b"jwt/").decode(), base64.b64encode(b"a.b.c").decode()):
        wire = local.wire(Keys(PARENT_KEY, PARENT_SECRET, token or None))
        expected = 401 if token else 404
        assert wire.send("GET", made.own).status == expected


def test_none_is_no_algorithm(local: R2Installation, scope: Scope) -> None:
    made = Scene(local, scope, b"")

    def encoded(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims: dict[str, Any] = {"bucket": made.content}
    claims |= {"actions": ["GetObject"], "iss": PARENT_KEY, "sub": ACCOUNT}
    now = int(utc_now().timestamp())
    claims |= {"aud": local.front.host, "iat": now, "exp": now + 900}
    token = f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(claims)}."
    text = base64.b64encode(f"jwt/{token}".encode()).decode()
    keys = Keys(PARENT_KEY, hashlib.sha256(token.encode()).hexdigest(), text)
    assert local.wire(keys).send("GET", made.own).status == 401


def test_the_installation_itself_goes_through(local: R2Installation, tag: str) -> None:
    at = target(local.buckets.meta, f"execution/{tag}")
    assert local.master.send("PUT", at, b"x").status == 200
    assert local.master.send("GET", at).body == b"x"
    assert local.master.send("DELETE", at).status == 204
    assert isinstance(local.settings, Settings)
