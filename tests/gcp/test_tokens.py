"""Source tokens and exchanges: cached, renewed in time, tried again, and refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from ringfence.config import Buckets, GcpSettings
from ringfence.errors import (
    ConfigError,
    CredentialExpired,
    GrantNotEnforceable,
    IssueRefused,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.layout import BucketRole, Prefix
from ringfence.providers.gcp.buckets import LOOK_AGAIN
from ringfence.providers.gcp.exchange import ATTEMPTS
from ringfence.providers.gcp.provider import GcpProvider
from ringfence.providers.gcp.source import ASK_SOURCE_AGAIN, LEAST_LIFE
from ringfence.scope import Area, Grant, Permission, Scope, grants
from ringfence.secret import Secret
from tests.gcp.double.backend import Backend
from tests.gcp.double.roles import OWNER
from tests.gcp.installation import EMAIL, Installation, account, installed

START = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "SECRET-IN-AN-ANSWER"


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def on(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def fresh(backend: Backend, clock: Hands) -> Iterator[Installation]:
    """A double of this test's own, whose clock is set by hand."""
    with installed(backend, clock=clock) as made:
        yield made


@contextmanager
def opened(provider: GcpProvider) -> Iterator[GcpProvider]:
    try:
        yield provider
    finally:
        provider.close()


# Life ----------------------------------------------------------------------------------------


def test_one_exchange_for_each_token_and_one_source_for_many(
    fresh: Installation, clock: Hands
) -> None:
    with opened(fresh.provider(clock)) as provider:
        for number in range(5):
            (credential,) = provider.issue(grants(Scope(f"a{number}", "u", "r")), session="s")
            assert credential.issued_at == clock.now
            assert credential.expires_at == clock.now + timedelta(hours=1)
    assert (fresh.tokens.grants, len(fresh.tokens.exchanges)) == (1, 5)
    looks = [line for line in fresh.world.asked if line.startswith("GET /storage/v1/b/")]
    assert len(looks) == 2, "each bucket once: content and logs"


def test_every_token_has_the_least_life_to_go(fresh: Installation, clock: Hands) -> None:
    """The downscoped one ends with its source, so the source is renewed well before its end."""
    with opened(fresh.provider(clock)) as provider:
        for _ in range(40):
            (credential,) = provider.issue(grants(Scope("a", "u", "r")), session="s")
            assert credential.expires_at - clock.now >= LEAST_LIFE
            clock.on(timedelta(minutes=7))
    assert 8 <= fresh.tokens.grants <= 10, "40 times 7 minutes are 280, a source's use is 30"


def test_a_source_that_would_not_renew_sooner_is_used_and_not_pestered(
    fresh: Installation, clock: Hands
) -> None:
    """As a metadata server's, which keeps a token until five minutes before its end."""
    fresh.tokens.life = timedelta(minutes=10)
    with opened(fresh.provider(clock)) as provider:
        for _ in range(10):
            (credential,) = provider.issue(grants(Scope("a", "u", "r")), session="s")
            clock.on(timedelta(seconds=1))
        assert credential.expires_at - clock.now < timedelta(minutes=10)
        assert fresh.tokens.grants == 1
        clock.on(ASK_SOURCE_AGAIN)
        provider.issue(grants(Scope("a", "u", "r")), session="s")
        assert fresh.tokens.grants == 2


def test_a_source_token_that_has_all_but_ended_is_none(fresh: Installation, clock: Hands) -> None:
    fresh.tokens.life = timedelta(seconds=60)
    with opened(fresh.provider(clock)) as provider, pytest.raises(IssueRefused, match="expired"):
        provider.issue(grants(Scope("a", "u", "r")), session="s")


def test_an_answer_without_a_life_has_its_sources(fresh: Installation, clock: Hands) -> None:
    fresh.tokens.says_life = False
    with opened(fresh.provider(clock)) as provider:
        provider.issue(grants(Scope("a", "u", "r")), session="s")
        clock.on(timedelta(minutes=20))
        (credential,) = provider.issue(grants(Scope("a", "u", "r")), session="s")
    assert abs(credential.expires_at - (START + timedelta(hours=1))) < timedelta(seconds=5)


def test_callers_at_once_wait_for_one_source_token(fresh: Installation, clock: Hands) -> None:
    with opened(fresh.provider(clock)) as provider, ThreadPoolExecutor(8) as pool:
        wanted = [grants(Scope(f"a{number}", "u", "r")) for number in range(8)]
        list(pool.map(partial(provider.issue, session="s"), wanted))
    assert (fresh.tokens.grants, len(fresh.tokens.exchanges)) == (1, 8)


# Uniform access ------------------------------------------------------------------------------


