"""Random lives of runs, in a store and in a model beside it."""

# ruff: noqa: S101 - asserting is what a test suite does

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from ringfence.errors import RunExists, RunNotFound, StateConflict
from ringfence.layout import IdCase
from ringfence.runs import (
    Cancel,
    Change,
    Complete,
    Fail,
    Heartbeat,
    Progress,
    Start,
    TimeOut,
    apply,
    change_run,
)
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.testing._runs import EPOCH, in_order, new_record, read_all, unique

StoreFactory = Callable[[], Awaitable[StateStore]]
"""Opens a client of the store under test. Called anew for each life, on that life's event loop."""

_T = TypeVar("_T")


def check_against_model(
    open_store: StoreFactory,
    *,
    id_case: IdCase = IdCase.EXACT,
    lives: int = 20,
    steps: int = 50,
) -> None:
    """Drives a store and a model through the same random steps, and compares every answer.

    Not from inside an event loop: it runs one of its own.

    Args:
        open_store: Opens the store.
        id_case: How the store encodes ids.
        lives: How many times to begin anew, at most.
        steps: How many steps each time, at most.

    Raises:
        AssertionError: the store answered something else than the model.
    """

    class Life(StateStoreMachine):
        async def opened(self) -> StateStore:
            return await open_store()

    Life.id_case = id_case
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=lives,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@dataclass
class _Walk:
    """A list that is being read page by page while the app changes."""

    app: str
    limit: int
    at_start: list[str]
    cursor: str | None = None
    seen: list[str] = field(default_factory=list)


_changes: st.SearchStrategy[Change] = st.one_of(
    st.just(Start()),
    st.just(Heartbeat()),
    st.builds(Progress, st.integers(0, 100), st.text(max_size=3), st.integers(0, 9)),
    st.builds(Complete, st.integers(0, 1)),
    st.builds(Fail, st.text(max_size=3), st.integers(0, 1)),
    st.builds(Cancel, st.none() | st.text(max_size=3)),
    st.builds(TimeOut, st.none() | st.text(max_size=3)),
)
# Few, so that they meet: neighbours, and ids that differ in case.
_runs = st.sampled_from(["r", "R", "r1", "r10", "r|", "é", "r/", "r" * 210])
_known = st.integers(0, 3)
_apps = st.sampled_from(["a", "a1", "A"])
_users = st.sampled_from(["u", "U"])
_seconds = st.integers(0, 6)


class StateStoreMachine(RuleBasedStateMachine):
    """One life of a few apps. The model is a dictionary and :func:`ringfence.runs.apply`."""

    id_case = IdCase.EXACT

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.store = self.loop.run(self.opened())
        self.prefix = unique("")
        self.model: dict[str, RunRecord] = {}
        self.walks: list[_Walk] = []

    def teardown(self) -> None:
        """Reads every list that was begun to its end, and closes the store."""
        try:
            for walk in self.walks:
                while not self._turn(walk):
                    pass
            self.do(self.store.close())
        finally:
            self.loop.close()

    async def opened(self) -> StateStore:
        """The store under test."""
        raise NotImplementedError

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs it on this life's event loop."""
        return self.loop.run(work)

    @rule(run=_runs, app=_apps, user=_users, second=_seconds)
    def create(self, run: str, app: str, user: str, second: int) -> None:
        """A new run, the same again, or another of the same id."""
        at = EPOCH + timedelta(seconds=second)
        record = new_record(self.prefix + app, id=self.prefix + run, user_id=user, at=at)
        record = replace(record, ttl_seconds=second)
        stored = self.model.setdefault(record.id, record)
        if stored.same_run(record):
            assert self.do(self.store.create(record)) == stored
        else:
            with pytest.raises(RunExists) as taken:
                self.do(self.store.create(record))
            assert taken.value.record == stored

    @rule(run=_runs)
    def get(self, run: str) -> None:
        """A run that is there, or not."""
        stored = self.model.get(self.prefix + run)
        if stored is not None:
            assert self.do(self.store.get(stored.id)) == stored
            return
        with pytest.raises(RunNotFound):
            self.do(self.store.get(self.prefix + run))

    @precondition(lambda self: self.model)
    @rule(run=_known, change=_changes, second=_seconds)
    def change(self, run: int, change: Change, second: int) -> None:
        """A change, allowed or not, with a clock that jumps."""
        stored = self._known(run)
        now = EPOCH + timedelta(seconds=second)
        try:
            expected = apply(stored, change, now)
        except StateConflict:
            with pytest.raises(StateConflict) as refused:
                self.do(change_run(self.store, stored.id, change, lambda: now))
            assert refused.value.record == stored
            return
        assert self.do(change_run(self.store, stored.id, change, lambda: now)) == expected
        self.model[stored.id] = expected

    @precondition(lambda self: self.model)
    @rule(run=_known, percents=st.lists(st.integers(0, 100), min_size=1, max_size=3))
    def go_on(self, run: int, percents: list[int]) -> None:
        """Progress of a run that is started if it was not: up and down, and up again."""
        if self._known(run).status is RunStatus.PENDING:
            self.change(run, Start(), 0)
        for percent in percents:
            self.change(run, Progress(percent, f"{percent}", percent, percent), percent % 7)

    @precondition(lambda self: self.model)
    @rule(run=_known, behind=st.integers(-2, 2).filter(bool))
    def replace_stale(self, run: int, behind: int) -> None:
        """A swap that is based on another version than the stored one."""
        stored = self._known(run)
        stale = replace(stored, progress=99, version=stored.version + 3)
        with pytest.raises(StateConflict) as lost:
            self.do(self.store.replace(stale, expected_version=stored.version + behind))
        assert lost.value.record == stored

    @rule(
        app=_apps,
        limit=st.sampled_from([1, 2, 100]),
        status=st.none() | st.sampled_from(RunStatus),
        user=st.none() | _users,
    )
    def read(self, app: str, limit: int, status: RunStatus | None, user: str | None) -> None:
        """A whole list, in pages."""
        found = read_all(self.store, self.prefix + app, limit=limit, status=status, user_id=user)
        expected = [
            record
            for record in self._listed(self.prefix + app)
            if status in {None, record.status} and user in {None, record.user_id}
        ]
        assert self.do(found) == expected

    @rule(app=_apps, limit=st.integers(1, 3))
    def begin_walk(self, app: str, limit: int) -> None:
        """The first page of a list that goes on between other steps."""
        at_start = [record.id for record in self._listed(self.prefix + app)]
        walk = _Walk(self.prefix + app, limit, at_start)
        if not self._turn(walk):
            self.walks.append(walk)

    @rule()
    def go_on_walking(self) -> None:
        """The next page of the list that was begun first."""
        if self.walks and self._turn(self.walks[0]):
            del self.walks[0]

    def _known(self, number: int) -> RunRecord:
        """One of the runs there are; the first few, so that changes meet."""
        return list(self.model.values())[number % len(self.model)]

    def _turn(self, walk: _Walk) -> bool:
        """Reads a page. At the end: nothing twice, and nothing skipped that was there first."""
        page = self.do(self.store.list(walk.app, limit=walk.limit, cursor=walk.cursor))
        walk.seen += (record.id for record in page.records)
        walk.cursor = page.cursor
        assert len(set(walk.seen)) == len(walk.seen), "a run was listed twice"
        if walk.cursor is not None:
            return False
        assert [run for run in walk.seen if run in walk.at_start] == walk.at_start
        return True

    def _listed(self, app: str) -> list[RunRecord]:
        return in_order([r for r in self.model.values() if r.app_id == app], self.id_case)
