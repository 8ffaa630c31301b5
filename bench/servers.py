"""The databases that the state stores are measured on: real servers, fresh for the while."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.state.postgres.server import Server, running
from tests.state.redis.servers import Valkey


@dataclass(frozen=True, slots=True)
class Servers:
    """Both of them, running."""

    postgres: Server
    valkey: Valkey


@contextmanager
def servers() -> Iterator[Servers]:
    """PostgreSQL with its default durability, and Valkey in memory, both gone with the block."""
    with tempfile.TemporaryDirectory(prefix="rf-valkey-") as folder, running({}) as postgres:
        valkey = Valkey(Path(folder))
        try:
            yield Servers(postgres, valkey.start())
        finally:
            valkey.stop()
