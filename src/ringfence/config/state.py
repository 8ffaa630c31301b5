"""Reads where execution state lives."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from ringfence.config.model import StateBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringfence.config.reader import Reader
    from ringfence.secret import Secret

_LONGEST_TTL: Final = 100 * 365 * 24 * 3600
_HINTS: Final = {
    "postgresql": "Write postgres.",
    "pg": "Write postgres.",
    "valkey": "Valkey speaks redis: write redis.",
    "aws": "Write s3 for the meta bucket, on every provider.",
}


class StateSettings(NamedTuple):
    """The chosen backend; only its own URL is read."""

    backend: StateBackend
    database_url: Secret | None
    redis_url: Secret | None
    ttl: timedelta | None


def read_state(reader: Reader) -> StateSettings:
    """The state backend and its URL, which may be absent: opening the store asks for it."""
    backend = reader.choice("EXECUTION_STATE_BACKEND", StateBackend, _HINTS)
    database_url = redis_url = None
    # A DATABASE_URL beside another backend is most likely the application's, so it is not ours.
    if backend is StateBackend.POSTGRES:
        database_url = _read_url(reader, "DATABASE_URL", _is_database, "postgresql://user@host/db")
    elif backend is StateBackend.REDIS:
        redis_url = _read_url(reader, "REDIS_URL", _is_redis, "redis://host:6379/0")
    seconds = reader.whole("EXECUTION_STATE_TTL_SECONDS", 0, _LONGEST_TTL, "seconds")
    ttl = timedelta(seconds=seconds) if seconds else None
    return StateSettings(backend or StateBackend.POSTGRES, database_url, redis_url, ttl)


def _read_url(
    reader: Reader, name: str, is_right: Callable[[str], bool], example: str
) -> Secret | None:
    secret = reader.secret(name)
    if secret is None:
        if reader.shown(name) in {None, "empty"}:
            reader.note(name, "not set; the state store cannot be opened without it.")
        return None
    if not is_right(secret.reveal()):
        reader.problem(name, f"a URL like {example}", _scheme_hint(secret.reveal()))
    return secret


def _is_database(url: str) -> bool:
    # The host may be empty, or in the query: a Unix socket.
    return bool(re.match(r"postgres(?:ql)?://[^\s]*\Z", url))


def _is_redis(url: str) -> bool:
    return bool(re.match(r"rediss?://[^\s/?#]+|unix://(?:[^/@]*@)?/[^\s]", url))


def _scheme_hint(url: str) -> str | None:
    scheme = re.match(r"([a-z]+)(?:\+[a-z0-9]+)?(?=://)", url)
    if scheme is None:
        return None
    if scheme[1] in {"postgres", "postgresql"} and "+" in scheme[0]:
        return "Without the driver's name after the +."
    if scheme[1] in {"valkey", "valkeys"}:
        return f"Valkey speaks redis: begin it with {scheme[1].replace('valkey', 'redis')}://."
    return None
