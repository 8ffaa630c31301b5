"""The conformance suite, on every store there is."""

from __future__ import annotations

from uuid import uuid4

import pytest
from obstore.store import MemoryStore, ObjectStore

from ringfence.layout import IdCase
from ringfence.state.base import StateStore
from ringfence.state.memory import MemoryStateStore
from ringfence.state.s3 import S3StateStore
from ringfence.testing.state import (
    ManualClock,
    StateStoreConformance,
    StoreFactory,
    check_against_model,
)
from tests.state.conftest import OpenMeta
from tests.state.doubles import Unordered, as_store


class TestMemory(StateStoreConformance):
    """The reference itself."""

    @pytest.fixture
    def store(self, clock: ManualClock) -> StateStore:
        return MemoryStateStore(clock=clock)


class TestObstoreMemory(StateStoreConformance):
    """The S3 store's logic on an engine that does exactly what it is told."""

    @pytest.fixture
    def bucket(self) -> ObjectStore:
        return MemoryStore()

    @pytest.fixture
    def store(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(bucket, bucket="meta", clock=clock)

    @pytest.fixture
    def rival(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(bucket, bucket="meta", clock=clock)


class TestFolded(TestObstoreMemory):
    """With the encoding for engines that compare without case."""

    id_case = IdCase.FOLDED

    @pytest.fixture
    def store(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(bucket, bucket="meta", id_case=self.id_case, clock=clock)

    @pytest.fixture
    def rival(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(bucket, bucket="meta", id_case=self.id_case, clock=clock)


class TestUnordered(TestObstoreMemory):
    """Where keys are listed in no order, as on S3 Express."""

    @pytest.fixture
    def store(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(as_store(Unordered(bucket)), bucket="meta", ordered=False, clock=clock)

    @pytest.fixture
    def rival(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(
            as_store(Unordered(bucket, 1)), bucket="meta", ordered=False, clock=clock
        )


@pytest.mark.engine
class TestEngine(TestFolded):
    """On the real engine."""

    @pytest.fixture
    def bucket(self, open_meta: OpenMeta) -> ObjectStore:
        return open_meta()


@pytest.mark.engine
class TestEngineUnordered(TestUnordered):
    """On the real engine, without help from its order."""

    @pytest.fixture
    def bucket(self, open_meta: OpenMeta) -> ObjectStore:
        return open_meta()


async def in_memory(clock: ManualClock) -> StateStore:
    return MemoryStateStore(clock=clock)


async def on_obstore(clock: ManualClock) -> StateStore:
    return S3StateStore(MemoryStore(), bucket="meta", clock=clock)


async def unordered(clock: ManualClock) -> StateStore:
    return S3StateStore(
        as_store(Unordered(MemoryStore())), bucket="meta", ordered=False, clock=clock
    )


def effort(lives: int, steps: int) -> pytest.MarkDecorator:
    """Short lives in `make test`; under the ``soak`` marker, over 10,000 steps of them."""
    short = pytest.param(lives, steps, id="short")
    long = pytest.param(400, 60, id="soak", marks=pytest.mark.soak)
    return pytest.mark.parametrize(("lives", "steps"), [short, long])


@effort(12, 40)
@pytest.mark.parametrize("open_store", [in_memory, on_obstore, unordered])
def test_model(open_store: StoreFactory, lives: int, steps: int) -> None:
    check_against_model(open_store, lives=lives, steps=steps)


@pytest.mark.engine
@effort(8, 30)
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_model_on_the_engine(open_meta: OpenMeta, ordered: bool, lives: int, steps: int) -> None:
    async def on_engine(clock: ManualClock) -> StateStore:
        # A place of its own for each life: a purge looks at all that lies in its bucket.
        bucket = open_meta(prefix=f"life-{uuid4().hex}/")
        store = bucket if ordered else as_store(Unordered(bucket))
        return S3StateStore(
            store, bucket="meta", id_case=IdCase.FOLDED, ordered=ordered, clock=clock
        )

    check_against_model(on_engine, id_case=IdCase.FOLDED, lives=lives, steps=steps)
