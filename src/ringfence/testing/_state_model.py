"""Random lives of runs, in a store and in a model beside it."""

# ruff: noqa: S101 - asserting is what a test suite does

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from ringfence.errors import RunExists, RunNotFound, StateConflict, UsageError
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
from ringfence.testing._runs import EPOCH, ManualClock, in_order, new_record, read_all, unique

StoreFactory = Callable[[ManualClock], Awaitable[StateStore]]
"""Opens a client of the store under test, with its time. Called anew for each life, on that life's
event loop."""

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
            return await open_store(self.clock)

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
    at_start: list[RunRecord]
    cursor: str | None = None
    seen: list[RunRecord] = field(default_factory=list)


@dataclass
class _Log:
    """The model of a run's events."""

    payloads: list[str] = field(default_factory=list)
    batches: dict[str, tuple[list[str], range]] = field(default_factory=dict)
    acknowledged: dict[str, int] = field(default_factory=dict)


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
_TTL_UNIT: Final = 1000
"""Seconds. Longer than a life takes: a store may expire natively, by the time of its server."""
_payloads = st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=3)
_batches = st.none() | st.sampled_from(["b", "B", "b1"])
_consumers = st.sampled_from(["c", "C"])


class StateStoreMachine(RuleBasedStateMachine):
    """One life of a few apps. The model is a dictionary and :func:`ringfence.runs.apply`."""

    id_case = IdCase.EXACT

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.clock = ManualClock()
        self.store = self.loop.run(self.opened())
        self.prefix = unique("")
        self.model: dict[str, RunRecord] = {}
        self.logs: dict[str, _Log] = {}
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
        record = replace(record, ttl_seconds=second // 2 * _TTL_UNIT)
        stored = self.model.setdefault(record.id, record)
        self.logs.setdefault(record.id, _Log())
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
        self._forget_expired()  # where the writer's clock is behind the store's, perhaps at once

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

    @precondition(lambda self: self.model)
    @rule(seconds=st.sampled_from([1, 500, _TTL_UNIT, 2 * _TTL_UNIT]))
    def let_time_pass(self, seconds: int) -> None:
        """Runs whose time has come are gone, for readers at least."""
        self.clock.advance(seconds)
        self._forget_expired()

    @rule()
    def purge(self) -> None:
        """Nothing that is there is touched by it."""
        self.do(self.store.purge())

    @precondition(lambda self: self.model)
    @rule(run=_known, payloads=_payloads, batch=_batches)
    def append(self, run: int, payloads: list[str], batch: str | None) -> None:
        """New events, the same again, or others under an id that is taken."""
        record = self._known(run)
        log = self.logs[record.id]
        known = log.batches.get(batch or "")
        work = self.store.append(record.id, payloads, batch=batch)
        if known is not None and known[0] != payloads:
            with pytest.raises(UsageError):
                self.do(work)
            return
        start = len(log.payloads) + 1
        expected = range(start, start + len(payloads)) if known is None else known[1]
        assert self.do(work) == expected
        if known is None:
            log.payloads += payloads
            log.batches |= {batch: (payloads, expected)} if batch else {}

    @precondition(lambda self: self.model)
    @rule(run=_known, after=st.integers(0, 9), limit=st.sampled_from([1, 2, 100]))
    def read_events(self, run: int, after: int, limit: int) -> None:
        """Some of a run's events."""
        record = self._known(run)
        found = self.do(self.store.events(record.id, after=after, limit=limit))
        numbered = list(enumerate(self.logs[record.id].payloads, 1))[after : after + limit]
        assert [(event.sequence, event.payload) for event in found] == numbered

    @precondition(lambda self: self.model)
    @rule(run=_known, consumer=_consumers, sequence=st.integers(0, 9))
    def acknowledge(self, run: int, consumer: str, sequence: int) -> None:
        """A consumer has come so far, or says so."""
        record = self._known(run)
        log = self.logs[record.id]
        if sequence > len(log.payloads):
            with pytest.raises(UsageError):
                self.do(self.store.acknowledge(record.id, consumer, sequence))
        else:
            highest = max(sequence, log.acknowledged.get(consumer, 0))
            assert self.do(self.store.acknowledge(record.id, consumer, sequence)) == highest
            log.acknowledged[consumer] = highest
        known = log.acknowledged.get(consumer, 0)
        assert self.do(self.store.acknowledged(record.id, consumer)) == known

    @precondition(lambda self: self.model)
    @rule(run=_known, second=_seconds)
    def look_for_abandoned(self, run: int, second: int) -> None:
        """Whether a run has lost its runner, as its record says."""
        record = self._known(run)
        now = EPOCH + timedelta(seconds=second + record.lease_seconds)
        found = {found.id: found for found in self.do(self.store.abandoned(now))}
        assert found.get(record.id) == (record if record.stale(now) else None)

    @rule(
        app=_apps,
        limit=st.sampled_from([1, 2, 100]),
        status=st.none() | st.sampled_from(RunStatus),
        user=st.none() | _users,
    )
    def read(self, app: str, limit: int, status: RunStatus | None, user: str | None) -> None:
        """A whole list, in pages."""
        found = read_all(self.store, self.prefix + app, limit=limit, status=status, user=user)
        expected = [
            record
            for record in self._listed(self.prefix + app)
            if status in {None, record.status} and user in {None, record.user_id}
        ]
        assert self.do(found) == expected

    @rule(app=_apps, limit=st.integers(1, 3))
    def begin_walk(self, app: str, limit: int) -> None:
        """The first page of a list that goes on between other steps."""
        walk = _Walk(self.prefix + app, limit, self._listed(self.prefix + app))
        if not self._turn(walk):
            self.walks.append(walk)

    @rule()
    def go_on_walking(self) -> None:
        """The next page of the list that was begun first."""
        if self.walks and self._turn(self.walks[0]):
            del self.walks[0]

    def _forget_expired(self) -> None:
        for record in list(self.model.values()):
            if record.expired(self.clock()):
                del self.model[record.id], self.logs[record.id]

    def _known(self, number: int) -> RunRecord:
        """One of the runs there are; the first few, so that changes meet."""
        return list(self.model.values())[number % len(self.model)]

    def _turn(self, walk: _Walk) -> bool:
        """Reads a page. At the end: nothing twice, and nothing skipped that was there first."""
        page = self.do(self.store.list(walk.app, limit=walk.limit, cursor=walk.cursor))
        walk.seen += page.records
        walk.cursor = page.cursor
        # A run whose id was used again, after it had expired, is another run.
        seen = [(record.id, record.created_at) for record in walk.seen]
        assert len(set(seen)) == len(seen), "a run was listed twice"
        if walk.cursor is not None:
            return False
        there = {(record.id, record.created_at) for record in self.model.values()}
        at_start = [(record.id, record.created_at) for record in walk.at_start]
        kept = [run for run in at_start if run in there]
        assert [run for run in seen if run in kept] == kept
        return True

    def _listed(self, app: str) -> list[RunRecord]:
        return in_order([r for r in self.model.values() if r.app_id == app], self.id_case)
