"""Stores, state and logs on S3 Express through obstore, as production opens them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from obstore.exceptions import AlreadyExistsError, PreconditionError

from ringfence.errors import AccessDenied, BucketMissing, ConfigError, RingfenceError
from ringfence.layout import BucketRole, IdCase
from ringfence.logs import LogEntry, LogWriter, follow_log, read_log
from ringfence.providers._obstore import translating
from ringfence.scope import AccessMode, Scope
from ringfence.state.base import StateStore
from ringfence.state.s3 import S3StateStore
from ringfence.storage import Storage
from ringfence.testing.state import (
    ManualClock,
    StateStoreConformance,
    TestClock,
    check_against_model,
    new_record,
    read_all,
)
from tests.express.installation import Express

if TYPE_CHECKING:
    from obstore.store import ObjectStore

pytestmark = pytest.mark.engine

Make = Callable[..., Express]


@pytest.fixture
def meta(express: Make) -> ObjectStore:
    return express("meta").provider.open_bucket(BucketRole.META)


class TestState(StateStoreConformance):
    """The conformance suite of state stores."""

    id_case = IdCase.FOLDED

    @pytest.fixture
    def store(self, meta: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(meta, bucket="m", id_case=self.id_case, ordered=False, clock=clock)

    @pytest.fixture
    def rival(self, express: Make, clock: ManualClock) -> StateStore:
        other = express("meta").provider.open_bucket(BucketRole.META)
        return S3StateStore(other, bucket="m", id_case=self.id_case, ordered=False, clock=clock)


@pytest.mark.parametrize(
    ("lives", "steps"), [(2, 20), pytest.param(40, 40, marks=pytest.mark.soak)]
)
def test_model(meta: ObjectStore, lives: int, steps: int) -> None:
    async def on_express(clock: ManualClock) -> StateStore:
        return S3StateStore(meta, bucket="m", id_case=IdCase.FOLDED, ordered=False, clock=clock)

    check_against_model(on_express, id_case=IdCase.FOLDED, lives=lives, steps=steps)


async def test_pages_are_in_order_although_no_listing_is(meta: ObjectStore, tag: str) -> None:
    store = S3StateStore(meta, bucket="m", id_case=IdCase.FOLDED, ordered=False)
    records = [new_record(tag, at=TestClock(second)()) for second in range(12)]
    await asyncio.gather(*map(store.create, records))
    found = await read_all(store, tag, limit=5)
    assert [r.id for r in found] == [r.id for r in reversed(records)]


async def test_a_run_id_that_is_shortened_in_keys(meta: ObjectStore, tag: str) -> None:
    """Its keys hold a tilde, which is signed otherwise than it is sent."""
    store = S3StateStore(meta, bucket="m", id_case=IdCase.FOLDED, ordered=False)
    record = await store.create(new_record(tag, id=tag + "r" * 240))
    assert await store.append(record.id, [1]) == range(1, 2)
    assert [event.payload for event in await store.events(record.id)] == [1]


async def test_what_stores_do_works_here(meta: ObjectStore, tag: str) -> None:
    key, other = f"{tag}/a/x", f"{tag}/b/y"
    first = await meta.put_async(key, b"one", mode="create")
    with pytest.raises(AlreadyExistsError):
        await meta.put_async(key, b"two", mode="create")
    second = await meta.put_async(key, b"two", mode={"e_tag": str(first["e_tag"])})
    with pytest.raises(PreconditionError):
        await meta.put_async(key, b"three", mode={"e_tag": str(first["e_tag"])})
    assert second["e_tag"] != first["e_tag"]
    await meta.put_async(other, b"x" * (6 << 20))  # in parts
    assert len(await (await meta.get_async(other)).bytes_async()) == 6 << 20
    await meta.copy_async(key, f"{tag}/c/z")
    paths = [row["path"] async for page in meta.list(f"{tag}/", chunk_size=2) for row in page]
    assert sorted(paths) == [key, other, f"{tag}/c/z"]
    after = [row["path"] async for p in meta.list(f"{tag}/", offset=f"{tag}/b") for row in p]
    assert sorted(after) == [other, f"{tag}/c/z"], "start-after is not sent, and holds all the same"
    level = await meta.list_with_delimiter_async(f"{tag}/")
    assert sorted(level["common_prefixes"]) == [f"{tag}/a", f"{tag}/b", f"{tag}/c"]
    await meta.delete_async([key, other, f"{tag}/c/z"])
    with pytest.raises(FileNotFoundError):
        await meta.get_async(key)


async def test_a_log_loses_no_line_and_no_order(express: Make, tag: str) -> None:
    """Several writers, segments listed in no order, and a reader that follows."""
    installation = express("meta log", shared=True)
    storage = Storage(installation.settings, provider=installation.provider)
    scope = Scope(f"{tag}-app", "u", f"{tag}-run")
    logs = storage.open(scope).logs
    reader = storage.open(Scope(f"{tag}-app", "u", f"{tag}-run", AccessMode.READ_LOGS)).logs
    base = datetime(2026, 1, 1, tzinfo=UTC)
    for writer in range(2):
        row = LogWriter(logs, flush_seconds=0)
        for line in range(6):
            at = base + timedelta(seconds=2 * line + writer)
            await row.append(LogEntry(at, "stdout", f"{writer}:{line}"))
            await asyncio.sleep(0.02)
        await row.close()
    wanted = [f"{writer}:{line}" for line in range(6) for writer in range(2)]
    assert [entry.text async for entry in read_log(reader)] == wanted
    done = asyncio.Event()
    followed = follow_log(reader, done, poll_seconds=0.05)
    seen = [(await anext(followed)).text for _ in wanted]
    late = LogWriter(logs, flush_seconds=0)
    await late.append(LogEntry(base + timedelta(hours=1), "stdout", "late"))
    await late.close()
    done.set()
    seen += [entry.text async for entry in followed]
    assert seen == [*wanted, "late"]
    await storage.close()


# --- failures ------------------------------------------------------------------------------------

FAILURES: dict[str, tuple[dict[str, str], type[RingfenceError], str]] = {
    "no such bucket": (
        {"META_BUCKET": "none--usw2-az1--x-s3"},
        BucketMissing,
        "META_BUCKET none--usw2-az1--x-s3 does not exist",
    ),
    "wrong secret": ({"AWS_SECRET_ACCESS_KEY": "x" * 40}, ConfigError, "AWS_SECRET_ACCESS_KEY"),
    "wrong key": ({"AWS_ACCESS_KEY_ID": "AKIAXXXXXXXXXXXXXXXX"}, ConfigError, "AWS_ACCESS_KEY_ID"),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_what_fails_in_a_session_is_said_as_elsewhere(express: Make, case: str) -> None:
    change, kind, words = FAILURES[case]
    env = {**express("meta").env, **change}
    with pytest.raises(kind, match=words):
        async with Storage.from_env(env):
            pass


async def test_a_session_that_is_refused_is_a_refusal(express: Make, tag: str) -> None:
    installation = express("meta", shared=True)
    scope = Scope(f"{tag}-app", "u", mode=AccessMode.READ_APP)
    storage = Storage(installation.settings, provider=installation.provider)
    with pytest.raises(AccessDenied), translating("store it", "META_BUCKET m"):
        await storage.open(scope).meta.put_async("x", b"1")
    with pytest.raises(AccessDenied), translating("copy it", "META_BUCKET m"):
        await storage.open(scope).meta.copy_async("x", "y")
    await storage.close()
