"""Run records, events and logs on Azure: every engine's suites, with no order relied on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from obstore.store import MemoryStore, ObjectStore

from ringfence._registry import open_state
from ringfence.config import Settings
from ringfence.errors import AccessDenied
from ringfence.layout import BucketRole, IdCase
from ringfence.logs import LogEntry, LogWriter, _segments, _writers, read_log
from ringfence.scope import AccessMode, Area, Scope
from ringfence.state.base import StateStore
from ringfence.state.s3 import S3StateStore
from ringfence.storage import Storage
from ringfence.testing.state import ManualClock, StateStoreConformance, check_against_model
from tests.azure.front import Front
from tests.azure.installation import Installation, by_key, by_principal, environment


def state_on(bucket: ObjectStore, clock: ManualClock) -> StateStore:
    return S3StateStore(bucket, bucket="meta", ordered=False, clock=clock)


class TestByKey(StateStoreConformance):
    """With the account's key."""

    @pytest.fixture
    def bucket(self, keyed: Installation) -> ObjectStore:
        return keyed.provider.open_bucket(BucketRole.META)

    @pytest.fixture
    def store(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return state_on(bucket, clock)

    @pytest.fixture
    def rival(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return state_on(bucket, clock)


@pytest.mark.soak
class TestByPrincipal(TestByKey):
    """As a principal of Entra ID, whose every request has a token."""

    @pytest.fixture
    def bucket(self, delegated: Installation) -> ObjectStore:
        return delegated.provider.open_bucket(BucketRole.META)


@pytest.mark.parametrize(
    ("lives", "steps"),
    [(2, 20), pytest.param(40, 40, marks=pytest.mark.soak)],
    ids=["short", "soak"],
)
def test_beside_a_model(front: Front, lives: int, steps: int) -> None:
    installation = by_key(front)
    bucket = installation.provider.open_bucket(BucketRole.META)

    async def on_azure(clock: ManualClock) -> StateStore:
        return state_on(bucket, clock)

    check_against_model(on_azure, id_case=IdCase.EXACT, lives=lives, steps=steps)
    installation.provider.close()


def test_the_settings_rely_on_no_order(front: Front) -> None:
    settings = Settings.from_env(environment(front, key=True))
    store = open_state(settings, lambda: None, lambda: datetime.now(UTC))  # type: ignore[arg-type,return-value]
    assert isinstance(store, S3StateStore)
    assert store._ordered is False


async def test_a_log_is_written_by_the_run_and_read_by_who_may(
    installation: Installation, scope: Scope
) -> None:
    settings = Settings.from_env(installation.env)
    async with Storage(settings, provider=installation.provider) as storage:
        running = await storage.open(scope)
        start = datetime(2026, 1, 1, tzinfo=UTC)
        written = [
            LogEntry(start + timedelta(milliseconds=n), "stdout", f"line {n}") for n in range(200)
        ]
        for part in (written[:120], written[120:]):
            writer = LogWriter(running.logs, flush_seconds=0)
            for entry in part:
                await writer.append(entry)
            await writer.close()
        reader = storage.open(
            Scope(scope.app_id, scope.user_id, scope.run_id, AccessMode.READ_LOGS)
        )
        read = [entry async for entry in read_log(reader.logs)]
        assert [entry.text for entry in read] == [entry.text for entry in written]
        with pytest.raises(AccessDenied):
            _ = [entry async for entry in read_log(running.logs)]


class WithoutOffset:
    """A service of a version that does not read where a listing is to start."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def list(self, prefix: str, **_: Any) -> Any:
        return self.store.list(prefix)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


async def test_a_log_is_read_once_where_a_listing_starts_at_its_beginning() -> None:
    store: Any = WithoutOffset()
    position: dict[str, str] = {}
    writer = LogWriter(store, flush_seconds=0)
    await writer.append(LogEntry(datetime(2026, 1, 1, tzinfo=UTC), "stdout", "once"))
    await writer.close()
    (name,) = await _writers(store)
    assert [entry.text async for entry in _segments(store, name, position)] == ["once"]
    assert [entry.text async for entry in _segments(store, name, position)] == []


async def test_a_run_from_beginning_to_end(installation: Installation, tag: str) -> None:
    """Storage as its users have it: record, workspace, events and log, all of it on Azure."""
    settings = Settings.from_env(installation.env)
    async with Storage(settings, provider=installation.provider) as storage:
        async with storage.run(app=f"{tag}-app", user="auth0|42") as run:
            await run.app.put_async("invoices/1.json", b"{}")
            await run.app.rename_async("invoices/1.json", "invoices/2.json")
            run.log.info("stored", invoice=2)
            scope = Scope(f"{tag}-app", "auth0|42", run.id)
            url = await storage.sign(scope, Area.APP, "invoices/2.json")
            assert "sr=b" in url
            await run.app.delete_async("invoices/2.json")
        record = await storage.state.get(run.id)
        assert record is not None
        assert record.status.value == "COMPLETED"
        page = await storage.state.list(f"{tag}-app")
        assert [each.id for each in page.records] == [run.id]


@pytest.mark.parametrize("way", [by_key, pytest.param(by_principal, marks=pytest.mark.soak)])
async def test_twenty_lives_in_a_workspace(
    front: Front, scope: Scope, way: Callable[..., Installation]
) -> None:
    """Reads, writes, lists, deletes over the ends of SAS and delegation keys; no error is seen.

    The clock of both sides is set, and goes on by half a life at a time. It stands in the past, so
    obstore asks for a credential whenever its own is older than its shortest, a tenth of a second.
    """
    clock = ManualClock(datetime(2020, 1, 1, tzinfo=UTC))
    front.rules.now = clock
    life = timedelta(hours=2)
    installation = way(front, clock=clock, credential_ttl=life)
    settings = replace(Settings.from_env(installation.env), credential_ttl=life)
    seen: set[str] = set()
    async with Storage(settings, provider=installation.provider, clock=clock) as storage:
        workspace = await storage.open(scope)
        for _ in range(2 * 20):
            await asyncio.sleep(0.11)
            await workspace.app.put_async("x", b"x")
            await workspace.logs.put_async("x", b"x")
            assert [f async for chunk in workspace.app.list() for f in chunk]
            await workspace.app.delete_async("x")
            (credential, *_) = await storage.vend(scope)
            seen.add(credential.fields["sas_token"].reveal())
            clock.advance(life.total_seconds() / 2)
    assert len(seen) >= 20
