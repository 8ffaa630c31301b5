"""What an R2 credential says: the claims for each mode, to the byte, and what cannot be said."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence._registry import open_provider
from ringfence.config import Buckets, R2Mint, R2Settings, Settings
from ringfence.errors import ConfigError, GrantNotEnforceable
from ringfence.layout import BucketRole, Prefix
from ringfence.providers.base import Credential
from ringfence.providers.r2.fence import OPERATIONS, NonEmptyPrefixes, R2Fence, fences
from ringfence.providers.r2.provider import R2Provider
from ringfence.providers.r2.sign import audience
from ringfence.scope import AccessMode, Area, Grant, Permission, Scope, grants
from ringfence.secret import Secret
from ringfence.vending import refuse_coarse
from tests.r2.installation import ACCOUNT, PARENT_KEY, PARENT_SECRET
from tests.r2.sessions import ACTIONS

GOLDEN: Final = Path(__file__).parent / "golden"
NOW: Final = datetime(2026, 11, 24, 12, 0, 0, 250_000, UTC)
TTL: Final = timedelta(hours=1)
HOST: Final = f"{ACCOUNT}.eu.r2.cloudflarestorage.com"
SCOPE: Final = Scope("app1", "auth0|User", "run1")
BUCKETS: Final = Buckets("flow-meta", "flow-content", "flow-logs")
_ONE: Final = frozenset({Permission.READ})

modes = pytest.mark.parametrize("mode", AccessMode)


def provider(mint: R2Mint = R2Mint.LOCAL, **more: Any) -> R2Provider:
    settings = R2Settings(
        PARENT_KEY,
        Secret(PARENT_SECRET),
        f"https://{HOST}",
        account_id=ACCOUNT,
        api_token=Secret("token"),
        mint=mint,
    )
    cloud = replace(settings, **more)
    return R2Provider(cloud, BUCKETS, credential_ttl=TTL, clock=lambda: NOW)


def token_of(credential: Credential) -> str:
    whole = base64.b64decode(credential.fields["token"].reveal(), validate=True).decode()
    assert whole.startswith("jwt/")
    return whole.removeprefix("jwt/")


def verified(credential: Credential) -> dict[str, Any]:
    """The claims, by an independent reader of tokens."""
    claims: dict[str, Any] = jwt.decode(
        token_of(credential),
        PARENT_SECRET,
        algorithms=["HS256"],
        audience=HOST,
        issuer=PARENT_KEY,
        options={"verify_exp": False, "verify_iat": False},
    )
    return claims


# --- what is signed --------------------------------------------------------------------------


@modes
def test_the_claims_of_each_mode(mode: AccessMode) -> None:
    """Held against what stands in ``golden/``, so that no change of a fence goes unseen."""
    issued = provider().issue(grants(replace(SCOPE, mode=mode)), session="x")
    found = [verified(credential) for credential in issued]
    assert found == json.loads((GOLDEN / f"{mode}.json").read_text())


@modes
def test_the_requests_of_each_mode(mode: AccessMode) -> None:
    documents = provider(R2Mint.API).plan(grants(replace(SCOPE, mode=mode)))
    found = [json.loads(document.text) for document in documents]
    assert found == json.loads((GOLDEN / f"{mode}.api.json").read_text())


def test_the_parts_are_as_cloudflare_derives_them() -> None:
    credential = provider().issue(grants(SCOPE), session="x")[0]
    token = token_of(credential)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert credential.fields["access_key_id"].reveal() == PARENT_KEY
    secret = credential.fields["secret_access_key"].reveal()
    assert secret == hashlib.sha256(token.encode()).hexdigest()


def test_the_times_are_the_tokens_own() -> None:
    credential = provider().issue(grants(SCOPE), session="x")[0]
    claims = verified(credential)
    assert credential.issued_at == NOW
    assert credential.expires_at == datetime.fromtimestamp(claims["exp"], UTC)
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["iat"] <= NOW.timestamp(), "never from the future"


@modes
def test_the_plan_is_what_is_signed(mode: AccessMode) -> None:
    held = grants(replace(SCOPE, mode=mode))
    planned = [json.loads(document.text) for document in provider().plan(held)]
    times = {"iat", "exp"}
    issued = provider().issue(held, session="x")
    signed = [
        {name: value for name, value in verified(each).items() if name not in times}
        for each in issued
    ]
    assert planned == signed
    assert [each.grants for each in provider().plan(held)] == [each.grants for each in issued]


@modes
def test_together_they_cover_exactly_the_grants(mode: AccessMode) -> None:
    held = grants(replace(SCOPE, mode=mode))
    issued = provider().issue(held, session="x")
    assert sorted((g for each in issued for g in each.grants), key=held.index) == list(held)
    for each in issued:
        assert len({grant.bucket for grant in each.grants}) == 1
        assert len({grant.permissions for grant in each.grants}) == 1


def test_nothing_is_shown_that_is_secret() -> None:
    made = provider()
    credential = made.issue(grants(SCOPE), session="x")[0]
    shown = repr(credential) + repr(made) + "".join(d.text for d in made.plan(grants(SCOPE)))
    assert PARENT_SECRET not in shown
    assert credential.fields["token"].reveal() not in shown


def test_the_session_token_is_for_the_endpoint_alone() -> None:
    for endpoint, host in (
        (f"https://{ACCOUNT}.r2.cloudflarestorage.com", f"{ACCOUNT}.r2.cloudflarestorage.com"),
        (f"https://{HOST}:443", HOST),
        ("http://127.0.0.1:80", "127.0.0.1"),
        ("http://127.0.0.1:8443", "127.0.0.1:8443"),
        ("https://r2.example.test:80", "r2.example.test:80"),
    ):
        assert audience(endpoint) == host


def test_the_account_is_read_from_the_endpoint_where_it_stands_there() -> None:
    credential = provider(account_id=None, api_token=None).issue(grants(SCOPE), session="x")[0]
    assert verified(credential)["sub"] == ACCOUNT


def test_without_an_account_nothing_is_signed() -> None:
    lost = provider(account_id=None, api_token=None, endpoint="https://r2.example.test")
    with pytest.raises(GrantNotEnforceable, match="R2_ACCOUNT_ID"):
        lost.issue(grants(SCOPE), session="x")
    with pytest.raises(GrantNotEnforceable, match="R2_ACCOUNT_ID"):
        lost.plan(grants(SCOPE))


# --- what may be done ------------------------------------------------------------------------


def test_only_operations_that_r2_knows() -> None:
    assert {name for name, _ in OPERATIONS} <= ACTIONS
    assert ACTIONS - {n for n, _ in OPERATIONS} == {"GetBucketLocation", "ListMultipartUploads"}


def test_who_may_only_write_reads_nothing_in_any_way() -> None:
    """A copy reads its source, so it is granted to who may read alone."""
    logs = next(grant for grant in grants(SCOPE) if grant.area is Area.LOGS)
    (fence,) = fences((logs,), BUCKETS.of)
    assert set(fence.operations) == {
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
        "ListParts",
    }


@given(st.sets(st.sampled_from(Permission), min_size=1))
def test_no_permission_means_more_than_it_says(permissions: set[Permission]) -> None:
    grant = Grant(Area.APP, BucketRole.CONTENT, Prefix("apps/a/"), frozenset(permissions))
    (fence,) = fences((grant,), BUCKETS.of)
    for name, needs in OPERATIONS:
        assert (name in fence.operations) == (needs <= permissions)
    assert fence.operations, "an empty list of operations could be read as all of them"
    assert permissions <= fence.api_permission.allows
    assert not fence.api_permission.value.startswith("admin")
    (enforced,) = fence.by_api
    assert enforced.exact == (permissions == set(Permission))


def test_strict_refuses_what_the_api_cannot_say_and_takes_what_is_signed_here() -> None:
    refuse_coarse(provider().plan(grants(SCOPE)))
    with pytest.raises(GrantNotEnforceable, match=r"logs: .* may also read, delete and list under"):
        refuse_coarse(provider(R2Mint.API).plan(grants(SCOPE)))
    refuse_coarse(provider(R2Mint.API).plan(grants(replace(SCOPE, mode=AccessMode.EDIT_APP))))


# --- an empty list of prefixes ---------------------------------------------------------------


def test_no_prefixes_at_all_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        NonEmptyPrefixes()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="no grants"):
        fences((), BUCKETS.of)
    with pytest.raises(ValueError, match="no grants"):
        provider().issue((), session="x")
    with pytest.raises(ValueError, match="no grants"):
        provider(R2Mint.API).issue((), session="x")
    with pytest.raises(TypeError):
        R2Fence(grants(SCOPE), "bucket", permissions=_ONE)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "prefix", ["", "/", "apps", "apps/a", "/apps/a/", "apps//a/", "apps/../", "./a/", "a b/", "*/"]
)
def test_a_prefix_that_could_open_more_cannot_be_written(prefix: str) -> None:
    with pytest.raises(GrantNotEnforceable):
        NonEmptyPrefixes(Prefix(prefix))
    with pytest.raises(GrantNotEnforceable):
        NonEmptyPrefixes(Prefix("apps/a/"), (Prefix(prefix),))


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_ids_stay_in_their_segment_of_each_prefix(app: str, user: str) -> None:
    try:
        held = grants(Scope(app, user, "r"))
    except ValueError:
        return
    for fence in fences(held, BUCKETS.of):
        assert list(fence.prefixes) == [grant.prefix for grant in fence.grants]
        assert all(prefix.endswith("/") for prefix in fence.prefixes)


ENV: Final = {
    "STORAGE_PROVIDER": "r2",
    "META_BUCKET": "meta",
    "CONTENT_BUCKET": "content",
    "LOG_BUCKET": "logs",
    "R2_ACCESS_KEY_ID": PARENT_KEY,
    "R2_SECRET_ACCESS_KEY": PARENT_SECRET,
    "R2_ENDPOINT": f"https://{HOST}",
}


def test_the_least_settings_sign_locally() -> None:
    settings = Settings.from_env(ENV)
    opened = open_provider(settings, lambda: NOW)
    assert opened.name == "r2"
    assert verified(opened.issue(grants(SCOPE), session="x")[0])["sub"] == ACCOUNT
    assert isinstance(settings.cloud, R2Settings)
    assert settings.cloud.mint is R2Mint.LOCAL
    assert settings.cloud.api_url == "https://api.cloudflare.com"


def test_an_account_alone_is_enough_to_sign_locally() -> None:
    local = {"RINGFENCE_R2_MINT": "local", "R2_ACCOUNT_ID": ACCOUNT}
    elsewhere = ENV | local | {"R2_ENDPOINT": "https://r2.example.test"}
    opened = open_provider(Settings.from_env(elsewhere), lambda: NOW)
    (claims,) = (json.loads(d.text) for d in opened.plan(grants(SCOPE)[:1]))
    assert (claims["sub"], claims["aud"]) == (ACCOUNT, "r2.example.test")


@pytest.mark.parametrize(
    "url", ["api.cloudflare.com", "https://x/client/v4", "ftp://x", "https://u@x"]
)
def test_the_apis_url_is_a_host(url: str) -> None:
    with pytest.raises(ConfigError, match="RINGFENCE_R2_API_URL"):
        Settings.from_env(ENV | {"RINGFENCE_R2_API_URL": url})
