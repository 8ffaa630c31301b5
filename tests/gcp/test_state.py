"""Run records and events in the meta bucket on Google Cloud Storage: conditions by generation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from obstore.store import ObjectStore

from ringfence.layout import BucketRole
from ringfence.state.base import StateStore
from ringfence.state.s3 import S3StateStore
from ringfence.testing.state import ManualClock, StateStoreConformance, check_against_model
from tests.gcp.installation import Installation


@pytest.fixture(scope="module")
def bucket(gcs: Installation) -> Iterator[ObjectStore]:
    provider = gcs.provider()
    yield provider.open_bucket(BucketRole.META)
    provider.close()


class TestConformance(StateStoreConformance):
    """The suite that every state store passes."""

    @pytest.fixture
    def store(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(bucket, bucket="meta", clock=clock)

    @pytest.fixture
    def rival(self, bucket: ObjectStore, clock: ManualClock) -> StateStore:
        return S3StateStore(bucket, bucket="meta", clock=clock)


@pytest.mark.parametrize(
    ("lives", "steps"),
    [
        pytest.param(3, 30, id="short"),
        pytest.param(100, 60, id="soak", marks=pytest.mark.soak),
    ],
)
def test_model(bucket: ObjectStore, lives: int, steps: int) -> None:
    async def on_gcs(clock: ManualClock) -> StateStore:
        return S3StateStore(bucket, bucket="meta", clock=clock)

    check_against_model(on_gcs, lives=lives, steps=steps)
