"""What obstore raises on Azure, in Ringfence's words; and whose key is said to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from obstore.exceptions import BaseError

from ringfence._registry import open_state
from ringfence.config import AzureSettings, Settings
from ringfence.errors import (
    AccessDenied,
    BucketMissing,
    ConfigError,
    CredentialExpired,
    IssueRefused,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.installation import check_layout
from ringfence.layout import BucketRole
from ringfence.providers._obstore import translate, translating
from ringfence.providers.azure.keys import KeyCredentials, TokenCredentials
from ringfence.providers.azure.store import AzureAddress, open_container, open_elsewhere
from ringfence.scope import AccessMode, Scope, grants
from ringfence.secret import Secret
from tests.azure.front import Front, Principal
from tests.azure.installation import BUCKETS, Installation, by_key, lease_of, tokens_of

WHAT, BUCKET = "read the thing", "CONTENT_BUCKET content"


def raised(work: Callable[[], Any]) -> RingfenceError:
    with pytest.raises(RingfenceError) as error, translating(WHAT, BUCKET):
        work()
    said = f"{error.value} {error.value!r} {error.value.__cause__!r}"
    assert "sig=" not in said
    assert "Debug source" not in said
    return error.value


def fenced(installation: Installation, scope: Scope) -> Any:
    app = grants(scope, installation.case)[0]
    (credential,) = installation.issue((app,))
    return installation.provider.open(app, lease_of(credential))


def test_a_refusal_by_the_fence_is_one(installation: Installation, scope: Scope) -> None:
    scope = Scope(scope.app_id, scope.user_id, mode=AccessMode.INVOKE_READ)
    store = fenced(installation, scope)
    for work in (lambda: store.put("x", b"x"), lambda: store.delete("x")):
        error = raised(work)
        assert isinstance(error, AccessDenied)
        assert "AuthorizationPermissionMismatch, HTTP 403" in str(error)
        assert "AZURE_STORAGE_ACCOUNT_KEY" not in str(error)


def test_an_expired_sas_is_told_from_a_wrong_key(installation: Installation, scope: Scope) -> None:
    store = fenced(installation, scope)
    later = datetime.now(UTC) + timedelta(hours=2)
    with installation.front.with_rules(now=lambda: later):
        for work in (lambda: store.get("x"), lambda: store.delete("x")):
            error = raised(work)
            assert isinstance(error, CredentialExpired), error
            assert "life is over" in str(error)


def container(front: Front, name: str, key: str) -> Any:
    address = AzureAddress(name, front.azurite.account, front.endpoint)
    return open_container(address, None, KeyCredentials(Secret(key)), timedelta(seconds=10))


def test_a_wrong_account_key_is_a_problem_with_the_settings(front: Front) -> None:
    error = raised(lambda: container(front, BUCKETS.content, "QUFBQQ==").get("x"))
    assert isinstance(error, ConfigError)
    assert error.problems[0].variable == "AZURE_STORAGE_ACCOUNT_KEY"
    assert "QUFB" not in str(error)


def test_a_missing_container_is_one(front: Front) -> None:
    store = container(front, "not-there", front.azurite.key)
    with pytest.raises(RingfenceError) as error, translating(WHAT, BUCKET):
        store.put("x", b"x")
    assert isinstance(error.value, BucketMissing)


def test_a_token_that_is_not_accepted_is_a_refusal(front: Front) -> None:
    address = AzureAddress(BUCKETS.content, front.azurite.account, front.endpoint)
    nobody = TokenCredentials(tokens_of(Principal("made-up")))
    store = open_container(address, None, nobody, timedelta(seconds=10))
    assert isinstance(raised(lambda: store.get("x")), AccessDenied)


def test_a_chain_without_anybody_is_told_through_a_store(front: Front) -> None:
    def none() -> Any:
        raise IssueRefused("azure-identity's default chain has no token for storage.")

    address = AzureAddress(BUCKETS.content, front.azurite.account, front.endpoint)
    store = open_container(address, None, TokenCredentials(none), timedelta(seconds=10))
    error = raised(lambda: store.get("x"))
    assert isinstance(error, IssueRefused)


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_out_of_reach_names_azures_variable(
    keyed: Installation, scope: Scope, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ringfence.providers.azure.store.RETRY",
        {"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
    )
    app = grants(scope, keyed.case)[0]
    (credential,) = keyed.issue((app,))
    away = {"bucket": "content", "account": "a", "endpoint": "http://127.0.0.1:1/a"}
    store: Any = open_elsewhere(away, app.prefix, lease_of(credential))
    error = raised(lambda: getattr(store, verb)("x"))
    assert isinstance(error, StorageUnreachable)
    assert "AZURE_STORAGE_ENDPOINT" in str(error)
    assert "AWS" not in str(error)


CANNED = {
    "<Code>AuthenticationFailed</Code><AuthenticationErrorDetail>Request date header too old: "
    "'Thu, 01 Jan 2026 00:00:00 GMT'</AuthenticationErrorDetail>": CredentialExpired,
    "<Code>KeyBasedAuthenticationNotPermitted</Code>": ConfigError,
    "<Code>AuthorizationFailure</Code>": AccessDenied,
    "<Code>InsufficientAccountPermissions</Code>": AccessDenied,
}


@pytest.mark.parametrize("body", CANNED)
def test_azures_codes(front: Front, body: str) -> None:
    settings = AzureSettings(front.azurite.account, None, front.endpoint)
    text = (
        f"Error performing GET {settings.endpoint}/c/x in 1ms - Server returned non-2xx status "
        f"code: 403 Forbidden: <Error>{body}</Error>"
    )
    open_container(
        AzureAddress("c", front.azurite.account, front.endpoint),
        None,
        KeyCredentials(Secret("QUFBQQ==")),
        timedelta(seconds=1),
    )
    error = translate(BaseError(text), what=WHAT, bucket=BUCKET)
    assert type(error) is CANNED[body]


def test_the_meta_container_is_read_like_any(installation: Installation) -> None:
    meta = installation.provider.open_bucket(BucketRole.META)
    meta.put("execution/x-test", b"x")
    meta.delete(["execution/x-test"])
    with pytest.raises(FileNotFoundError):
        meta.get("execution/x-test")


@pytest.mark.parametrize("variable", ["META_BUCKET", "AZURE_META_CONTAINER"])
async def test_a_container_is_named_by_the_variable_that_named_it(
    front: Front, variable: str
) -> None:
    installation = by_key(front)
    settings = Settings.from_env(installation.env | {variable: "not-there"})
    installation.provider._buckets = settings.buckets
    meta = installation.provider.open_bucket(BucketRole.META)
    missing = rf"^{variable} not-there does not exist at "
    with pytest.raises(BucketMissing, match=missing):
        await check_layout(meta, settings)
    with pytest.raises(BucketMissing, match=missing):
        await open_state(settings, lambda: meta, lambda: datetime.now(UTC)).list("app1", limit=1)
    installation.provider.close()