def test_a_bucket_with_acls_is_refused_and_looked_at_again(
    fresh: Installation, clock: Hands
) -> None:
    content = fresh.buckets.content
    fresh.world.uniform[content] = False
    with opened(fresh.provider(clock)) as provider:
        for _ in range(2):
            with pytest.raises(IssueRefused, match="uniform bucket-level access") as caught:
                provider.issue(grants(Scope("a", "u", "r")), session="s")
            assert f"gs://{content}" in str(caught.value)
            assert fresh.tokens.exchanges == []
        fresh.world.uniform[content] = True
        assert provider.issue(grants(Scope("a", "u", "r")), session="s")
        fresh.world.uniform[content] = False
        assert provider.issue(grants(Scope("a", "u", "r")), session="s"), "known for an hour"
        clock.on(LOOK_AGAIN)
        with pytest.raises(IssueRefused):
            provider.issue(grants(Scope("a", "u", "r")), session="s")


def test_a_bucket_that_may_not_be_looked_at_is_refused(fresh: Installation, clock: Hands) -> None:
    fresh.tokens.own = OWNER - {"storage.buckets.get"}
    with (
        opened(fresh.provider(clock)) as provider,
        pytest.raises(IssueRefused, match=r"storage\.buckets\.get"),
    ):
        provider.issue(grants(Scope("a", "u", "r")), session="s")
    assert fresh.tokens.exchanges == []


def test_a_bucket_that_cannot_be_looked_at_just_now_is_asked_again() -> None:
    looks: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/storage/"):
            looks.append(request.url.path)
            access = {"uniformBucketLevelAccess": {"enabled": True}}
            return httpx.Response(
                503 if len(looks) == 1 else 200, json={"iamConfiguration": access}
            )
        token = "source" if request.url.path == "/token" else "downscoped"
        return httpx.Response(200, json={"access_token": token, "expires_in": 3600})

    waited: list[float] = []
    with opened(over(httpx.MockTransport(handle), waited.append)) as provider:
        assert provider.issue(grants(Scope("a", "u", "r")), session="s")
    assert (len(looks), len(waited)) == (3, 1)


# Refusals in words ---------------------------------------------------------------------------


def settled(fresh: Installation, **changes: Any) -> GcpSettings:
    return replace(fresh.cloud, **changes)


def refused_by(provider: GcpProvider) -> RingfenceError:
    with opened(provider), pytest.raises(RingfenceError) as caught:
        provider.issue(grants(Scope("a", "u", "r")), session="s")
    return caught.value


def test_a_throttled_exchange_is_tried_again(fresh: Installation, clock: Hands) -> None:
    fresh.tokens.failing = [429, 503]
    waited: list[float] = []
    with opened(fresh.provider(clock, waited.append)) as provider:
        assert provider.issue(grants(Scope("a", "u", "r")), session="s")
    assert len(waited) == 2


def test_one_that_stays_throttled_is_said(fresh: Installation, clock: Hands) -> None:
    fresh.tokens.failing = [503] * ATTEMPTS
    error = refused_by(fresh.provider(clock, lambda _: None))
    assert isinstance(error, StorageUnreachable)
    assert "failed 4 times (HTTP 503)" in str(error)


def test_a_key_that_google_does_not_know(fresh: Installation, clock: Hands) -> None:
    fresh.tokens.email = "another@acme-project.iam.gserviceaccount.com"
    error = refused_by(fresh.provider(clock))
    assert isinstance(error, IssueRefused)
    assert "GOOGLE_APPLICATION_CREDENTIALS_JSON" in str(error)
    assert "PRIVATE KEY" not in str(error)


def test_a_private_key_that_is_none(fresh: Installation, clock: Hands) -> None:
    row = json.loads(account(fresh.front.url))
    row["private_key"] = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"
    cloud = settled(fresh, service_account_json=Secret(json.dumps(row)))
    error = refused_by(GcpProvider(cloud, fresh.buckets, clock=clock))
    assert isinstance(error, ConfigError)
    assert error.problems[0].variable == "GOOGLE_APPLICATION_CREDENTIALS_JSON"
    assert "SECRET" not in str(error)


def test_nothing_listens(fresh: Installation, clock: Hands) -> None:
    gone = "http://127.0.0.1:1"
    where = [
        (settled(fresh, service_account_json=Secret(account(gone))), "/token"),
        (settled(fresh, sts_endpoint=gone), "GCS_STS_ENDPOINT"),
        (settled(fresh, endpoint=gone), "GCS_ENDPOINT"),
    ]
    for cloud, named in where:
        error = refused_by(GcpProvider(cloud, fresh.buckets, clock=clock))
        assert isinstance(error, StorageUnreachable), error
        assert named in str(error)


def test_no_credentials_at_all(
    fresh: Installation, clock: Hands, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("HOME", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path))
    # Its variable, NO_GCE_CHECK, is read when it is imported.
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    cloud = settled(fresh, service_account_json=None)
    error = refused_by(GcpProvider(cloud, fresh.buckets, clock=clock))
    assert isinstance(error, ConfigError)
    assert "GOOGLE_APPLICATION_CREDENTIALS_JSON is not set" in str(error)
    assert "gcloud auth application-default login" in str(error)


