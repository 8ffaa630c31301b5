"""asyncpg's errors in Ringfence's words. None of them repeats a URL: it holds a password."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Final

import asyncpg
from asyncpg.exceptions import InternalClientError

from ringfence.errors import (
    AccessDenied,
    ConfigError,
    Problem,
    RingfenceError,
    StorageUnreachable,
)

FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    InternalClientError,
    OSError,
    TimeoutError,
)
"""What asking a server may raise."""

_UNDECIDED: Final = (
    "What was asked may have been done or not. Repeating it is safe, unless it appends events "
    "without a batch id."
)

_LOST: Final = (
    OSError,
    InternalClientError,
    asyncpg.InterfaceError,
    asyncpg.ConnectionDoesNotExistError,
)
_COLLISIONS: Final = frozenset({"40001", "40P01"})
_UNTRACKED: Final = frozenset({"26000", "42P05"})
_SHUT_DOWN: Final = frozenset({"57P01", "57P02"})


def state_of(error: BaseException) -> str:
    """The SQLSTATE of an answer, or nothing where the server did not answer."""
    return error.sqlstate or "" if isinstance(error, asyncpg.PostgresError) else ""


def collided(error: BaseException) -> bool:
    """Whether another transaction was in the way, and nothing was done."""
    return state_of(error) in _COLLISIONS


def untracked(error: BaseException) -> bool:
    """Whether a pooler gave the statement another server than the one that it was prepared on.

    Nothing was done.
    """
    return state_of(error) in _UNTRACKED


def outdated(error: BaseException) -> bool:
    """Whether the tables changed under a prepared statement. Nothing was done."""
    return isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError)


def broken(error: BaseException) -> bool:
    """Whether the connection ended before there was an answer."""
    if isinstance(error, TimeoutError | RingfenceError | asyncpg.DataError):
        return False
    return isinstance(error, _LOST) or state_of(error) in _SHUT_DOWN


def translate(error: BaseException, where: str, schema: str) -> RingfenceError:
    """The error to raise instead.

    Args:
        error: What asyncpg or the network raised.
        where: How messages name the server: DATABASE_URL, host and port.
        schema: The schema of the tables.
    """
    if isinstance(error, RingfenceError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _answered(error, where, schema)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _setting(
            f"set, but the certificate of {_bare(where)} is not trusted",
            "a server whose certificate sslrootcert and sslmode accept",
        )
    if "rejected SSL upgrade" in str(error):
        return _setting(
            f"set, but {_bare(where)} refused TLS",
            "PostgreSQL with TLS, or sslmode=disable where the network is trusted",
        )
    return _unanswered(error, where)


def _unanswered(error: BaseException, where: str) -> RingfenceError:
    if isinstance(error, asyncpg.InterfaceError | InternalClientError):
        why = "the connection was closed"
    elif isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return StorageUnreachable(
            f"{where} is out of reach (it refuses connections).",
            hint="Is the server started, and the port right?",
        )
    elif isinstance(error, socket.gaierror):
        return StorageUnreachable(f"{where} is out of reach (its name is unknown).")
    elif isinstance(error, TimeoutError):
        why = "no answer in time"
    elif isinstance(error, ssl.SSLError):
        why = "TLS failed"
    else:
        why = "the connection broke"
    return StorageUnreachable(f"{where} is out of reach ({why}).", hint=_UNDECIDED)


def _answered(error: asyncpg.PostgresError, where: str, schema: str) -> RingfenceError:
    code = state_of(error)
    for prefix, say in _WORDS.items():
        if code.startswith(prefix):
            return say(error, where, schema)
    return RingfenceError(f"{where} answered {type(error).__name__} ({code}): {_text(error)}.")


def unreadable() -> ConfigError:
    """For a URL that asyncpg makes nothing of. What asyncpg says of it may repeat parts of it."""
    return _setting("set, but cannot be read", "a URL like postgresql://user:password@host:5432/db")


def _setting(found: str, expected: str, hint: str | None = None) -> ConfigError:
    return ConfigError((Problem("DATABASE_URL", found, expected, hint),))


def _password(error: asyncpg.PostgresError, where: str, schema: str) -> RingfenceError:
    found = f"set, but {_bare(where)} does not accept its user and password"
    return _setting(found, "a user who may log in", f"The server says: {_text(error)}.")


def _database(error: asyncpg.PostgresError, where: str, schema: str) -> RingfenceError:
    found = f"set, but {_bare(where)} has no such database"
    hint = f"The server says: {_text(error)}. Create it: CREATE DATABASE."
    return _setting(found, "the URL of a database that exists", hint)


def _privilege(error: asyncpg.PostgresError, where: str, schema: str) -> RingfenceError:
    return AccessDenied(
        f"{where}: the server refused ({_text(error)}).",
        hint=f'Grant to the user of DATABASE_URL: GRANT USAGE ON SCHEMA "{schema}"; GRANT SELECT, '
        f'INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}".',
    )


def _gone(error: asyncpg.PostgresError, where: str, schema: str) -> RingfenceError:
    return RingfenceError(
        f"{where}: the schema {schema} is not what Ringfence made it ({_text(error)}).",
        hint="Restore it from a backup, or drop it to begin with an empty one.",
    )


def _sentence(text: str, hint: str) -> Callable[[asyncpg.PostgresError, str, str], RingfenceError]:
    def say(error: asyncpg.PostgresError, where: str, schema: str) -> RingfenceError:
        return StorageUnreachable(f"{where} {text} ({_text(error)}).", hint=hint)

    return say


def _bare(where: str) -> str:
    return where.removeprefix("DATABASE_URL ")


def _text(error: asyncpg.PostgresError) -> str:
    """The server's own sentence, without detail and context, which may hold what was stored."""
    return str(error.args[0] if error.args else "").splitlines()[0].rstrip(".")[:200]


_WORDS: Final[dict[str, Callable[[asyncpg.PostgresError, str, str], RingfenceError]]] = {
    "28": _password,
    "3D000": _database,
    "42501": _privilege,
    "42P01": _gone,
    "42883": _gone,
    "42703": _gone,
    "3F000": _gone,
    "25006": _sentence(
        "takes no changes",
        "A standby, or default_transaction_read_only: name the primary in DATABASE_URL.",
    ),
    "53100": _sentence("has no room left", "Its disk is full: give it room."),
    "53300": _sentence(
        "has no connection to spare",
        "Raise max_connections, lower the pool of each process, or put PgBouncer in between.",
    ),
    "53": _sentence("has run out of something", "Give the server more of it."),
    "40": _sentence("undid the change each time, for others' sake", "Try again."),
    "55P03": _sentence("kept a lock for too long", "Try again."),
    "57014": _sentence(
        "took too long",
        "The server ended the statement, as its statement_timeout or an operator says.",
    ),
    "57P0": _sentence("is starting or stopping", "Try again in a moment."),
    "58": _sentence("has trouble with its files", "See the server's log."),
    "XX": _sentence("has trouble of its own", "See the server's log."),
    "08": _sentence("broke off", _UNDECIDED),
}
