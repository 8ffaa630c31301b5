"""Stores, logs and runs on Google Cloud Storage, and a run of many token lifetimes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
)
from obstore.store import GCSStore

from ringfence.errors import (
    AccessDenied,
    BucketMissing,
    ConfigError,
    LayoutMismatch,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.layout import BucketRole
from ringfence.logs import LogEntry, LogWriter, read_log
from ringfence.providers._obstore import translate, translating
from ringfence.providers.base import Lease
from ringfence.providers.gcp.store import GcsAddress, open_elsewhere, open_gcs
from ringfence.scope import AccessMode, Area, Scope, grants
from ringfence.storage import Storage
from ringfence.vending import Vendor
from tests.gcp.clients import GoogleTenant
from tests.gcp.double.backend import Backend
from tests.gcp.google_client import Forbidden
from tests.gcp.installation import Installation, account, installed
from tests.gcp.raw import token_of

MIB = 1 << 20
LIFETIMES = 20
KEPT_SECONDS = 0.11
"""object_store asks for a credential once in 100 ms at most (client/token.rs)."""


@pytest.fixture
def stores(gcs: Installation, scope: Scope) -> Iterator[dict[Area, GCSStore]]:
    """The stores of a scope's areas, with its own credential."""
    provider = gcs.provider()
    held = grants(scope)
    (credential,) = provider.issue(held, session="store")
    lease = Lease(credential, credential.expires_at)
    yield {grant.area: provider.open(grant, lambda: lease) for grant in held}
    provider.close()


def keys(store: GCSStore) -> list[str]:
    return [meta["path"] for page in store.list() for meta in page]


# An area as an ordinary store ----------------------------------------------------------------


def test_an_area_is_an_ordinary_store(stores: dict[Area, GCSStore]) -> None:
    app = stores[Area.APP]
    app.put("folder/a name with %2F & ä.txt", b"hello")
    assert bytes(app.get("folder/a name with %2F & ä.txt").bytes()) == b"hello"
    assert bytes(app.get_range("folder/a name with %2F & ä.txt", start=1, end=3)) == b"el"
    app.copy("folder/a name with %2F & ä.txt", "b")
    app.rename("b", "c")
    assert keys(app) == ["c", "folder/a name with %2F & ä.txt"]
    assert app.list_with_delimiter()["common_prefixes"] == ["folder"]
    assert keys_after(app, "c") == ["folder/a name with %2F & ä.txt"]
    app.delete(["c", "folder/a name with %2F & ä.txt"])
    assert keys(app) == []
    with pytest.raises(FileNotFoundError):
        app.get("c")


def keys_after(store: GCSStore, offset: str) -> list[str]:
    return [meta["path"] for page in store.list(offset=offset) for meta in page]


def test_conditions_compare_generations(stores: dict[Area, GCSStore]) -> None:
    app = stores[Area.APP]
    first = app.put("x", b"1", mode="create")
    assert first["version"]
    with pytest.raises(AlreadyExistsError):
        app.put("x", b"2", mode="create")
    second = app.put("x", b"2", mode={"version": first["version"]})
    assert second["version"] != first["version"]
    with pytest.raises(PreconditionError):
        app.put("x", b"3", mode={"version": first["version"], "e_tag": second["e_tag"]})
    assert app.head("x")["version"] == second["version"]
    with pytest.raises(BaseError, match="Version required"):
        app.put("x", b"3", mode={"e_tag": second["e_tag"]})


def test_a_large_object_goes_in_parts_and_can_be_given_up(stores: dict[Area, GCSStore]) -> None:
    app = stores[Area.APP]
    body = bytes(range(256)) * 4096 * 11
    with obstore.open_writer(app, "large", buffer_size=5 * MIB) as writer:
        writer.write(body)
    assert bytes(app.get("large").bytes()) == body
    app.put("larger", body, chunk_size=5 * MIB)
    assert app.head("larger")["size"] == len(body)


