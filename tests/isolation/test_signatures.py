"""From inside a session, and from outside: who one is cannot be made up.

Tokens without their keys, keys without their token, two sessions mixed, tokens rewritten, older
signatures, bodies in signed chunks, and nobody at all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest

from tests.isolation.s3 import target
from tests.isolation.scene import OWN_BODY, Attempt, Scene, failures, refused, turned_away
from tests.isolation.wire import Keys, Reply, Wire, authorization, signing_key

pytestmark = pytest.mark.engine

WIDE = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["*"],"Resource":["*"]}]}'


def keys(wire: Wire) -> Keys:
    assert wire.keys is not None
    return wire.keys


def token(wire: Wire) -> str:
    found = keys(wire).token
    assert found is not None
    return found


# --- keys and tokens ------------------------------------------------------------------


def mixtures(scene: Scene) -> Iterator[tuple[str, Keys]]:
    mine, theirs = keys(scene.attacker), keys(scene.victim)
    master = keys(scene.installation.master)
    yield "no token", replace(mine, token=None)
    yield "an empty token", replace(mine, token=" ")
    yield "a token cut short", replace(mine, token=token(scene.attacker)[:-4])
    yield "a token with more behind it", replace(mine, token=token(scene.attacker) + "AAAA")
    yield "the victim's token", replace(mine, token=theirs.token)
    yield "the victim's keys", replace(theirs, token=mine.token)
    yield "the victim's id", replace(mine, access=theirs.access)
    yield "the victim's secret", replace(mine, secret=theirs.secret)
    yield "the master's id", replace(mine, access=master.access)
    yield "the master's id and no token", Keys(master.access, mine.secret)
    yield "the master's id, the token as secret", Keys(master.access, token(scene.attacker))
    yield "an id that is nobody's", replace(mine, access="ASIAXXXXXXXXXXXXXXXX")
    yield "another case of the id", replace(mine, access=mine.access.swapcase())


def by_mixtures(scene: Scene) -> Iterator[Attempt]:
    for name, mixed in mixtures(scene):
        wire = scene.attacker.holding(mixed)
        for at in (scene.own, scene.foreign, target(scene.content, prefix=scene.own_prefix)):
            yield f"{name}: {at}", partial(wire.send, "GET", at)
        yield f"{name}: STS", partial(wire.form, Action="GetCallerIdentity")


def test_keys_and_tokens_do_not_mix(scene: Scene) -> None:
    assert failures(scene, by_mixtures(scene), turned_away) == []


def test_a_session_is_what_it_was_made(scene: Scene) -> None:
    """The same keys and token, unmixed, do work: the refusals above are of the mixtures."""
    assert scene.attacker.send("GET", scene.own).body == OWN_BODY
    assert scene.victim.send("GET", scene.foreign).body == scene.secret


# --- the token itself -----------------------------------------------------------------


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims_of(wire: Wire) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(decoded(token(wire).split(".")[1]))
    return claims


def rewritten(scene: Scene) -> Iterator[tuple[str, dict[str, Any]]]:
    """The claims as an attacker would like them."""
    claims = claims_of(scene.attacker)
    fenced = [
        name for name, value in claims.items() if isinstance(value, str) and "Statement" in value
    ]
    assert fenced, "the token names its policy elsewhere: look where"
    yield "no policy", {name: value for name, value in claims.items() if name not in fenced}
    yield "an empty policy", {**claims, **dict.fromkeys(fenced, "")}
    yield "a wide policy", {**claims, **dict.fromkeys(fenced, WIDE)}
    theirs = claims_of(scene.victim)
    yield "the victim's policy", {**claims, **{name: theirs[name] for name in fenced}}
    yield "later", {**claims, "exp": claims["exp"] + 10**6}
    yield (
        "as the master",
        {**claims, "sub": "ringfence", "principal": "arn:aws:iam::000000000000:user/ringfence"},
    )


GUESSES: Final = (b"", b"secret", b"seaweedfs", b"ringfence", b"\0" * 32)
"""Signing keys that somebody may have left in place."""


def forgeries(scene: Scene, claims: dict[str, Any]) -> Iterator[tuple[str, str]]:
    header, _, signature = token(scene.attacker).split(".")
    payload = encoded(json.dumps(claims, separators=(",", ":")).encode())
    yield "signed as before", f"{header}.{payload}.{signature}"
    for algorithm in ("none", "None", "NONE"):
        unsigned = encoded(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
        yield f"algorithm {algorithm}", f"{unsigned}.{payload}."
        yield f"algorithm {algorithm}, signed", f"{unsigned}.{payload}.{signature}"
    mine = keys(scene.attacker)
    for guess in (*GUESSES, mine.secret.encode(), mine.access.encode()):
        mac = hmac.digest(guess, f"{header}.{payload}".encode(), "sha256")
        yield f"signed with {guess[:8]!r}", f"{header}.{payload}.{encoded(mac)}"


def by_forgeries(scene: Scene) -> Iterator[Attempt]:
    for what, claims in rewritten(scene):
        for how, forged in forgeries(scene, claims):
            wire = scene.attacker.holding(replace(keys(scene.attacker), token=forged))
            bearer = {"Authorization": f"Bearer {forged}"}
            yield f"{what}, {how}", partial(wire.send, "GET", scene.foreign)
            yield (
                f"{what}, {how}, bearer",
                partial(scene.anyone.send, "GET", scene.foreign, headers=bearer),
            )


def test_a_rewritten_token_is_none(scene: Scene) -> None:
    assert failures(scene, by_forgeries(scene), turned_away) == []


def by_a_token_alone(scene: Scene) -> Iterator[Attempt]:
    """As a bearer, or beside an unsigned request."""
    for header in (
        {"Authorization": f"Bearer {token(scene.attacker)}"},
        {"X-Amz-Security-Token": token(scene.attacker)},
    ):
        for method, body in (("GET", b""), ("PUT", b"evil"), ("DELETE", b"")):
            yield (
                f"{method} by {next(iter(header))}",
                partial(scene.anyone.send, method, scene.foreign, body, header),
            )
        for at in (
            f"/{scene.content}",
            f"/{scene.content}?list-type=2",
            f"/{scene.content}?policy",
            "/",
        ):
            yield f"GET {at}", partial(scene.anyone.send, "GET", at, headers=header)


def test_a_token_alone_opens_nothing_of_others(scene: Scene) -> None:
    """The engine takes it for nothing even at home."""
    assert failures(scene, by_a_token_alone(scene), refused) == []


def test_the_secret_is_not_in_the_token(scene: Scene) -> None:
    """Older engines derived it from the session's id, which is (engine's `sts` package, 4.44)."""
    claims = claims_of(scene.attacker)
    secret = keys(scene.attacker).secret
    assert secret not in json.dumps(claims)
    for value in claims.values():
        for text in (f"secret-key:{value}", str(value)):
            digest = hashlib.sha256(text.encode())
            assert secret not in {digest.hexdigest(), base64.b64encode(digest.digest()).decode()}


# --- nobody, and older signatures -----------------------------------------------------


def by_nobody(scene: Scene) -> Iterator[Attempt]:
    for method, body in (("GET", b""), ("HEAD", b""), ("PUT", b"x"), ("DELETE", b"")):
        for at in (scene.own, scene.foreign, f"/{scene.content}", f"/{scene.content}?list-type=2"):
            yield f"{method} {at}", partial(scene.anyone.send, method, at, body)
    trailer = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": "4",
    }
    chunk = b"4\r\nevil\r\n0\r\n\r\n"
    yield "PUT in chunks", partial(scene.anyone.send, "PUT", scene.foreign, chunk, trailer)


def test_nobody_gets_anything(scene: Scene) -> None:
    assert failures(scene, by_nobody(scene), refused) == []


def version_2(wire: Wire, method: str, at: str, *, with_token: bool) -> dict[str, str]:
    """Signature Version 2 (S3 Developer Guide, *Signing and authenticating REST requests*)."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    extra = {"x-amz-security-token": token(wire)} if with_token else {}
    canonical = "".join(f"{name}:{value}\n" for name, value in extra.items())
    text = f"{method}\n\n\n{date}\n{canonical}{at}".encode()
    signature = base64.b64encode(hmac.digest(keys(wire).secret.encode(), text, "sha1")).decode()
    return {"Date": date, "Authorization": f"AWS {keys(wire).access}:{signature}", **extra}