def test_default_credentials_are_found(
    fresh: Installation, clock: Hands, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    file = tmp_path / "adc.json"
    file.write_text(account(fresh.front.url))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    cloud = settled(fresh, service_account_json=None)
    with opened(GcpProvider(cloud, fresh.buckets, clock=clock)) as provider:
        assert provider.issue(grants(Scope("a", "u", "r")), session="s")


ANSWERS: dict[str, tuple[Callable[[], httpx.Response], type[RingfenceError], str]] = {
    "the source's own token": (
        lambda: httpx.Response(200, json={"access_token": SECRET}),
        IssueRefused,
        "gave back the source token",
    ),
    "no token": (
        lambda: httpx.Response(200, json={"token": SECRET}),
        IssueRefused,
        "without a token",
    ),
    "another type": (
        lambda: httpx.Response(200, json={"access_token": "x", "issued_token_type": "saml"}),
        IssueRefused,
        "another type",
    ),
    "a page": (lambda: httpx.Response(200, text="<html>"), IssueRefused, "does not answer as"),
    "nothing": (lambda: httpx.Response(404), IssueRefused, "GCS_STS_ENDPOINT"),
    "a redirect": (
        lambda: httpx.Response(302, headers={"Location": "http://127.0.0.1:1"}),
        IssueRefused,
        "does not answer as",
    ),
    "scope": (
        lambda: httpx.Response(400, json={"error": "invalid_scope", "error_description": "no"}),
        IssueRefused,
        "cloud-platform",
    ),
    "a reason": (
        lambda: httpx.Response(400, json={"error": "invalid_request", "error_description": "bad"}),
        IssueRefused,
        "invalid_request, HTTP 400",
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_the_service_answers_is_put_in_words(answer: str) -> None:
    make, kind, said = ANSWERS[answer]

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return httpx.Response(200, json={"access_token": SECRET, "expires_in": 3600})
        if request.url.path.startswith("/storage/"):
            access = {"uniformBucketLevelAccess": {"enabled": True}}
            return httpx.Response(200, json={"iamConfiguration": access})
        return make()

    error = refused_by(over(httpx.MockTransport(handle)))
    assert isinstance(error, kind)
    assert said in str(error)
    assert SECRET not in str(error)


SOURCES: dict[str, tuple[dict[str, str], type[RingfenceError], str]] = {
    "clock": (
        {
            "error": "invalid_grant",
            "error_description": "Invalid JWT: Token must be a short-lived token (60 minutes) and "
            "in a reasonable timeframe. Check your iat and exp values",
        },
        CredentialExpired,
        "clock",
    ),
    "signature": (
        {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
        IssueRefused,
        "deleted",
    ),
    "account": (
        {"error": "invalid_grant", "error_description": "Invalid grant: account not found"},
        IssueRefused,
        "account disabled",
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_what_the_token_endpoint_answers_is_put_in_words(source: str) -> None:
    row, kind, said = SOURCES[source]
    error = refused_by(over(httpx.MockTransport(lambda _: httpx.Response(400, json=row))))
    assert isinstance(error, kind)
    assert said in str(error)


DESCRIPTIONS: dict[str, httpx.Response] = {
    "no word of it": httpx.Response(200, json={}),
    "off": httpx.Response(
        200, json={"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": False}}}
    ),
    "not quite true": httpx.Response(
        200, json={"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": "true"}}}
    ),
    "a list": httpx.Response(200, json=[]),
    "a page": httpx.Response(200, text="<html>"),
    "missing": httpx.Response(404),
}


@pytest.mark.parametrize("what", DESCRIPTIONS)
def test_anything_but_uniform_access_is_refused(what: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return httpx.Response(200, json={"access_token": SECRET, "expires_in": 3600})
        assert request.url.path.startswith("/storage/"), "nothing is exchanged"
        return DESCRIPTIONS[what]

    assert isinstance(refused_by(over(httpx.MockTransport(handle))), IssueRefused)


def over(
    transport: httpx.BaseTransport, sleep: Callable[[float], None] = lambda _: None
) -> GcpProvider:
    """A provider whose network is a function."""
    where = "http://127.0.0.1:2"
    cloud = GcpSettings("acme-project", Secret(account(where)), where, where)
    return GcpProvider(cloud, Buckets("meta", "content", "logs"), transport=transport, sleep=sleep)


def test_nothing_shows_a_secret(fresh: Installation, clock: Hands) -> None:
    with opened(fresh.provider(clock)) as provider:
        (credential,) = provider.issue(grants(Scope("a", "u", "r")), session="s")
        shown = repr(
            (
                credential,
                provider._google.source.token(),
                provider._google.source,
                provider._google.exchange,
            )
        )
    for secret in ("PRIVATE KEY", credential.fields["token"].reveal(), fresh.own_token()):
        assert secret not in shown
    assert EMAIL not in shown


def test_a_grant_without_a_role_is_refused_before_anything_is_asked(
    fresh: Installation, clock: Hands
) -> None:
    only = frozenset({Permission.DELETE})
    held = (Grant(Area.APP, BucketRole.CONTENT, Prefix("apps/a/"), only),)
    with opened(fresh.provider(clock)) as provider, pytest.raises(GrantNotEnforceable):
        provider.issue(held, session="s")
    assert fresh.world.asked == []
