"""Ways around the double by spelling: what it authorises is what the engine behind it gets."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Final

import pytest

from ringfence.scope import Scope
from tests.embedded.support import RunningEngine
from tests.isolation.s3 import delete_body, target
from tests.r2.checks import NONE_OFF
from tests.r2.test_double import Scene, scene

pytestmark = pytest.mark.engine

# What stands for "/" in the way from an own key to the neighbour's, and for "..".
SLASHES: Final = ("/", "%2F", "%2f", "%252F", "\\", "%5C", "//", "%2F%2F", "/%00/", "/;/")
DOTS: Final = ("..", "%2E%2E", "%2e.", ".%2e", "%252E%252E", "%c0%ae%c0%ae", "..%00", ". .", "...")


@pytest.fixture(scope="module")
def made(r2_engine: RunningEngine) -> Iterator[Scene]:
    import secrets

    scope = Scope(f"{secrets.token_hex(3)}-app1", "user", "run1")
    with scene(r2_engine, scope, NONE_OFF) as one:
        yield one


def paths(scene: Scene) -> Iterator[str]:
    app = scene.scope.app_id
    for slash in SLASHES:
        for dots in DOTS:
            yield f"/{scene.content}/apps/{app}{slash}{dots}{slash}{app}0{slash}object"
            yield f"/{scene.content}/apps/{app}/x{slash}{dots}{slash}{dots}{slash}{app}0/object"
        yield f"/{scene.content}{slash}apps{slash}{app}0{slash}object"
        yield f"/{scene.content}/apps/{app}{slash}../{scene.content}/apps/{app}0/object"
    yield f"/{scene.content}/../{scene.content}/apps/{app}0/object"
    yield f"//{scene.content}/apps/{app}0/object"
    yield f"/./{scene.content}/apps/{app}0/object"
    yield f"/{scene.at.buckets.meta}/../{scene.content}/apps/{app}0/object"
    yield f"/{scene.content}/apps/{app}0/object?x-id=GetObject"
    yield f"/{scene.content}/apps/{app}0/object#/{scene.content}/apps/{app}/object"


def test_no_spelling_of_a_path_leads_to_the_neighbour(made: Scene) -> None:
    tenant, seen = made.tenant, 0
    for at in paths(made):
        for method, body in (("GET", b""), ("PUT", b"evil"), ("DELETE", b""), ("HEAD", b"")):
            if "\\" in at and method != "GET":
                continue
            try:
                reply = tenant.send(method, at, body)
            except http.client.InvalidURL:
                continue
            seen += 1
            assert made.secret not in reply.body, at
            assert reply.status != 500, (method, at, reply)
    assert made.at.engine.send("GET", made.foreign).body == made.secret
    assert seen > 500


def test_what_is_signed_is_what_is_sent(made: Scene) -> None:
    reply = made.tenant.send("GET", made.foreign, signed=made.own)
    assert reply.code == "SignatureDoesNotMatch"
    listing = {"list-type": "2", "prefix": f"apps/{made.scope.app_id}0/"}
    own = {**listing, "prefix": f"apps/{made.scope.app_id}/"}
    sent, signed = target(made.content, **listing), target(made.content, **own)
    assert made.tenant.send("GET", sent, signed=signed).code == "SignatureDoesNotMatch"
    twice = f"{signed}&prefix=apps%2F{made.scope.app_id}0%2F"
    assert made.tenant.send("GET", twice).status == 400


@pytest.mark.parametrize(
    "query",
    [
        {"list-type": "2"},
        {"list-type": "2", "prefix": ""},
        {"list-type": "2", "prefix": "apps/"},
        {"list-type": "2", "delimiter": "/"},
        {"prefix": "/"},
        {"marker": "apps/"},
        {"uploads": ""},
        {"uploads": "", "prefix": "apps/"},
    ],
)
def test_no_listing_shows_the_neighbour(made: Scene, query: dict[str, str]) -> None:
    reply = made.tenant.send("GET", target(made.content, **query))
    assert (reply.status, reply.code) == (403, "AccessDenied")


def test_a_listing_from_another_place_shows_own_keys_alone(made: Scene) -> None:
    own = f"apps/{made.scope.app_id}/"
    for more in ({"start-after": "apps/"}, {"delimiter": "0"}, {"max-keys": "1000"}):
        at = target(made.content, **{"list-type": "2", "prefix": own, **more})
        assert f"{made.scope.app_id}0".encode() not in made.tenant.send("GET", at).body


@pytest.mark.parametrize("dots", ["../{}0/object", "x/../../{}0/object", "%2e%2e/{}0/object"])
def test_no_copy_and_no_bulk_delete_goes_round(made: Scene, dots: str) -> None:
    app = made.scope.app_id
    way = f"apps/{app}/{dots.format(app)}"
    for source in (f"/{made.content}/{way}", f"{made.content}/{way}", f"/{made.content}//{way}"):
        made.tenant.send("PUT", f"{made.own}-copy", b"", {"x-amz-copy-source": source})
        assert made.secret not in made.tenant.send("GET", f"{made.own}-copy").body
    body, headers = delete_body([way, f"apps/{app}0/object"])
    made.tenant.send("POST", target(made.content, delete=""), body, headers)
    assert made.at.engine.send("GET", made.foreign).body == made.secret


def test_a_body_has_one_length(made: Scene) -> None:
    """As requests are smuggled: two lengths, of which each side believes another."""
    tenant = made.tenant
    hidden = f"GET {made.foreign} HTTP/1.1\r\nHost: {tenant.host}\r\n\r\n".encode()
    body = b"0\r\n\r\n" + hidden
    signed = tenant.sign("PUT", made.own, body, {"Host": tenant.host}, "s3")
    for more in (
        {"Transfer-Encoding": "chunked", "Content-Length": str(len(body))},
        {"Transfer-Encoding": "chunked, identity"},
        {"Transfer-Encoding": "xchunked"},
        {"Content-Length": f"+{len(body)}"},
        {"Content-Length": f"{len(body)}, {len(body)}"},
    ):
        reply = made.at.wire(None).exchange("PUT", made.own, body, {**signed, **more})
        assert reply.status == 400, more
