"""What every state store must do, as tests to subclass.

A backend's own test is one class, with a fixture for the store::

    class TestMyStore(StateStoreConformance):
        @pytest.fixture
        async def store(self, clock):
            store = await MyStore.open(DSN, clock=clock)
            yield store
            await store.close()

and one call, for long random lives of runs beside a model::

    async def open_my_store(clock):
        return await MyStore.open(DSN, clock=clock)

    def test_model():
        check_against_model(open_my_store)

The store must take its time from ``clock`` alone, which the tests move. Every test makes ids of its
own, so the store need not be empty. Needs pytest, pytest-asyncio with ``asyncio_mode = auto``, and
hypothesis.
"""

from __future__ import annotations

import pytest

from ringfence.state.base import StateStore
from ringfence.testing._runs import ManualClock, TestClock, new_record, race_to_the_end, read_all
from ringfence.testing._state_changes import ChangeConformance
from ringfence.testing._state_creation import CreationConformance
from ringfence.testing._state_events import EventConformance
from ringfence.testing._state_lists import ListConformance
from ringfence.testing._state_model import StoreFactory, check_against_model
from ringfence.testing._state_time import TimeConformance

__all__ = [
    "ManualClock",
    "StateStoreConformance",
    "StoreFactory",
    "TestClock",
    "check_against_model",
    "new_record",
    "race_to_the_end",
    "read_all",
]


class StateStoreConformance(
    CreationConformance, ChangeConformance, ListConformance, EventConformance, TimeConformance
):
    """All of it. A subclass gives the fixture ``store``, and ``rival`` where it can."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The time of the stores under test."""
        return ManualClock()

    @pytest.fixture
    def store(self) -> StateStore:
        """The store under test."""
        raise NotImplementedError("override the fixture `store` with the store under test")

    @pytest.fixture
    def rival(self, store: StateStore) -> StateStore:
        """Another client of the same data, as from another process; by default the same one."""
        return store
