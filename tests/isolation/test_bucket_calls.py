"""From inside a session: what belongs to the whole bucket, or to an object's administration.

Every subresource that S3 has, with every method, on the bucket, on an own object and on another's:
none is granted by any mode, so each is refused, or unknown to the engine. Two subresources in one
request, or a ``prefix`` beside one, is how an engine that maps requests to permissions is confused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from tests.isolation.scene import Attempt, Scene, failures, refused
from tests.isolation.wire import Reply

pytestmark = pytest.mark.engine

BUCKET = [
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "session",
    "tagging",
    "uploads",
    "versioning",
    "versions",
    "website",
]
OBJECT = [
    "acl",
    "attributes",
    "legal-hold",
    "renameObject",
    "restore",
    "retention",
    "tagging",
    "torrent",
    "versionId=null",
]
METHODS = ("GET", "PUT", "DELETE", "POST", "HEAD")

BODIES = {
    "acl": b"<AccessControlPolicy><Owner><ID>x</ID></Owner><AccessControlList/>"
    b"</AccessControlPolicy>",
    "cors": b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET"
    b"</AllowedMethod></CORSRule></CORSConfiguration>",
    "lifecycle": b"<LifecycleConfiguration><Rule><ID>x</ID><Status>Enabled</Status><Filter><Prefix>"
    b"apps/</Prefix></Filter><Expiration><Days>1</Days></Expiration></Rule>"
    b"</LifecycleConfiguration>",
    "policy": b'{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
    b'"Action":"s3:*","Resource":["arn:aws:s3:::*"]}]}',
    "tagging": b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    "versioning": b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "object-lock": b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
    b"</ObjectLockConfiguration>",
    "legal-hold": b"<LegalHold><Status>ON</Status></LegalHold>",
    "retention": b"<Retention><Mode>COMPLIANCE</Mode><RetainUntilDate>2099-01-01T00:00:00Z"
    b"</RetainUntilDate></Retention>",
}

NO_SUCH_CALL = {"MethodNotAllowed", "NotImplemented"}
"""The engine knows no such call for anybody: nothing to refuse."""
CONFUSED = {"InvalidRequest", "InvalidArgument", *NO_SUCH_CALL}
"""And for requests that name two subresources at once, that it wants no part of them."""


def body(subresource: str, method: str) -> bytes:
    return BODIES.get(subresource, b"<x/>") if method in {"PUT", "POST"} else b""


def refused_or(codes: set[str]) -> Callable[[Reply], bool]:
    def ok(reply: Reply) -> bool:
        without_body = not reply.body and reply.status in {400, 405, 501}
        return refused(reply) or reply.code in codes or without_body

    return ok


def on_the_bucket(scene: Scene) -> Iterator[Attempt]:
    for bucket in (scene.content, scene.installation.buckets.meta):
        for sub in BUCKET:
            for method in METHODS:
                at = f"/{bucket}?{sub}"
                yield (
                    f"{method} {at}",
                    partial(scene.attacker.send, method, at, body(sub, method)),
                )


def on_anothers_object(scene: Scene) -> Iterator[Attempt]:
    for sub in (*OBJECT, "uploads", "policy", "select&select-type=2"):
        for method in METHODS:
            at = f"{scene.foreign}?{sub}"
            yield (
                f"{method} another's?{sub}",
                partial(scene.attacker.send, method, at, body(sub, method)),
            )


def on_an_own_object(scene: Scene) -> Iterator[Attempt]:
    """No mode means an object's ACL, tags, versions, locks: not of own objects either."""
    administration = dict.fromkeys(("acl", "legal-hold", "retention", "tagging"), ("GET", "PUT"))
    for sub, methods in {
        **administration,
        "attributes": ("GET",),
        "versionId=null": ("GET", "HEAD", "DELETE"),
    }.items():
        for method in methods:
            at = f"{scene.own}?{sub}"
            yield (
                f"{method} own?{sub}",
                partial(scene.attacker.send, method, at, body(sub, method)),
            )


def two_at_once(scene: Scene) -> Iterator[Attempt]:
    prefix = f"prefix={scene.own_prefix.replace('/', '%2F')}object"
    beside = (
        prefix,
        f"list-type=2&{prefix}",
        "uploadId=x&partNumber=1",
        "delete=",
        "versionId=null",
    )
    for sub in ("policy", "cors", "lifecycle", "versioning", "object-lock", "uploads", "versions"):
        for more in beside:
            for method in METHODS:
                at = f"/{scene.content}?{sub}&{more}"
                yield (
                    f"{method} ?{sub}&{more}",
                    partial(scene.attacker.send, method, at, body(sub, method)),
                )


def test_a_buckets_configuration_is_out_of_reach(scene: Scene) -> None:
    assert failures(scene, on_the_bucket(scene), refused_or(NO_SUCH_CALL)) == []


def test_anothers_object_is_out_of_reach_by_every_call(scene: Scene) -> None:
    assert failures(scene, on_anothers_object(scene), refused_or(NO_SUCH_CALL)) == []


def test_an_own_objects_administration_is_out_of_reach(scene: Scene) -> None:
    assert failures(scene, on_an_own_object(scene), refused_or(NO_SUCH_CALL)) == []


def test_two_subresources_at_once_are_no_way_in(scene: Scene) -> None:
    assert failures(scene, two_at_once(scene), refused_or(CONFUSED)) == []


def test_the_bucket_itself_stays(scene: Scene) -> None:
    wire = scene.attacker
    for bucket in ("evil-bucket", scene.content):
        assert refused(wire.send("PUT", f"/{bucket}"))
        assert refused(wire.send("DELETE", f"/{bucket}"))
        assert refused(wire.send("HEAD", f"/{bucket}"))
    assert refused(wire.send("PUT", f"/evil-bucket/{scene.own_prefix}object", b"x"))
    assert scene.harm() == []


def test_nothing_was_configured(scene: Scene) -> None:
    """After all of the above the buckets are still what `up` made them."""
    master = scene.installation.master
    for sub in ("cors", "lifecycle", "policy"):
        for bucket in (scene.content, scene.installation.buckets.meta):
            reply = master.send("GET", f"/{bucket}?{sub}")
            assert reply.status in {404, 403}, (bucket, sub, reply)
    reply = master.send("GET", f"/{scene.content}?versioning")
    assert b"Enabled" not in reply.body
