"""The server's address: how it is reached, and what may be said of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import asyncpg

from ringfence.secret import Secret
from ringfence.state.postgres.failures import unreadable

if TYPE_CHECKING:
    from asyncpg import Connection

CONNECT_SECONDS: Final = 10.0
"""How long connecting may take, logging in included."""

COMMAND_SECONDS: Final = 30.0
"""How long the answer to one statement may take."""

_HOSTS: Final = re.compile(r"[\w.:\[\],-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is. ``where`` is what messages name it by: never more than host and port."""

    url: Secret
    where: str
    server_settings: tuple[tuple[str, str], ...]

    async def connect(self, *, statements: bool = True) -> Connection:
        """A new connection.

        Args:
            statements: Whether statements that are prepared may be known by a name to the server.

        Raises:
            ConfigError: the URL cannot be read.
            OSError, TimeoutError, asyncpg.PostgresError: see ``failures.translate``.
        """
        options: dict[str, Any] = {} if statements else {"statement_cache_size": 0}
        try:
            connection: Connection = await asyncpg.connect(
                self.url.reveal(),
                timeout=CONNECT_SECONDS,
                command_timeout=COMMAND_SECONDS,
                server_settings=dict(self.server_settings),
                **options,
            )
        except ValueError as error:
            if isinstance(error, OSError):
                raise
            raise unreadable() from None
        return connection


def parse_address(url: Secret | str) -> Address:
    """The address that a URL gives. Nothing is checked: connecting does."""
    text = url.reveal() if isinstance(url, Secret) else url
    secret = url if isinstance(url, Secret) else Secret(url)
    named = "application_name=" in text
    # Poolers take this one, and refuse most others.
    settings = () if named else (("application_name", "ringfence"),)
    return Address(secret, f"DATABASE_URL {_where(text)}", settings)


def _where(url: str) -> str:
    """Host and port, or the socket's folder. In doubt nothing: what looks like a host may be a
    part of a password that was not encoded.
    """
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
    except ValueError:
        return "(its host is not readable)"
    host = parts.netloc.rpartition("@")[2] or query.get("host", ["/tmp"])[0]  # noqa: S108
    port = query.get("port", [""])[0]
    if "@" in parts.path + parts.query + parts.fragment:
        return "(its host is not readable)"
    if host.startswith("/") and re.fullmatch(r"[\w./-]+", host):
        return host
    if not _HOSTS.fullmatch(host):
        return "(its host is not readable)"
    if re.search(r":\d+$", host):
        return host
    return f"{host}:{port or 5432}"
