"""From inside a session: keys that stand elsewhere than in the path.

Prefixes of listings, sources of copies, keys of bulk deletes, ids of uploads and versions: each is
a place that an engine must check by itself. Answers vary; what counts is what comes back and what
is there afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote, unquote

import pytest

from ringfence.layout import BucketRole
from ringfence.testing.isolation import Place
from tests.isolation.s3 import complete_body, delete_body, target, texts
from tests.isolation.scene import (
    Attempt,
    Scene,
    anything_but_a_fault,
    failures,
    refused,
)
from tests.isolation.wire import Reply

pytestmark = pytest.mark.engine


def quoted(text: str) -> str:
    return quote(text, safe="~")


# --- listings -------------------------------------------------------------------------

GRANTED = ("prefix={own}", "prefix={own}&prefix={foreign}", "prefix={own}&prefix=")
"""The first of several prefixes is the one that is both checked and listed."""

POINTED = (
    "prefix={own}&start-after={above}",
    "prefix={own}&start-after={foreign}",
    "prefix={own}&continuation-token={foreign}",
    "prefix={own}&marker={foreign}",
    "prefix={own}&delimiter=p",
    "prefix={own}&delimiter=%2F&fetch-owner=true",
    "prefix={own}&max-keys=1000000",
)
TRAVERSING = (
    "prefix={own}..%2F{name}%2F",
    "prefix={own}..%2F{name}",
    "prefix={own}..%2F{name}%2F&delimiter=%2F",
    "prefix={own}..%2F",
    "prefix={own}..",
    "prefix={own}.%2F..%2F{name}%2F",
    "prefix={own}%2F",
    "prefix={own}%2F..%2F{name}%2F",
    "prefix={own}..%5C{name}%5C",
    "prefix={own}%252e%252e%2F{name}%2F",
    "prefix={own}%00",
)
REFUSED = (
    "",
    "prefix=",
    "prefix=%2F",
    "prefix={above}",
    "prefix={bare}",
    "prefix={bare}.",
    "prefix={bare}%2A",
    "prefix={bare}%5C",
    "prefix={bare}%252F",
    "prefix=%2F{own}",
    "prefix=.%2F{own}",
    "prefix={foreign}",
    "prefix={foreign}&prefix={own}",
    "prefix=&prefix={own}",
    "Prefix={own}",
    "prefix%00={own}",
    "prefix=%2A",
    "prefix={above}%2F",
    "start-after={own}",
    "delimiter=%2F",
    "prefix={above}&start-after={own}",
)


def listings(scene: Scene, queries: tuple[str, ...]) -> Iterator[Attempt]:
    own, foreign = scene.own_prefix, scene.foreign_prefix
    words = {
        "own": quoted(own),
        "foreign": quoted(foreign),
        "bare": quoted(own[:-1]),
        "above": quoted(own[: own.index("/") + 1]),
        "name": quoted(foreign.split("/")[1]),
    }
    for form in queries:
        for version in ("", "list-type=2&"):
            query = f"{version}{form.format(**words)}".rstrip("&")
            for path in (f"/{scene.content}", f"/{scene.content}/"):
                at = f"{path}?{query}" if query else path
                yield f"GET {at}", partial(scene.attacker.send, "GET", at)


def shows_no_other(scene: Scene, reply: Reply) -> bool:
    """Neither another's key nor anything above the own place is in a listing."""
    if reply.status != 200:
        return reply.status < 500
    keys = texts(reply, "Contents/Key") + texts(reply, "CommonPrefixes/Prefix")
    return all(key.startswith(scene.own_prefix) and ".." not in key for key in keys)


@pytest.mark.parametrize("queries", [GRANTED, POINTED, TRAVERSING], ids=["own", "ahead", "dots"])
def test_a_listing_stays_in_its_prefix(scene: Scene, queries: tuple[str, ...]) -> None:
    assert failures(scene, listings(scene, queries), lambda r: shows_no_other(scene, r)) == []


def test_a_listing_of_more_is_refused(scene: Scene) -> None:
    assert failures(scene, listings(scene, REFUSED), refused) == []


def test_the_listing_of_the_own_place_works(scene: Scene) -> None:
    for name, attempt in listings(scene, GRANTED):
        assert f"{scene.own_prefix}object".encode() in attempt().body, name


