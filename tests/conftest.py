"""One embedded engine for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.embedded.support import RunningEngine, start, stop


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """A running engine. Do not stop it, and leave others' prefixes alone."""
    running = start(tmp_path_factory.mktemp("engine") / "state")
    yield running
    stop(running)
