"""What a SAS says, without any network: golden files, letters, paths, times, refusals."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.config import AzureSettings, Buckets
from ringfence.errors import CredentialExpired, GrantNotEnforceable
from ringfence.layout import BucketRole, Prefix
from ringfence.presigning import NEEDS
from ringfence.providers.azure.provider import AzureProvider
from ringfence.providers.azure.sas import DirectorySas, directory_sas, letters_of
from ringfence.scope import AccessMode, Area, Grant, Permission, Scope, grants
from ringfence.secret import Secret
from tests.azure import golden

ENDPOINT = "https://a.blob.core.windows.net"


@pytest.mark.parametrize("mode", AccessMode)
def test_the_sas_of_a_mode_are_as_they_were(mode: AccessMode) -> None:
    assert golden.document(mode) == golden.path(mode).read_text()


def sas_of(mode: AccessMode, *, delegated: bool = False) -> dict[Area, dict[str, str]]:
    held = grants(Scope(*golden.IDS, mode))
    issued = golden.provider(delegated=delegated).issue(held, session="x")
    return {
        credential.grants[0].area: dict(parse_qsl(credential.fields["sas_token"].reveal()))
        for credential in issued
    }


def test_each_area_has_its_letters_and_no_other() -> None:
    wanted = {
        AccessMode.INVOKE_WRITE: {"app": "rcwdl", "user": "rcwdl", "tmp": "rcwdl", "logs": "cw"},
        AccessMode.INVOKE_READ: {"app": "rl", "user": "rcwdl", "tmp": "rcwdl", "logs": "cw"},
        AccessMode.INVOKE_NONE: {"user": "rcwdl", "tmp": "rcwdl", "logs": "cw"},
        AccessMode.EDIT_APP: {"meta": "rcwdl", "app": "rcwdl"},
        AccessMode.READ_APP: {"meta": "rl", "app": "rl"},
        AccessMode.READ_LOGS: {"logs": "rl"},
    }
    for mode, letters in wanted.items():
        found = {area.value: sas["sp"] for area, sas in sas_of(mode).items()}
        assert found == letters, mode


@given(st.sets(st.sampled_from(list(Permission)), min_size=1))
def test_letters_are_in_the_order_of_the_service(permissions: set[Permission]) -> None:
    letters = letters_of(frozenset(permissions))
    assert list(letters) == sorted(letters, key="racwdxyltmeop".index)
    assert set(letters) <= set("rcwdl")


@pytest.mark.parametrize("delegated", [False, True])
def test_a_sas_is_of_one_directory_by_https_without_a_start(delegated: bool) -> None:
    for area, sas in sas_of(AccessMode.INVOKE_WRITE, delegated=delegated).items():
        assert (sas["sr"], sas["spr"]) == ("d", "https"), area
        assert "st" not in sas
        assert sas["se"] == "2026-01-02T04:04:05Z", "whole seconds, rounded down"
        assert ("skoid" in sas) is delegated
    depths = {area.value: sas["sdd"] for area, sas in sas_of(AccessMode.INVOKE_WRITE).items()}
    assert depths == {"app": "2", "user": "4", "tmp": "5", "logs": "3"}


def grant(prefix: str) -> Grant:
    return Grant(Area.APP, BucketRole.CONTENT, Prefix(prefix), frozenset(Permission))


def rendered(prefix: str, container: str = "content", endpoint: str = ENDPOINT) -> DirectorySas:
    return directory_sas(grant(prefix), lambda _: container, endpoint)


@settings(max_examples=60)
@given(
    st.text(min_size=1, max_size=12).filter(lambda t: len(t.encode("utf-8", "ignore")) > 0),
    st.sampled_from(list(AccessMode)),
)
def test_every_id_is_one_segment_of_the_signed_path(raw: str, mode: AccessMode) -> None:
    try:
        held = grants(Scope(raw, raw, raw, mode))
    except ValueError:
        return
    for each in held:
        sas = directory_sas(each, lambda _: "content", ENDPOINT)
        assert f"{sas.directory}/" == each.prefix
        assert sas.depth == len(each.prefix.split("/")) - 1
        assert not sas.directory.endswith("/")


BAD_PREFIXES = (
    *("apps/../x/", "apps/./", "apps//x/", "apps/a*/", "apps/a b/", "apps/a\\b/", "apps/a?/"),
    *("apps/a#/", "apps/a&sp=r/", "apps/\u00e9/", "apps/a./", "apps/a\n/", "apps/a'/"),
)


@pytest.mark.parametrize("prefix", BAD_PREFIXES)
def test_a_prefix_that_is_no_encoded_one_is_refused(prefix: str) -> None:
    with pytest.raises(GrantNotEnforceable, match="prefix"):
        rendered(prefix)


@pytest.mark.parametrize("container", ["", "ab", "Content", "a--b", "-ab", "ab-", "a/b", "$root"])
def test_a_container_that_is_none_is_refused(container: str) -> None:
    with pytest.raises(GrantNotEnforceable, match="container"):
        rendered("apps/a/", container)


def test_http_is_allowed_to_an_http_endpoint_alone() -> None:
    assert rendered("apps/a/").protocol == "https"
    assert rendered("apps/a/", endpoint="http://127.0.0.1:1/a").protocol == "https,http"


def test_no_sas_outlives_its_delegation_key() -> None:
    long = golden.provider(delegated=True)
    long._ttl = timedelta(days=2)
    (credential, *_) = long.issue(grants(Scope(*golden.IDS)), session="x")
    assert credential.expires_at == golden.delegation_key().ends


def test_a_delegation_key_of_the_past_signs_nothing() -> None:
    late = golden.provider(delegated=True)
    late._clock = lambda: golden.NOW + timedelta(days=3)
    with pytest.raises(CredentialExpired, match="NTP"):
        late.issue(grants(Scope(*golden.IDS)), session="x")


@pytest.mark.parametrize("delegated", [False, True])
def test_a_url_is_of_one_blob_and_one_method(delegated: bool) -> None:
    app = grants(Scope(*golden.IDS))[0]
    letters = {}
    for method in NEEDS:
        url = golden.provider(delegated=delegated).sign(
            app,
            "a/b c",
            method,
            timedelta(minutes=5),
        )
        parts = urlsplit(url)
        sas = {name: value for name, (value,) in parse_qs(parts.query).items()}
        assert parts.netloc == "goldenaccount.blob.core.windows.net"
        assert parts.path == "/golden-content/apps/auth0%257Capp/a/b%20c"
        assert (sas["sr"], sas["spr"], sas["se"]) == ("b", "https", "2026-01-02T03:09:05Z")
        assert "sdd" not in sas
        letters[method] = sas["sp"]
    assert letters == {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}


@pytest.mark.parametrize("delegated", [False, True])
def test_nothing_shows_a_secret(delegated: bool) -> None:
    provider = golden.provider(delegated=delegated)
    credentials = provider.issue(grants(Scope(*golden.IDS)), session="x")
    shown = f"{credentials!r} {provider!r} {golden.delegation_key()!r} {vars(provider)!r}"
    assert golden.KEY not in shown
    assert "sig=" not in shown


def test_what_is_planned_is_what_is_issued() -> None:
    held = grants(Scope(*golden.IDS))
    provider = AzureProvider(
        AzureSettings("goldenaccount", Secret(golden.KEY)),
        Buckets("m-1", "c-1", "l-1"),
        credential_ttl=golden.LIFE,
        clock=lambda: golden.NOW,
        fence=lambda: None,
    )
    planned, issued = provider.plan(held), provider.issue(held, session="x")
    assert [p.grants for p in planned] == [c.grants for c in issued] == [(g,) for g in held]
    assert [p.enforcement for p in planned] == [c.enforcement for c in issued]
    assert all(e.exact for p in planned for e in p.enforcement)