# --- sources of copies ----------------------------------------------------------------


def sources(scene: Scene) -> Iterator[str]:
    bucket, own, foreign = scene.content, scene.own_prefix, f"{scene.foreign_prefix}object"
    down = foreign.removeprefix("apps/")
    plain = (f"/{bucket}/{foreign}", f"{bucket}/{foreign}", f" /{bucket}/{foreign}")
    yield from plain
    yield from (quoted(each.strip()) for each in plain)
    yield from (f"/{bucket}/{foreign}?versionId={v}" for v in ("null", "", "../x", "%2e%2e%2fx"))
    yield from (
        f"/{bucket}/{own}{up}/{down}" for up in ("..", "%2e%2e", "..%2F", "%252e%252e", "/..")
    )
    yield f"/{bucket}/{own}..\\{down}"
    yield f"/{bucket}/{own}object?/../../{down}"
    yield f"/{bucket}/{own}object#/../../{down}"
    yield f"/{bucket}/{own}object?versionId=../../{down}"
    yield f"/{bucket}/{own}%00/../../{down}"
    yield f"//{bucket}/{foreign}"
    yield f"/{bucket}//{foreign}"
    yield f"/{bucket}/./{foreign}"
    yield f"/{bucket.upper()}/{foreign}"
    yield f"/{scene.installation.buckets.meta}/../{bucket}/{foreign}"
    yield f"/{scene.installation.buckets.meta}/{own}object"
    yield f"/buckets/{bucket}/{foreign}"
    yield f"arn:aws:s3:::{bucket}/{foreign}"
    yield f"arn:aws:s3:us-east-1:000000000000:accesspoint/x/object/{foreign}"
    yield f"{scene.attacker.endpoint}/{bucket}/{foreign}"


def copies(scene: Scene) -> Iterator[Attempt]:
    to = target(scene.content, f"{scene.own_prefix}copy")
    begun = scene.installation.owner.begin(Place(BucketRole.CONTENT, f"{scene.own_prefix}parts"))
    assert begun is not None
    part = target(scene.content, f"{scene.own_prefix}parts", partNumber="2", uploadId=begun.id)
    for source in sources(scene):
        for at, header in ((to, "copy"), (part, "copy"), (f"{to}?renameObject", "rename")):
            headers = {f"x-amz-{header}-source": source}
            yield (
                f"{header} {source} to {at[:60]}",
                partial(scene.attacker.send, "PUT", at, headers=headers),
            )
    whole = target(scene.content, f"{scene.own_prefix}parts", uploadId=begun.id)
    yield "complete it", lambda: scene.attacker.send("POST", whole, complete_body(begun))


def test_no_way_to_write_a_source_copies_anothers(scene: Scene) -> None:
    """Some of them name an own key that is not there; none may succeed but the last."""

    def nothing_came(reply: Reply) -> bool:
        return 400 <= reply.status < 500 or b"CompleteMultipartUploadResult" in reply.body

    assert failures(scene, copies(scene), nothing_came) == []


@pytest.mark.parametrize("operation", ["copy", "rename"])
def test_the_plain_source_is_refused_by_name(scene: Scene, operation: str) -> None:
    to = target(scene.content, f"{scene.own_prefix}copy")
    at = to if operation == "copy" else f"{to}?renameObject"
    named = scene.foreign if operation == "copy" else f"{scene.foreign_prefix}object"
    assert refused(scene.attacker.send("PUT", at, headers={f"x-amz-{operation}-source": named}))
    assert scene.harm() == []


# --- bulk deletes ---------------------------------------------------------------------


