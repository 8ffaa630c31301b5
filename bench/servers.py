"""The databases that the state stores are measured on: real servers, fresh for the while."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.state.postgres.server import running
from tests.state.redis.servers import Valkey


@dataclass(frozen=True, slots=True)
class Servers:
    """Where they are."""

    postgres: str
    """By its socket."""
    postgres_tcp: str
    redis: str


@contextmanager
def servers() -> Iterator[Servers]:
    """PostgreSQL with its default durability, and Valkey in memory, both gone with the block."""
    with tempfile.TemporaryDirectory(prefix="rf-valkey-") as folder, running({}) as postgres:
        valkey = Valkey(Path(folder))
        try:
            valkey.start()
            yield Servers(postgres.url(), postgres.tcp_url(), valkey.url.reveal())
        finally:
            valkey.stop()
