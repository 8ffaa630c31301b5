"""User delegation keys: fetched once, renewed in time, retried, and their refusals in words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from ringfence.errors import IssueRefused, StorageUnreachable
from ringfence.providers.azure import keys as azure_keys
from ringfence.providers.azure.keys import (
    ATTEMPTS,
    KEY_LIFE,
    DelegationKeys,
    IdentityTokens,
    Token,
)
from ringfence.scope import Scope, grants
from tests.azure.front import Front, Principal
from tests.azure.installation import PRINCIPAL, by_principal, tokens_of

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HELD = grants(Scope("app1", "user", "run1"))


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(front: Front, clock: Clock) -> Any:
    front.rules.principals[PRINCIPAL.token] = PRINCIPAL
    front.rules.now = clock
    with httpx.Client() as http:
        yield DelegationKeys(
            http, front.endpoint, tokens_of(PRINCIPAL, clock), clock=clock, sleep=lambda _: None
        )


def asked(front: Front, work: Callable[[], object]) -> int:
    with front.recording() as requests:
        work()
    return sum("comp=userdelegationkey" in request.target for request in requests)


def test_one_key_serves_until_a_sas_would_outlive_it(
    front: Front, keys: DelegationKeys, clock: Clock
) -> None:
    assert asked(front, lambda: keys.key(clock() + HOUR)) == 1
    while clock.now < START + KEY_LIFE - HOUR:
        assert asked(front, lambda: keys.key(clock() + HOUR)) == 0
        clock.now += HOUR
    clock.now += timedelta(seconds=1)
    assert asked(front, lambda: keys.key(clock() + HOUR)) == 1


def test_a_key_holds_as_long_as_it_was_asked_for(keys: DelegationKeys, clock: Clock) -> None:
    key = keys.key(clock() + HOUR)
    assert key.ends == START + KEY_LIFE
    assert timedelta(0) < KEY_LIFE <= timedelta(days=7)


def test_many_callers_at_once_fetch_one(front: Front, keys: DelegationKeys, clock: Clock) -> None:
    gate = threading.Barrier(16)

    def one() -> object:
        gate.wait()
        return keys.key(clock() + HOUR)

    def all_at_once() -> None:
        with ThreadPoolExecutor(16) as pool:
            assert len({id(f.result()) for f in [pool.submit(one) for _ in range(16)]}) == 1

    assert asked(front, all_at_once) == 1


def test_throttling_is_waited_out(front: Front, keys: DelegationKeys, clock: Clock) -> None:
    front.rules.busy = ATTEMPTS - 1
    assert asked(front, lambda: keys.key(clock() + HOUR)) == ATTEMPTS


def test_throttling_for_good_is_out_of_reach(
    front: Front, keys: DelegationKeys, clock: Clock
) -> None:
    front.rules.busy = ATTEMPTS
    with pytest.raises(StorageUnreachable, match="ServerBusy"):
        keys.key(clock() + HOUR)
    assert asked(front, lambda: keys.key(clock() + HOUR)) == 1, "an error is not kept"


def test_who_may_not_is_told_the_role(front: Front) -> None:
    principal = Principal("may-not", may_delegate=False, oid="6f1d0b51-0000-4000-8000-00000000000c")
    installation = by_principal(front, principal)
    with pytest.raises(IssueRefused, match="Storage Blob Delegator"):
        installation.issue(HELD)
    installation.provider.close()


def test_a_token_that_is_not_accepted_is_told(front: Front) -> None:
    nobody = tokens_of(Principal("unknown-to-the-account"))
    installation = by_principal(front, tokens=nobody)
    with pytest.raises((IssueRefused, StorageUnreachable), match="401"):
        installation.issue(HELD)
    installation.provider.close()


@pytest.mark.parametrize("body", [b"", b"<html/>", b"<UserDelegationKey/>", b"{}"])
def test_something_that_is_no_key_is_told(clock: Clock, body: bytes) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    with httpx.Client(transport=transport) as http:
        keys = DelegationKeys(http, "https://a.example", tokens_of(PRINCIPAL), clock=clock)
        with pytest.raises(StorageUnreachable, match="no user delegation key"):
            keys.key(clock() + HOUR)


def test_twenty_lives_of_a_key(front: Front, scope: Scope) -> None:
    """The clock of both sides goes on; every SAS is within its key's life, and is accepted."""
    clock = Clock()
    front.rules.now = clock
    clock.now = datetime.now(UTC)
    installation = by_principal(front, clock=clock, tokens=tokens_of(PRINCIPAL, clock))
    fetched: set[str] = set()
    for _ in range(24 * 20):
        (credential, *_) = installation.of(scope)
        tenant = installation.tenant(scope)
        sas = credential.fields["sas_token"].reveal()
        at = f"{tenant.at.container(credential.grants[0].bucket)}/{credential.grants[0].prefix}x"
        assert tenant.send("GET", at, sas).status == 404, "authorised, and not there"
        fetched.add(sas.partition("ske=")[2].partition("&")[0])
        clock.now += HOUR
    assert len(fetched) >= 20
    installation.provider.close()


def test_the_default_chain_without_anybody_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    class Nobody:
        def get_token(self, *_: str) -> None:
            raise ClientAuthenticationError("DefaultAzureCredential failed.\nEach of them: ...")

    monkeypatch.setattr(azure_keys, "_default_credential", Nobody)
    with pytest.raises(IssueRefused, match="DefaultAzureCredential failed") as raised:
        IdentityTokens()()
    assert "AZURE_STORAGE_ACCOUNT_KEY" in str(raised.value)
    assert "managed identity" in str(raised.value.hint)


def test_the_default_chain_gives_tokens_with_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.core.credentials import AccessToken

    scopes: list[str] = []

    class Somebody:
        def get_token(self, *wanted: str) -> AccessToken:
            scopes.extend(wanted)
            return AccessToken("text", int(START.timestamp()))

    monkeypatch.setattr(azure_keys, "_default_credential", Somebody)
    assert IdentityTokens()() == Token("text", START)
    assert scopes == ["https://storage.azure.com/.default"]
    assert "text" not in repr(Token("text", START))


def test_a_chain_that_cannot_be_made_names_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "no such credential")
    with pytest.raises(IssueRefused, match="AZURE_TOKEN_CREDENTIALS"):
        IdentityTokens()


def test_the_default_chain_is_azure_identitys() -> None:
    from azure.identity import DefaultAzureCredential

    made = azure_keys._default_credential()
    assert isinstance(made, DefaultAzureCredential)
    made.close()
