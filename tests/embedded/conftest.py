"""A neighbour whose object nobody may get at, and a way to see that nobody did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence import embedded
from tests.embedded.support import (
    CONTENT,
    NEIGHBOUR,
    PLANTED,
    START_SECONDS,
    Keys,
    RunningEngine,
    fenced,
    s3,
)


@pytest.fixture(scope="session")
def tenant(engine: RunningEngine) -> Keys:
    """Somebody's fenced credentials."""
    return fenced(engine)


@pytest.fixture
def planted(engine: RunningEngine) -> Iterator[str]:
    """The neighbour's object. It must be there, unchanged, when the test is over."""
    client = s3(engine)
    client.put_object(Bucket=CONTENT, Key=NEIGHBOUR, Body=PLANTED)
    names = sorted(bucket["Name"] for bucket in client.list_buckets()["Buckets"])
    yield NEIGHBOUR
    assert client.get_object(Bucket=CONTENT, Key=NEIGHBOUR)["Body"].read() == PLANTED
    assert sorted(bucket["Name"] for bucket in client.list_buckets()["Buckets"]) == names
    assert set(names) == set(embedded.BUCKETS.values())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for an engine of the test's own, which is stopped afterwards.

    Its path is longer than the address of a Unix socket may be.
    """
    state = tmp_path / ("long-" * 20) / "state"
    yield state
    embedded.down(state, timeout=START_SECONDS)