def by_version_2(scene: Scene) -> Iterator[Attempt]:
    for with_token in (False, True):
        for at in (scene.own, scene.foreign):
            headers = version_2(scene.attacker, "GET", at, with_token=with_token)
            yield at, partial(scene.anyone.send, "GET", at, headers=headers)


def test_signature_version_2_lets_no_session_in(scene: Scene) -> None:
    assert failures(scene, by_version_2(scene), turned_away) == []


# --- bodies in chunks -----------------------------------------------------------------

EMPTY: Final = hashlib.sha256(b"").hexdigest()


def in_signed_chunks(wire: Wire, at: str, body: bytes, signed: str | None = None) -> Reply:
    """``aws-chunked`` (S3 API Reference, *Signature calculations: transfer payload in chunks*)."""
    headers = {
        "Host": wire.host,
        "Content-Encoding": "aws-chunked",
        "X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "X-Amz-Decoded-Content-Length": str(len(body)),
    }
    sent = wire.sign("PUT", signed or at, b"", headers, "s3")
    stamp = sent["X-Amz-Date"]
    scope = f"{stamp[:8]}/{wire.region}/s3/aws4_request"
    key = signing_key(keys(wire).secret, stamp[:8], wire.region, "s3")
    previous, chunks = sent["Authorization"].rpartition("=")[2], b""
    for chunk in (body, b""):
        digest = hashlib.sha256(chunk).hexdigest()
        lines = ("AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, EMPTY, digest)
        previous = hmac.digest(key, "\n".join(lines).encode(), "sha256").hex()
        chunks += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + chunk + b"\r\n"
    return wire.exchange("PUT", at, chunks, {**sent, "Content-Length": str(len(chunks))})


def test_signed_chunks_are_fenced_too(scene: Scene) -> None:
    assert in_signed_chunks(scene.attacker, scene.own, b"in chunks").status == 200
    assert scene.attacker.send("GET", scene.own).body == b"in chunks"
    assert refused(in_signed_chunks(scene.attacker, scene.foreign, b"evil"))
    assert turned_away(in_signed_chunks(scene.attacker, scene.foreign, b"evil", scene.own))
    unsigned = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    assert refused(scene.attacker.send("PUT", scene.foreign, b"evil", unsigned))
    assert scene.harm() == []


# --- the signer of these tests --------------------------------------------------------


@pytest.mark.parametrize(
    "at", ["/bucket/a%20b/c", "/bucket?list-type=2&prefix=a%2Fb", "/b?uploads", "/"]
)
def test_our_signer_signs_as_botocore_does(at: str) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    request = AWSRequest(
        "PUT", f"http://host:1{at}", {"Host": "host:1", "x-amz-acl": "a  b"}, b"body"
    )
    signer = S3SigV4Auth(ReadOnlyCredentials("AKID", "secret", "token"), "s3", "eu-west-1")
    signer.add_auth(request)
    sent = dict(request.headers.items())
    expected = sent.pop("Authorization")
    ours = authorization(
        Keys("AKID", "secret", "token"), "PUT", at, sent, region="eu-west-1", service="s3"
    )
    assert ours == expected
