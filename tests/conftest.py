"""One embedded engine for all tests of a worker."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.embedded.support import RunningEngine, start, stop

# Whoever starts the tests in the background of a shell hands them signals that are ignored, which
# every process below inherits, and the commands under test are sent those very signals.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """A running engine. Do not stop it, and leave others' prefixes alone."""
    running = start(tmp_path_factory.mktemp("engine") / "state")
    yield running
    stop(running)