def test_googles_client_uploads_in_chunks(gcs: Installation, scope: Scope) -> None:
    provider = gcs.provider()
    (credential,) = provider.issue(grants(scope), session="store")
    provider.close()
    tenant = GoogleTenant(gcs.front.url, gcs.buckets, token_of(credential))
    bucket = tenant._client.bucket(gcs.buckets.content)
    body = bytes(range(256)) * 4096
    own = f"apps/{scope.app_id}/chunks"
    bucket.blob(own, chunk_size=MIB // 4).upload_from_string(body)
    assert bucket.blob(own).download_as_bytes() == body
    with pytest.raises(Forbidden):
        bucket.blob(f"apps/{scope.app_id}0/x", chunk_size=MIB // 4).upload_from_string(body)


def test_many_keys_come_in_pages(backend: Backend) -> None:
    with installed(backend) as made:
        made.world.page = 10
        provider = made.provider()
        store = provider.open_bucket(BucketRole.CONTENT)
        names = [f"{number:02d}" for number in range(35)]
        for name in names:
            store.put(name, b"x")
        assert keys(store) == names
        pages = [line for line in made.world.asked if "continuation-token" in line]
        assert len(pages) == 3
        provider.close()


def test_a_log_can_be_added_to_and_nothing_else(stores: dict[Area, GCSStore]) -> None:
    logs = stores[Area.LOGS]
    logs.put("line", b"1")
    logs.put("another", b"2", mode="create")
    with obstore.open_writer(logs, "parts", buffer_size=5 * MIB) as writer:
        writer.write(b"x" * 6 * MIB)
    for attempt in (
        lambda: logs.put("line", b"changed"),
        lambda: logs.get("line"),
        lambda: logs.head("line"),
        lambda: logs.delete("line"),
        lambda: logs.copy("line", "copied"),
    ):
        with pytest.raises(PermissionDeniedError):
            attempt()
    with (
        pytest.raises(AccessDenied, match="AccessDenied, HTTP 403"),
        translating("list the log", "LOG_BUCKET"),
    ):
        keys(logs)


def test_a_store_elsewhere_is_the_same(gcs: Installation, scope: Scope) -> None:
    provider = gcs.provider()
    held = grants(scope)
    (credential,) = provider.issue(held, session="store")
    provider.close()
    address = provider.address(held[0])
    lease = Lease(credential, credential.expires_at)
    app = open_elsewhere(address, held[0].prefix, lambda: lease)
    app.put("x", b"1")
    assert keys(app) == ["x"]


def test_the_environment_says_nothing_to_a_store(
    gcs: Installation, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child has tokens and files of its own in its environment, for other tools."""
    monkeypatch.setenv("GOOGLE_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "another")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    test_a_store_elsewhere_is_the_same(gcs, scope)


# Failures in words ---------------------------------------------------------------------------


def failure(address: GcsAddress) -> RingfenceError:
    ends = datetime.now(UTC) + timedelta(hours=1)
    store = open_gcs(address, None, lambda: {"token": "made-up", "expires_at": ends})
    with pytest.raises(BaseError) as caught:
        store.put("x", b"", mode="create")
    return translate(caught.value, what="store an object", bucket="CONTENT_BUCKET acme")


def test_an_unknown_token_is_refused(gcs: Installation) -> None:
    error = failure(GcsAddress(gcs.buckets.content, gcs.front.url))
    assert isinstance(error, AccessDenied)
    assert "AuthenticationRequired, HTTP 401" in str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [("GOOGLE_SERVICE_ACCOUNT", "/nowhere.json"), ("GOOGLE_SERVICE_ACCOUNT_KEY", "{}")],
)
def test_a_variable_of_obstores_own_that_stops_it_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        failure(GcsAddress("acme", "http://127.0.0.1:1"))
    assert [problem.variable for problem in caught.value.problems] == [name]


def test_an_endpoint_out_of_reach_names_its_variable() -> None:
    error = failure(GcsAddress("acme", "http://127.0.0.1:1"))
    assert isinstance(error, StorageUnreachable)
    assert "GCS_ENDPOINT" in str(error)


async def test_the_layout_is_written_once_and_binds_everybody(backend: Backend) -> None:
    with installed(backend) as made:
        async with Storage.from_env(made.env):
            pass
        with pytest.raises(LayoutMismatch):
            async with Storage.from_env({**made.env, "RINGFENCE_ID_CASE": "folded"}):
                pass


async def test_a_bucket_that_is_not_there_is_named(gcs: Installation) -> None:
    with pytest.raises(BucketMissing, match="acme-missing"):
        async with Storage.from_env({**gcs.env, "GCP_META_BUCKET": "acme-missing"}):
            pass


async def test_what_is_wrong_with_the_account_comes_through_obstore(gcs: Installation) -> None:
    """A store asks for the token by itself, so what is raised then goes through obstore's text."""
    gone = "http://127.0.0.1:1"
    env = {**gcs.env, "GOOGLE_APPLICATION_CREDENTIALS_JSON": account(gone)}
    with pytest.raises(StorageUnreachable, match=r"127\.0\.0\.1:1/token cannot be reached"):
        async with Storage.from_env(env):
            pass
    row = json.loads(account(gone))
    row["private_key"] = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\n"
    env = {**gcs.env, "GOOGLE_APPLICATION_CREDENTIALS_JSON": json.dumps(row)}
    with pytest.raises(ConfigError) as caught:
        async with Storage.from_env(env):
            pass
    assert caught.value.problems[0].variable == "GOOGLE_APPLICATION_CREDENTIALS_JSON"
    assert "SECRET" not in str(caught.value)


# Runs ----------------------------------------------------------------------------------------


async def test_a_run_works_in_its_own_places_and_leaves_a_record_and_a_log(
    gcs: Installation, tag: str
) -> None:
    async with Storage.from_env(gcs.env) as storage:
        async with storage.run(app=f"{tag}-billing", user="auth0|42") as run:
            await run.app.put_async("invoices/1.json", b"{}")
            run.log.info("stored", invoice=1)
            await run.emit({"step": 1}, {"rows": "x" * 2 * MIB})
        record = await storage.state.get(run.record.id)
        assert record is not None
        assert record.status == "COMPLETED"
        scope = Scope(f"{tag}-billing", "auth0|42", run.record.id, AccessMode.READ_LOGS)
        lines = [entry async for entry in read_log(storage.open(scope).logs)]
        assert [(line.text, line.fields) for line in lines] == [("stored", {"invoice": 1})]


async def test_a_logs_segments_are_read_in_order_by_who_may(
    gcs: Installation, scope: Scope
) -> None:
    provider = gcs.provider()
    vendor = Vendor(provider)
    writing = grants(scope)
    logs = next(grant for grant in writing if grant.area is Area.LOGS)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    source = vendor.source(writing, Area.LOGS, session="log")
    for writer in [LogWriter(provider.open(logs, source), flush_seconds=0) for _ in range(2)]:
        for number in range(20):
            await writer.append(LogEntry(at + timedelta(seconds=number), "stdout", f"{number}"))
            await asyncio.sleep(0)
        await writer.close()
    (reading,) = grants(Scope(scope.app_id, scope.user_id, scope.run_id, AccessMode.READ_LOGS))
    source = vendor.source((reading,), Area.LOGS, session="log")
    texts = [entry.text async for entry in read_log(provider.open(reading, source))]
    assert texts == [str(number) for number in range(20) for _ in range(2)]
    vendor.close()
    provider.close()


def test_a_store_outlives_twenty_tokens(backend: Backend) -> None:
    """On one store, for 20 lives of a token, with an end that the double enforces."""
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    life = timedelta(hours=1)
    with installed(backend, clock=lambda: now[0]) as made:
        provider = made.provider(lambda: now[0])
        vendor = Vendor(provider, clock=lambda: now[0])
        held = grants(Scope("app", "user", "run"))
        source = vendor.source(held, Area.APP, session="long")
        # obstore's own cache goes by the real time, in which next to nothing passes here: so it is
        # told that a token is over at once. It keeps one for a moment all the same.
        store = provider.open(held[0], lambda: Lease(source().credential, datetime.now(UTC)))
        steps = LIFETIMES * 2
        for step in range(steps):
            store.put(f"{step:04d}", b"x")
            assert bytes(store.get(f"{step:04d}").bytes()) == b"x"
            now[0] += life / 2
            time.sleep(KEPT_SECONDS)
        assert len(keys(store)) == steps
        tokens = len(made.tokens.exchanges)
        assert LIFETIMES <= tokens <= 5 * LIFETIMES, "renewed at half of what each had left"
        assert made.tokens.grants >= LIFETIMES
        refused = [line for line in made.world.asked if line.startswith("POST /v1/token")]
        assert len(refused) == tokens, "no exchange was refused"
        vendor.close()
        provider.close()
