"""Listing runs: the part of the suite in ``ringfence.testing.state``."""

# ruff: noqa: S101 - asserting is what a test suite does

from __future__ import annotations

import pytest

from ringfence.errors import (
    UsageError,
)
from ringfence.layout import IdCase
from ringfence.runs import (
    Start,
    change_run,
)
from ringfence.state.base import MAX_PAGE, StateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.testing._runs import (
    TestClock,
    in_order,
    new_record,
    read_all,
    unique,
)


class ListConformance:
    """Listing an app's runs."""

    id_case = IdCase.EXACT
    """How the store encodes ids: what it lists among runs of one microsecond goes by it."""

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    async def test_newest_first_in_pages(self, store: StateStore, limit: int) -> None:
        records = await self.fill(store, unique("app"), 9)
        listed = await read_all(store, records[0].app_id, limit=limit)
        assert listed == in_order(records, self.id_case)

    async def test_runs_of_one_moment_have_an_order(self, store: StateStore) -> None:
        app, prefix = unique("app"), unique("")
        names = ["a", "a-b", "a.b", "B", "b", "1", "~", "é", "a/b", "a" * 180, "a" * 190]
        records = [
            await store.create(new_record(app, id=prefix + name, at=TestClock(i // 6)()))
            for i, name in enumerate(names)
        ]
        for limit in (1, 4, 100):
            listed = await read_all(store, app, limit=limit)
            assert listed == in_order(records, self.id_case)

    async def test_pages_hold_while_runs_are_created(self, store: StateStore) -> None:
        app = unique("app")
        before = await self.fill(store, app, 7)
        seen: list[RunRecord] = []
        cursor, second = None, 100
        while True:
            page = await store.list(app, limit=2, cursor=cursor)
            seen += page.records
            if (cursor := page.cursor) is None:
                break
            # A newer one, and one of the same moment as the last that was seen.
            await store.create(new_record(app, at=TestClock(second)()))
            await store.create(new_record(app, at=page.records[-1].created_at))
            second += 1
            assert second < 200, "the list does not end"
        assert len({record.id for record in seen}) == len(seen), "a run was listed twice"
        assert [r for r in seen if r in before] == in_order(before, self.id_case)

    async def test_filters(self, store: StateStore) -> None:
        app = unique("app")
        records = await self.fill(store, app, 9, users=("u", "U", "u1"))
        for record in records[::2]:
            started = await change_run(store, record.id, Start(), TestClock(50))
            records[records.index(record)] = started
        ordered = in_order(records, self.id_case)
        for user in (None, "u", "U", "u1", "nobody"):
            for status in (None, RunStatus.PENDING, RunStatus.RUNNING, RunStatus.FAILED):
                expected = [
                    r for r in ordered if user in {None, r.user_id} and status in {None, r.status}
                ]
                for limit in (1, 2, 100):
                    listed = await read_all(store, app, limit=limit, user=user, status=status)
                    assert listed == expected

    async def test_neighbours_are_not_listed(self, store: StateStore) -> None:
        app = unique("app")
        names = [app, f"{app}1", f"{app}/runs", app.upper(), f"{app}%", f"{app}|x"]
        made = {name: await self.fill(store, name, 2) for name in names}
        for name, records in made.items():
            assert await read_all(store, name) == in_order(records, self.id_case)
        assert await read_all(store, app[:-1]) == []

    async def test_a_page_is_as_long_as_asked(self, store: StateStore) -> None:
        records = await self.fill(store, unique("app"), 4)
        for limit, expected in ((1, 1), (3, 3), (4, 4), (MAX_PAGE, 4)):
            page = await store.list(records[0].app_id, limit=limit)
            assert len(page.records) == expected

    @pytest.mark.parametrize("limit", [0, -1, MAX_PAGE + 1])
    async def test_a_limit_out_of_range(self, store: StateStore, limit: int) -> None:
        with pytest.raises(UsageError):
            await store.list("app", limit=limit)

    @pytest.mark.parametrize(
        "cursor", ["", "x", "../../../apps/other", "9999/999/999/99999999-", "\x00"]
    )
    async def test_a_cursor_that_is_none(self, store: StateStore, cursor: str) -> None:
        with pytest.raises(UsageError):
            await store.list("app", cursor=cursor)

    async def test_an_app_without_runs(self, store: StateStore) -> None:
        page = await store.list(unique("app"))
        assert (page.records, page.cursor) == ((), None)

    async def fill(
        self, store: StateStore, app: str, count: int, users: tuple[str, ...] = ("u",)
    ) -> list[RunRecord]:
        """Runs of one app, created out of order, some at the same moment."""
        return [
            await store.create(
                new_record(app, user_id=users[i % len(users)], at=TestClock(i * 7 % 5)())
            )
            for i in range(count)
        ]
