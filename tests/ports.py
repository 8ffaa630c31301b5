"""Ports for the servers that tests start as processes."""

from __future__ import annotations

import os
import secrets
import socket
from itertools import count
from typing import Final

LOWEST: Final = 11_000
HIGHEST: Final = 20_000
"""The first that is none of ours. From here up the embedded engine chooses
(``ringfence.embedded.ports``), and from 32,768 up the system does: for every connection, and for
each server in a test that asks for any port. One of theirs may be taken before it is used."""

WORKERS: Final = 8
EACH: Final = (HIGHEST - LOWEST) // WORKERS

_next: Final = count(secrets.randbelow(EACH))


def free_port() -> int:
    """One that no other worker is given, and this one not again before it has had a thousand."""
    for number in _next:
        port = LOWEST + _worker() % WORKERS * EACH + number % EACH
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError  # a count has no end


def _worker() -> int:
    """The number of this process among those of pytest-xdist."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