def bulk(scene: Scene) -> Iterator[Attempt]:
    own, foreign = f"{scene.own_prefix}object", f"{scene.foreign_prefix}object"
    down = foreign.removeprefix("apps/")
    for key in (
        foreign,
        f"/{foreign}",
        f"//{foreign}",
        foreign.replace("/", "//"),
        foreign.replace("/", "\\"),
        foreign.upper(),
        f"{scene.own_prefix}../{down}",
        f"{scene.own_prefix}..\\{down}",
        scene.foreign_prefix,
        scene.foreign_prefix[:-1],
        "apps/",
        "apps",
        "/",
        "",
    ):
        for path in (
            scene.content,
            f"{scene.content}/{own}",
            f"{scene.content}/{scene.own_prefix}",
        ):
            yield f"delete {key!r} at {path}", partial(deleted, scene, path, [key])
    as_xml = {"Content-Type": "application/xml"}
    version = f"<Object><Key>{foreign}</Key><VersionId>null</VersionId></Object>"
    for inner in (
        f"<Object><Key>{own}</Key><Key>{foreign}</Key></Object>",
        f"<Object><Key>{foreign[:-3]}<!-- -->{foreign[-3:]}</Key></Object>",
        f"<Object><Key><![CDATA[{foreign}]]></Key></Object>",
        f"<Object><Key>{own}</Key><VersionId>../../{down}</VersionId></Object>",
        version,
        f"<Quiet>true</Quiet>{version}",
    ):
        body = f"<Delete>{inner}</Delete>".encode()
        yield (
            f"delete {inner}",
            partial(scene.attacker.send, "POST", f"/{scene.content}?delete", body, as_xml),
        )


def deleted(scene: Scene, path: str, keys: list[str]) -> Reply:
    body, headers = delete_body(keys)
    return scene.attacker.send("POST", f"/{path}?delete", body, headers)


def test_no_way_to_write_a_key_deletes_anothers(scene: Scene) -> None:
    assert failures(scene, bulk(scene), anything_but_a_fault) == []


# --- ids of uploads and versions ------------------------------------------------------


def test_anothers_upload_is_nobody_elses(scene: Scene) -> None:
    """Known or guessed, an upload's id opens it under no key but its own."""
    owner = scene.installation.owner
    theirs = Place(BucketRole.CONTENT, f"{scene.foreign_prefix}upload")
    upload = owner.begin(theirs)
    assert upload is not None
    mine = f"{scene.own_prefix}upload"
    (own_id,) = texts(
        scene.attacker.send("POST", target(scene.content, mine, uploads="")), "UploadId"
    )
    mixed = own_id.split("_")[0] + "_" + upload.id.split("_")[-1]
    ids = (
        upload.id,
        f"../{upload.id}",
        f"{own_id}/../{upload.id}",
        mixed,
        f"{own_id}\0{upload.id}",
        "..",
    )
    found = []
    for key, id_ in [(mine, id_) for id_ in ids] + [(theirs.key, upload.id)]:
        found += failures(scene, upload_calls(scene, key, id_, complete_body(upload)), is_a_refusal)
        assert owner.parts(theirs, upload) == frozenset({upload.part}), (key, id_)
    assert found == []
    assert refused(scene.attacker.send("GET", target(scene.content, uploads="")))
    assert refused(scene.attacker.send("GET", target(scene.content, uploads="", prefix=mine)))
    owner.clear([], [(theirs, upload.id), (Place(BucketRole.CONTENT, mine), own_id)])


def is_a_refusal(reply: Reply) -> bool:
    # An abort of nothing is a success that did nothing; that the upload goes on is checked.
    return 400 <= reply.status < 500 or reply.status == 204


def upload_calls(scene: Scene, key: str, id_: str, complete: bytes) -> Iterator[Attempt]:
    send = scene.attacker.send
    whole = target(scene.content, key, uploadId=id_)
    part = target(scene.content, key, uploadId=id_, partNumber="1")
    yield f"parts of {unquote(whole)}", lambda: send("GET", whole)
    yield f"put {unquote(part)}", lambda: send("PUT", part, b"evil")
    yield f"complete {unquote(whole)}", lambda: send("POST", whole, complete)
    yield f"abort {unquote(whole)}", lambda: send("DELETE", whole)


def test_a_version_of_an_object_is_out_of_reach(scene: Scene) -> None:
    for at in (scene.own, scene.foreign):
        for version in ("null", "x", ""):
            for method in ("GET", "HEAD", "DELETE"):
                reply = scene.attacker.send(method, f"{at}?versionId={version}")
                assert refused(reply), (method, at, version, reply)
    down = scene.foreign_prefix.removeprefix("apps/")
    for method in ("GET", "DELETE"):
        reply = scene.attacker.send(
            method, f"{scene.own}?versionId={quoted(f'../../{down}object')}"
        )
        assert 400 <= reply.status < 500
    assert scene.harm() == []
