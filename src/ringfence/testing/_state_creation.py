"""Creating runs: the part of the suite in ``ringfence.testing.state``."""

# ruff: noqa: S101 - asserting is what a test suite does

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringfence.errors import (
    InvalidId,
    RunExists,
    RunNotFound,
)
from ringfence.runs import (
    Fail,
    Progress,
    Start,
    apply,
    change_run,
)
from ringfence.scope import AccessMode
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord
from ringfence.testing._runs import (
    TestClock,
    new_record,
    read_all,
    settle,
    unique,
)

HOSTILE_IDS = (
    "auth0|42",
    "a@example.org",
    "..",
    "a/b",
    "a%2Fb",
    "run*",
    "${aws:username}",
    "'; drop table runs; --",
    "Ångström \N{SNOWMAN}",
)


class CreationConformance:
    """Creating a run, and reading it back."""

    async def test_reads_back_what_was_created(self, store: StateStore) -> None:
        record = replace(
            new_record(mode=AccessMode.INVOKE_READ),
            workflow="nightly \N{SNOWMAN} \x01\n",
            workflow_version="v1",
            trigger="cron",
            lease_seconds=7,
            ttl_seconds=86_400,
        )
        assert await store.create(record) == record
        assert await store.get(record.id) == record

    async def test_keeps_every_field_through_a_change(self, store: StateStore) -> None:
        record = await store.create(replace(new_record(), ttl_seconds=60))
        running = apply(record, Start(), TestClock(5)())
        moved = apply(running, Progress(42, "x" * 2000, 2**62, 7), TestClock(6)())
        ended = apply(moved, Fail("\x00\ud800" + "e" * 9000, -9), TestClock(7)())
        for version in (running, moved, ended):
            assert await store.replace(version, expected_version=version.version - 1) == version
            assert await store.get(record.id) == version

    async def test_creating_again_returns_the_stored_record(
        self, store: StateStore, rival: StateStore
    ) -> None:
        record = await store.create(new_record())
        started = await change_run(store, record.id, Start(), TestClock(3))
        again = replace(record, created_at=TestClock(9)(), updated_at=TestClock(9)())
        assert await rival.create(again) == started
        assert await store.create(record) == started
        assert await read_all(store, record.app_id) == [started]

    @pytest.mark.parametrize(
        "field", ["app_id", "user_id", "workflow", "workflow_version", "trigger", "mode"]
    )
    async def test_an_id_is_taken_by_other_content(
        self, store: StateStore, rival: StateStore, field: str
    ) -> None:
        record = await store.create(new_record())
        value = AccessMode.READ_APP if field == "mode" else unique("other")
        other = changed(record, **{field: value, "created_at": TestClock(9)()})
        with pytest.raises(RunExists) as taken:
            await rival.create(other)
        assert taken.value.record == record
        assert await store.get(record.id) == record
        assert await read_all(store, other.app_id) == [record] * (other.app_id == record.app_id)

    async def test_one_of_many_creators_wins(self, store: StateStore, rival: StateStore) -> None:
        record = new_record()
        records = [replace(record, user_id=f"user{i}") for i in range(8)]
        told = await settle(*((rival if i % 2 else store).create(r) for i, r in enumerate(records)))
        won = await store.get(record.id)
        assert won in records
        assert [winner for winner in told if winner == won] == [won]
        losses = [loss for loss in told if isinstance(loss, RunExists)]
        assert [loss.record for loss in losses] == [won] * 7
        assert await read_all(store, won.app_id) == [won]

    async def test_a_run_that_is_not_there(self, store: StateStore) -> None:
        record = new_record()
        with pytest.raises(RunNotFound):
            await store.get(record.id)
        with pytest.raises(RunNotFound):
            await store.replace(replace(record, version=2), expected_version=1)
        with pytest.raises(RunNotFound):
            await change_run(store, record.id, Start(), TestClock())
        assert await read_all(store, record.app_id) == []

    async def test_ids_are_taken_as_they_are(self, store: StateStore) -> None:
        app, user = unique("auth0|App /"), unique("User*")
        ids = [
            *(unique("")[:8] + each for each in HOSTILE_IDS[:-1]),
            unique("A"),
            unique("a" * 180),
        ]
        ids += [ids[0].upper(), ids[0].lower() + "."]
        made = [await store.create(new_record(app, id=each, user_id=user)) for each in ids]
        assert [await store.get(each) for each in ids] == made
        assert sorted(r.id for r in await read_all(store, app)) == sorted(set(ids))
        assert len(set(ids)) == len(ids)

    @pytest.mark.parametrize("field", ["id", "app_id", "user_id"])
    @pytest.mark.parametrize("value", ["", "x" * 257, "\ud800"])
    async def test_an_id_that_cannot_be_encoded(
        self, store: StateStore, field: str, value: str
    ) -> None:
        record = new_record()
        with pytest.raises(InvalidId):
            await store.create(changed(record, **{field: value}))
        if field != "id":
            with pytest.raises(RunNotFound):
                await store.get(record.id)


def changed(record: RunRecord, **fields: Any) -> RunRecord:
    """The record with other values in fields that are known by name only."""
    return replace(record, **fields)
