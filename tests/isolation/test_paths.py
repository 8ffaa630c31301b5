"""From inside a session: request lines that a proxy or a router might read in another way.

Each hostile line is sent as it stands, and signed in every way that a server may compute the
signature: as sent, decoded and encoded anew, normalised, and as an own object's. Whatever the
engine answers, nothing of a neighbour's may come back or change.
"""

from __future__ import annotations

import http.client
import posixpath
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote, unquote

import pytest

from tests.isolation.scene import (
    Attempt,
    Scene,
    anything_but_a_fault,
    failures,
    refused,
    turned_away,
)
from tests.isolation.wire import Reply

pytestmark = pytest.mark.engine

ABOVE = (
    "..",
    "%2e%2e",
    "%2E%2e",
    ".%2e",
    "..%2f..%2f..",
    "%252e%252e",
    "..;",
    "%2e%2e;x",
    "..%00",
    "%00/..",
    "./..",
    "/..",
    "%09..",
    "..%20",
    "%20..",
    "..\\",
    "..%5c",
    "%c0%ae%c0%ae",  # an overlong dot
    "%e0%80%ae%e0%80%ae",
    "%f0%80%80%ae%f0%80%80%ae",
    "%ef%bc%8e%ef%bc%8e",  # full-width dots
    "%uff0e%uff0e",
    "*",
    "%2a",
)
"""Ways to write "the folder above" that some server somewhere has understood."""


def lines(scene: Scene) -> Iterator[str]:
    bucket, own = scene.content, scene.own_prefix
    victim = scene.foreign_prefix.removeprefix("apps/")
    meta = scene.installation.buckets.meta
    for above in ABOVE:
        yield f"/{bucket}/{own}{above}/{victim}object"
        yield f"/{bucket}/{own}{above}%2F{victim.replace('/', '%2F')}object"
    yield f"/{bucket}/{own}../../../{meta}/{own}object"
    yield f"/{bucket}/../{meta}/{own}object"
    yield f"/{meta}/../{bucket}/{own}../{victim}object"
    yield f"/%2e%2e/{bucket}/apps/{victim}object"
    yield f"/{bucket}/{own}object/../../{victim}object"
    foreign = f"apps/{victim}object"
    yield f"/{bucket}//{foreign}"
    yield f"//{bucket}/{foreign}"
    yield f"/{bucket}/./{foreign}"
    yield f"/{bucket}/{foreign}/"
    yield f"/{bucket}/{foreign}/."
    yield f"/{bucket}/{foreign}%00"
    yield f"/{bucket}/{foreign}%00.txt"
    yield f"/{bucket}/{foreign}%20"
    yield f"/{bucket}%2F{foreign.replace('/', '%2F')}"
    yield f"/{bucket.upper()}/{foreign}"
    yield f"/{bucket}/{foreign.upper()}"
    yield f"/buckets/{bucket}/{foreign}"
    yield f"/{bucket}/{own}?/../../{victim}object"
    yield f"/{bucket}/{own}%3F/../../{victim}object"
    yield f"/{bucket}/{own}%23/../../{victim}object"
    yield f"/{bucket}/.uploads/"
    yield f"/{bucket}/.versions/"
    yield f"/{bucket}/{foreign}.versions/"


def signable(line: str, own: str) -> set[str]:
    """What a server may take the line for when it checks the signature."""
    path = line.partition("?")[0]
    plain = unquote(path, errors="replace")
    return {
        line,
        quote(plain, safe="/~"),
        posixpath.normpath(path),
        quote(posixpath.normpath(plain), safe="/~"),
        path.replace("//", "/"),
        own,
    }


def attempts(scene: Scene) -> Iterator[Attempt]:
    for line in lines(scene):
        for signed in sorted(signable(line, scene.own)):
            for method, body in (("GET", b""), ("PUT", b"evil"), ("DELETE", b"")):
                yield (
                    f"{method} {line} (signed {signed})",
                    partial(scene.attacker.send, method, line, body, signed=signed),
                )


