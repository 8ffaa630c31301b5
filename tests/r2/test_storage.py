"""What an execution does with its workspace on R2: stores, URLs, logs, state, and long runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
)
from obstore.store import ObjectStore

from ringfence import Scope, Storage
from ringfence.config import Settings
from ringfence.errors import (
    AccessDenied,
    ConfigError,
    GrantNotEnforceable,
    LayoutMismatch,
    UsageError,
)
from ringfence.layout import BucketRole
from ringfence.logs import LogEntry, read_log
from ringfence.providers._obstore import translating
from ringfence.scope import AccessMode, Area
from ringfence.state.base import StateStore
from ringfence.state.s3 import S3StateStore
from ringfence.testing.state import ManualClock, StateStoreConformance
from tests.embedded.support import RunningEngine
from tests.isolation.wire import Reply
from tests.r2.front import utc_now
from tests.r2.installation import PARENT_KEY, R2Installation, Tls, installed, make_provider

pytestmark = pytest.mark.engine

PART = 5 << 20
both = pytest.mark.parametrize("installation", ["local", "by_api"], indirect=True)


# --- stores ----------------------------------------------------------------------------------


async def use(store: ObjectStore) -> None:
    """All that one does with a store on an area that one may read, write, delete and list."""
    await store.put_async("a/one", b"1")
    await store.put_async("a/two", b"22")
    assert bytes(await (await store.get_async("a/one")).bytes_async()) == b"1"
    assert bytes(await store.get_range_async("a/two", start=1, end=2)) == b"2"
    assert (await store.head_async("a/two"))["size"] == 2
    assert [row["path"] for row in await store.list("a").collect_async()] == ["a/one", "a/two"]
    level = await store.list_with_delimiter_async()
    assert list(level["common_prefixes"]) == ["a"]
    await store.copy_async("a/one", "b/three")
    await store.rename_async("b/three", "b/four")
    assert [row["path"] for row in await store.list("b").collect_async()] == ["b/four"]
    with pytest.raises(AlreadyExistsError):
        await store.put_async("a/one", b"x", mode="create")
    version = (await store.head_async("a/one"))["e_tag"]
    await store.put_async("a/one", b"new", mode={"e_tag": version})
    with pytest.raises(PreconditionError):
        await store.put_async("a/one", b"newer", mode={"e_tag": version})
    large = b"".join(bytes([n]) * PART for n in range(3))
    await store.put_async("large", large, chunk_size=PART)
    assert bytes(await (await store.get_async("large")).bytes_async()) == large
    async with obstore.open_writer_async(store, "streamed") as writer:
        for _ in range(23):  # no multiple of the writer's buffer of 10 MiB
            await writer.write(b"s" * (1 << 20))
    assert (await store.head_async("streamed"))["size"] == 23 << 20
    await store.delete_async(["a/one", "a/two", "b/four", "large", "streamed"])
    assert await store.list().collect_async() == []


@both
async def test_a_workspace_is_used_as_any(installation: R2Installation, scope: Scope) -> None:
    async with Storage(installation.settings) as storage:
        workspace = await storage.open(scope)
        for area in (Area.APP, Area.USER, Area.TMP):
            await use(workspace.store(area))


async def test_a_workspace_is_used_as_any_over_tls(
    over_tls: R2Installation, scope: Scope, monkeypatch: pytest.MonkeyPatch, tls: Tls
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    async with Storage(over_tls.settings) as storage:
        await use(storage.open(scope).app)


async def test_logs_are_written_and_no_more(local: R2Installation, scope: Scope) -> None:
    async with Storage(local.settings) as storage:
        logs = storage.open(scope).logs
        await logs.put_async("line", b"1")
        large = b"x" * (2 * PART + 1)
        await logs.put_async("large", large, chunk_size=PART)
        for attempt in (
            logs.get_async("line"),
            logs.list().collect_async(),
            logs.delete_async("line"),
            logs.copy_async("line", "copy"),
        ):
            with pytest.raises(BaseError) as caught:
                await attempt
            assert "AccessDenied" in str(caught.value)
        with pytest.raises(PermissionDeniedError):
            await logs.head_async("line")
        read = storage.open(Scope(scope.app_id, scope.user_id, scope.run_id, AccessMode.READ_LOGS))
        assert bytes(await (await read.logs.get_async("large")).bytes_async()) == large
        with pytest.raises(PermissionDeniedError):
            await read.logs.put_async("line", b"evil")


async def test_the_app_is_read_alone_where_it_is_only_to_be_read(
    local: R2Installation, scope: Scope
) -> None:
    """Two credentials on one bucket: each area has its own."""
    reads = Scope(scope.app_id, scope.user_id, scope.run_id, AccessMode.INVOKE_READ)
    async with Storage(local.settings) as storage:
        await storage.open(scope).app.put_async("shared", b"1")
        workspace = storage.open(reads)
        assert bytes(await (await workspace.app.get_async("shared")).bytes_async()) == b"1"
        with pytest.raises(PermissionDeniedError):
            await workspace.app.put_async("shared", b"evil")
        await use(workspace.user)
        assert len(await storage.vend(reads)) == 3


async def test_strict_refuses_the_api_and_takes_local_signing(
    r2_engine: RunningEngine, scope: Scope
) -> None:
    with installed(r2_engine, "api", RINGFENCE_STRICT="true") as made:
        async with Storage(made.settings) as storage:
            with pytest.raises(GrantNotEnforceable, match="may also read, delete and list under"):
                await storage.vend(scope)
            assert made.api.calls == []
            edits = Scope(scope.app_id, scope.user_id, mode=AccessMode.EDIT_APP)
            assert len(await storage.vend(edits)) == 2
    with installed(r2_engine, "local", RINGFENCE_STRICT="true") as made:
        async with Storage(made.settings) as storage:
            assert all(e.exact for c in await storage.vend(scope) for e in c.enforcement)


async def test_the_ids_are_as_the_installation_has_them(r2_engine: RunningEngine) -> None:
    with installed(r2_engine, "local") as made:
        async with Storage(made.settings):
            pass
    with installed(r2_engine, "local", RINGFENCE_ID_CASE="folded") as folded:
        other = Storage(folded.settings)
        with pytest.raises(LayoutMismatch):
            await other.__aenter__()


@pytest.mark.parametrize(
    ("variable", "value"),
    [("R2_ACCESS_KEY_ID", "e" * 32), ("R2_SECRET_ACCESS_KEY", "d" * 64)],
)
async def test_keys_that_are_wrong_are_named(
    r2_engine: RunningEngine, variable: str, value: str
) -> None:
    with installed(r2_engine, "local") as made:
        settings = Settings.from_env(made.env | {variable: value})
        with pytest.raises(ConfigError, match=variable):
            async with Storage(settings):
                pass


# --- URLs for those without credentials ------------------------------------------------------


def fetch(installation: R2Installation, method: str, url: str, body: bytes = b"") -> Reply:
    at = url.removeprefix(installation.front.endpoint)
    assert at != url
    return installation.wire(None).send(method, at, body)


@both
async def test_a_url_is_the_installations_and_for_one_object(
    installation: R2Installation, scope: Scope
) -> None:
    async with Storage(installation.settings) as storage:
        put = await storage.sign(scope, "app", "report.txt", method="PUT")
        assert fetch(installation, "PUT", put, b"figures").status == 200
        get = await storage.sign(scope, "app", "report.txt")
        assert fetch(installation, "GET", get).body == b"figures"
        for url in (put, get):
            names = {name.lower() for name in parse_qs(urlsplit(url).query)}
            assert "x-amz-security-token" not in names
            assert PARENT_KEY in url
        assert fetch(installation, "DELETE", get).code == "SignatureDoesNotMatch"
        assert fetch(installation, "PUT", get, b"evil").code == "SignatureDoesNotMatch"
        other = get.replace("report.txt", "other.txt")
        assert fetch(installation, "GET", other).code == "SignatureDoesNotMatch"
        copying = {"x-amz-copy-source": f"/{installation.buckets.content}/apps/x/y"}
        at = put.removeprefix(installation.front.endpoint)
        assert installation.wire(None).send("PUT", at, b"", copying).status == 403


async def test_no_url_is_made_for_what_is_not_granted(local: R2Installation, scope: Scope) -> None:
    async with Storage(local.settings) as storage:
        for method in ("GET", "HEAD", "DELETE"):
            with pytest.raises(AccessDenied):
                await storage.sign(scope, "logs", "line", method=method)
        reads = Scope(scope.app_id, scope.user_id, scope.run_id, AccessMode.INVOKE_READ)
        with pytest.raises(AccessDenied):
            await storage.sign(reads, "app", "x", method="PUT")
        with pytest.raises(UsageError):
            await storage.sign(scope, "meta", "x")
        for path in ("../app10/x", "a/../../x", "/x", "x/", "a//b", "..", "a\\b", ""):
            with pytest.raises(UsageError):
                await storage.sign(scope, "app", path)
        with pytest.raises(UsageError):
            await storage.sign(scope, "app", "x", expires_in=timedelta(days=1))


def test_who_has_a_sessions_token_has_its_secret(local: R2Installation, scope: Scope) -> None:
    """Why no URL is made with a fenced credential: its query would hold this token."""
    fields = local.credential(scope, Area.APP).fields
    token = b64decode(fields["token"].reveal()).decode().removeprefix("jwt/")
    assert hashlib.sha256(token.encode()).hexdigest() == fields["secret_access_key"].reveal()


# --- state and logs --------------------------------------------------------------------------


def open_state(at: R2Installation, clock: ManualClock) -> StateStore:
    meta = at.provider.open_bucket(BucketRole.META)
    return S3StateStore(meta, bucket=at.buckets.meta, clock=clock)


class TestState(StateStoreConformance):
    """Run records and events in the meta bucket, through R2."""

    @pytest.fixture
    async def store(self, local: R2Installation, clock: ManualClock) -> AsyncIterator[StateStore]:
        store = S3StateStore(
            local.provider.open_bucket(BucketRole.META), bucket=local.buckets.meta, clock=clock
        )
        yield store
        await store.close()


@both
async def test_a_run_keeps_its_record_and_its_log(installation: R2Installation, tag: str) -> None:
    async with Storage(installation.settings) as storage:
        async with storage.run(app=f"{tag}-app", user="auth0|42") as run:
            await run.app.put_async("invoices/1.json", b"{}")
            run.log.info("stored", invoice=1)
            await run.emit({"n": 1})
        record = await storage.state.get(run.id)
        assert record.status == "COMPLETED"
        reads = Scope(f"{tag}-app", "auth0|42", run.id, AccessMode.READ_LOGS)
        lines = [line async for line in read_log(storage.open(reads).logs)]
    assert [(line.text, line.fields) for line in lines] == [("stored", {"invoice": 1})]


async def test_a_run_keeps_to_one_write_a_second_of_a_key(
    r2_engine: RunningEngine, tag: str
) -> None:
    """A short run writes its record several times in a second; R2 has it wait, and it does."""
    with installed(r2_engine, "local") as made:
        made.front.one_write_a_second = True
        async with Storage(made.settings) as storage:
            async with storage.run(app=f"{tag}-app", user="user") as run:
                await run.progress(50, "half")
                await run.emit({"n": 1})
            record = await storage.state.get(run.id)
        assert record.status == "COMPLETED"


# --- long runs -------------------------------------------------------------------------------


TURNS = 24


@pytest.mark.parametrize("mint", ["local", "api"])
async def test_a_long_run_goes_on_over_many_credentials(
    r2_engine: RunningEngine, tag: str, mint: str
) -> None:
    """Each turn outlives a credential. Tokens are held to the clock that is moved, signatures to
    the real one."""
    clock = ManualClock(utc_now() - timedelta(days=30))
    ttl = timedelta(minutes=15)
    with installed(r2_engine, mint, RINGFENCE_CREDENTIAL_TTL="900") as made:
        made.front.identities.now = clock
        provider = make_provider(made.settings, clock, ttl)
        tokens: list[str] = []
        async with Storage(made.settings, clock=clock, provider=provider) as storage:
            async with storage.run(app=f"{tag}-app", user="user") as run:
                for turn in range(TURNS):
                    clock.advance(ttl.total_seconds() + 1)
                    await run.app.put_async(f"turn-{turn}", b"x")
                    await run.user.put_async(f"turn-{turn}", b"x")
                    await run.workspace.store(Area.LOGS).put_async(f"by-hand/{turn}", b"x")
                    run.log.info(f"turn {turn}")
                    (credential, *_) = await storage.vend(run.workspace.scope)
                    tokens.append(credential.fields["token"].reveal())
                found = await run.app.list().collect_async()
            assert len(found) == TURNS
            assert len(set(tokens)) == TURNS
            assert all(one != two for one, two in pairwise(tokens))
            reads = Scope(f"{tag}-app", "user", run.id, AccessMode.READ_LOGS)
            lines: list[LogEntry] = [e async for e in read_log(storage.open(reads).logs)]
        assert [line.text for line in lines] == [f"turn {n}" for n in range(TURNS)]


async def test_a_credential_that_is_over_opens_nothing(
    r2_engine: RunningEngine, scope: Scope
) -> None:
    with installed(r2_engine, "local", ttl=timedelta(seconds=1)) as made:
        credential = made.credential(scope, Area.APP)
        wire = made.holding(credential)
        at = f"/{made.buckets.content}/apps/{scope.app_id}/x"
        assert wire.send("PUT", at, b"x").status == 200
        await asyncio.sleep(1.1)
        assert (wire.send("GET", at).status, wire.send("GET", at).code) == (401, "Unauthorized")


async def test_what_an_ended_token_meets_is_no_fault_of_the_keys(
    local: R2Installation, scope: Scope
) -> None:
    """R2's one code for all that it cannot authenticate, in a sentence that names no secret."""
    from obstore.store import S3Store

    credential = local.credential(scope, Area.APP)
    store = S3Store(
        local.buckets.content,
        endpoint=local.front.endpoint,
        region="auto",
        access_key_id=PARENT_KEY,
        secret_access_key="0" * 64,
        session_token=credential.fields["token"].reveal(),
        client_options={"allow_http": True},
    )
    with pytest.raises(ConfigError) as caught, translating("read", "CONTENT_BUCKET x"):
        await store.get_async(f"apps/{scope.app_id}/x")
    assert "R2_SECRET_ACCESS_KEY" in str(caught.value)
    assert json.dumps(str(caught.value)).find("0" * 64) < 0
