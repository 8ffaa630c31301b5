"""Ports for the servers that tests start as processes."""

from __future__ import annotations

import os
import secrets
from itertools import count
from typing import Final

from ringfence.embedded import ports

LOWEST: Final = 11_000
HIGHEST: Final = ports.LOWEST - 1
"""Below those that the embedded engine chooses, and far below those that the system does, for every
connection and for each server in a test that asks for any port: one of theirs may be taken before
it is used."""

WORKERS: Final = 8
EACH: Final = (HIGHEST - LOWEST + 1) // WORKERS

_numbers: Final = count(secrets.randbelow(EACH))


def free_port() -> int:
    """One that no other worker is given, and this one not again before it has had a thousand."""
    first = LOWEST + _worker() % WORKERS * EACH
    return next(port for n in _numbers if ports.is_free(port := first + n % EACH))


def _worker() -> int:
    """The number of this process among those of pytest-xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
