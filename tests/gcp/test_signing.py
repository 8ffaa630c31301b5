"""V4 signed URLs: one request on one object, by the installation's own account."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.auth.credentials import AnonymousCredentials
from google.oauth2.service_account import Credentials

from ringfence.errors import AccessDenied, GrantNotEnforceable, UsageError
from ringfence.providers.gcp.signing import Signer, signed_url, signer_of
from ringfence.scope import AccessMode, Area, Scope
from ringfence.storage import Storage
from tests.gcp.double.backend import Backend
from tests.gcp.google_client import generate_signed_url_v4
from tests.gcp.installation import EMAIL, Installation, account, installed
from tests.isolation.wire import Reply, Wire


def ask(gcs: Installation, method: str, url: str, body: bytes = b"") -> Reply:
    assert url.startswith(f"{gcs.front.url}/")
    return Wire(gcs.front.url, None).send(method, url.removeprefix(gcs.front.url), body)


async def test_a_url_is_for_one_request_on_one_object(gcs: Installation, scope: Scope) -> None:
    async with Storage.from_env(gcs.env) as storage:
        path = "a folder/ä&b+%2F.txt"
        put = await storage.sign(scope, Area.APP, path, method="PUT")
        assert ask(gcs, "PUT", put, b"hello").status == 200
        get = await storage.sign(scope, Area.APP, path)
        assert ask(gcs, "GET", get).body == b"hello"
        assert bytes((await storage.open(scope).app.get_async(path)).bytes()) == b"hello"
        for method, url in (("PUT", get), ("DELETE", get), ("GET", put), ("HEAD", get)):
            assert ask(gcs, method, url).status == 403
        assert ask(gcs, "GET", get.replace("a%20folder", "another")).status == 403
        assert (
            ask(gcs, "GET", get.replace("X-Goog-Expires=900", "X-Goog-Expires=9000")).status == 403
        )
        delete = await storage.sign(scope, Area.APP, path, method="DELETE")
        assert ask(gcs, "DELETE", delete).status == 204


async def test_it_holds_no_token(gcs: Installation, scope: Scope) -> None:
    async with Storage.from_env(gcs.env) as storage:
        url = await storage.sign(scope, Area.APP, "x")
        (credential,) = await storage.vend(scope)
    for secret in (credential.fields["token"].reveal(), gcs.own_token()):
        assert secret not in url
    assert EMAIL.replace("@", "%40") in url


async def test_it_ends(backend: Backend) -> None:
    now = [datetime.now(UTC)]
    with installed(backend, clock=lambda: now[0]) as made:
        async with Storage.from_env(made.env) as storage:
            url = await storage.sign(
                Scope("a", "u", "r"), Area.APP, "x", expires_in=timedelta(minutes=5)
            )
        assert ask(made, "GET", url).status == 404
        now[0] += timedelta(minutes=6)
        assert ask(made, "GET", url).status == 400


async def test_what_the_grant_does_not_allow_is_not_signed(gcs: Installation, scope: Scope) -> None:
    async with Storage.from_env(gcs.env) as storage:
        with pytest.raises(AccessDenied):
            await storage.sign(scope, Area.LOGS, "x")
        reader = Scope(scope.app_id, scope.user_id, scope.run_id, AccessMode.READ_APP)
        with pytest.raises(AccessDenied):
            await storage.sign(reader, Area.APP, "x", method="PUT")


def by_iam(account: str, text: bytes) -> bytes:
    return f"{account}: ".encode() + text


def test_who_cannot_sign_says_so() -> None:
    anonymous: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
    with pytest.raises(GrantNotEnforceable, match="service account"):
        signer_of(anonymous, by_iam)


class OfAMachine:
    """As compute_engine's credentials: a name, and no key."""

    service_account_email = "default"


def test_who_has_no_key_signs_through_iam(monkeypatch: pytest.MonkeyPatch) -> None:
    machine: Any = OfAMachine()
    with pytest.raises(GrantNotEnforceable):
        signer_of(machine, by_iam)
    monkeypatch.setattr(OfAMachine, "service_account_email", EMAIL)
    assert signer_of(machine, by_iam).sign(b"x") == f"{EMAIL}: x".encode()


def test_seven_days_are_the_most() -> None:
    with pytest.raises(UsageError, match="seven days"):
        signed_url(
            Signer(EMAIL, lambda text: text),
            endpoint="https://storage.googleapis.com",
            bucket="b",
            key="k",
            method="GET",
            now=datetime.now(UTC),
            expires_in=timedelta(days=8),
        )


def test_it_is_what_google_signs(gcs: Installation) -> None:
    """Beside google-cloud-storage's own signer, for the same moment."""
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    own = Credentials.from_service_account_info(json.loads(account(gcs.front.url)))  # type: ignore[no-untyped-call]
    theirs = generate_signed_url_v4(
        own,
        "/acme-content/apps/a%20b/x~y.txt",
        timedelta(minutes=10),
        api_access_endpoint="https://storage.googleapis.com",
        method="GET",
        _request_timestamp=moment.strftime("%Y%m%dT%H%M%SZ"),
    )
    ours = signed_url(
        Signer(own.signer_email, own.sign_bytes),
        endpoint="https://storage.googleapis.com",
        bucket="acme-content",
        key="apps/a b/x~y.txt",
        method="GET",
        now=moment,
        expires_in=timedelta(minutes=10),
    )
    assert fields(ours) == fields(theirs)


def fields(url: str) -> tuple[str, list[str]]:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}", sorted(parts.query.split("&"))