def test_hostile_paths_do_no_harm(scene: Scene) -> None:
    assert failures(scene, attempts(scene), anything_but_a_fault) == []


def test_an_absolute_target_is_read_like_a_path(scene: Scene) -> None:
    wire = scene.attacker
    absolute = f"{wire.endpoint}{scene.foreign}"
    assert refused(wire.send("GET", absolute, signed=scene.foreign))
    assert turned_away(wire.send("GET", absolute, signed=scene.own))
    elsewhere = f"http://{scene.content}{scene.foreign}"
    assert turned_away(wire.send("GET", elsewhere, signed=scene.foreign))


@pytest.mark.parametrize("host", ["{content}", "{content}.s3.amazonaws.com", "{meta}.{endpoint}"])
def test_a_host_header_opens_no_bucket(scene: Scene, host: str) -> None:
    buckets = scene.installation.buckets
    named = host.format(content=buckets.content, meta=buckets.meta, endpoint=scene.attacker.host)
    headers = {"Host": named}
    key = scene.foreign.removeprefix(f"/{scene.content}")
    for at in (scene.foreign, key, f"/{scene.own_prefix}object"):
        assert refused(scene.attacker.send("GET", at, headers=headers)), at


SPOOFED: dict[str, str] = {
    "X-Original-URL": "{own}",
    "X-Rewrite-URL": "{own}",
    "X-Forwarded-Host": "{content}",
    "X-Forwarded-Prefix": "{own}",
    "X-Forwarded-For": "127.0.0.1",
    "X-HTTP-Method-Override": "HEAD",
    "X-SeaweedFS-Principal": "arn:aws:iam::000000000000:user/ringfence",
    "X-SeaweedFS-Session-Token": "x",
    "X-Amz-Account-Id": "ringfence",
    "X-Amz-Auth-Type": "SigV4",
    "s3-identity-id": "ringfence",
    "s3-is-admin": "true",
}
"""Headers that proxies are trusted with, and those by which the engine's parts talk of who asks."""


@pytest.mark.parametrize("name", SPOOFED)
def test_a_spoofed_header_changes_nothing(scene: Scene, name: str) -> None:
    value = SPOOFED[name].format(own=scene.own, content=scene.content)
    wire = scene.attacker
    for method, body in (("GET", b""), ("PUT", b"evil"), ("DELETE", b"")):
        assert turned_away(wire.send(method, scene.foreign, body, {name: value}))
        assert refused(scene.anyone.send(method, scene.foreign, body, {name: value}))
        unsigned = wire.sign(method, scene.foreign, body, {"Host": wire.host}, "s3")
        late = {**unsigned, name: value, "Content-Length": str(len(body))}
        assert turned_away(wire.exchange(method, scene.foreign, body, late))
    assert scene.harm() == []


def test_a_signature_for_one_path_is_none_for_its_end(scene: Scene) -> None:
    """``X-Forwarded-Prefix`` makes the engine check the signature of prefix and path together.

    A holder of an own object's signature may so ask for a path that ends it. The fence does not
    mind, as it looks at the path that is asked for.
    """
    prefix = scene.own.removesuffix("/object")
    signed = f"{prefix}{scene.foreign}"
    headers = {"X-Forwarded-Prefix": prefix}
    assert refused(scene.attacker.send("GET", scene.foreign, headers=headers, signed=signed))


def test_a_second_request_in_the_first_ones_body_is_a_body(scene: Scene) -> None:
    """Smuggling: two lengths for one body are no way to speak behind the signature's back."""
    inner = f"GET {scene.foreign} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    sent = scene.attacker.sign("PUT", scene.own, inner, {"Host": scene.attacker.host}, "s3")
    both = {**sent, "Content-Length": str(len(inner)), "Transfer-Encoding": "chunked"}
    try:
        reply: Reply | None = scene.attacker.exchange("PUT", scene.own, inner, both)
    except (ConnectionError, http.client.HTTPException):
        reply = None
    assert reply is None or not scene.tells(reply)
    assert scene.harm() == []
