"""The tables, and how they come to be: plain SQL files, applied in the order of their numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg

from ringfence.errors import AccessDenied, LayoutMismatch
from ringfence.state.postgres.statements import in_schema

if TYPE_CHECKING:
    from asyncpg import Connection

    from ringfence.state.postgres.address import Address

MIGRATE_SECONDS: Final = 300.0
"""How long the migrations may take, the wait for another process that is at them included."""

_FOLDER: Final = Path(__file__).parent / "migrations"

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS "ringfence".migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step. ``number`` is 1 for the first, and none is left out."""

    number: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All steps that this version knows, in order."""
    steps = [
        Migration(int(path.name[:4]), path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(_FOLDER.glob("*.sql"))
        if re.match(r"\d{4}_", path.name)
    ]
    return tuple(steps)


def current(version: int, where: str, schema: str) -> bool:
    """Whether the schema is as this version wants it; if not, it is to be migrated.

    Raises:
        LayoutMismatch: a newer Ringfence made it.
    """
    newest = migrations()[-1].number
    if version > newest:
        raise LayoutMismatch(
            f"{where}: the schema {schema} was made by a newer Ringfence (version {version}; this "
            f"one knows up to {newest}).",
            hint="Upgrade Ringfence on this machine.",
        )
    return version == newest


async def migrate(address: Address, schema: str) -> None:
    """Brings the schema up to date, in one transaction. Any number of processes may do so at once.

    Raises:
        LayoutMismatch: a newer Ringfence made it.
        AccessDenied: the user may not; the hint has the GRANT.
        asyncpg.PostgresError and others: see ``failures.FAILURES``.
    """
    connection = await address.connect(statements=False)
    try:
        try:
            # A lock of the transaction, not of the session: a pooler shares sessions.
            async with connection.transaction(isolation="read_committed"):
                await _locked(connection, address.where, schema)
        except asyncpg.InsufficientPrivilegeError as error:
            raise await _denied(connection, address.where, schema, error) from None
    finally:
        connection.terminate()


async def _locked(connection: Connection, where: str, schema: str) -> None:
    await connection.execute(
        f"SELECT pg_advisory_xact_lock({_lock_key(schema)})", timeout=MIGRATE_SECONDS
    )
    # Not IF NOT EXISTS: that asks for the right to create it even where it exists.
    if await connection.fetchval("SELECT to_regnamespace($1) IS NULL", schema):
        await connection.execute(f'CREATE SCHEMA "{schema}"')
    if await connection.fetchval("SELECT to_regclass($1) IS NULL", f"{schema}.migrations"):
        await connection.execute(in_schema(_TABLE, schema))
    version = await connection.fetchval(
        f'SELECT coalesce(max(version), 0) FROM "{schema}".migrations'  # noqa: S608 - a checked name
    )
    if current(version, where, schema):
        return
    for step in migrations()[version:]:
        await connection.execute(in_schema(step.sql, schema), timeout=MIGRATE_SECONDS)
        await connection.execute(
            f'INSERT INTO "{schema}".migrations (version, name) VALUES ($1, $2)',  # noqa: S608
            step.number,
            step.name,
        )


async def _denied(
    connection: Connection, where: str, schema: str, error: asyncpg.PostgresError
) -> AccessDenied:
    row = await connection.fetchrow("SELECT current_user AS role, current_database() AS base")
    role, base = (row["role"], row["base"]) if row else ("...", "...")
    return AccessDenied(
        f"{where}: the user {role} may not make Ringfence's tables ({error.args[0]}).",
        hint=f'GRANT CREATE ON DATABASE "{base}" TO "{role}"; or CREATE SCHEMA "{schema}" '
        f'AUTHORIZATION "{role}".',
    )


def _lock_key(schema: str) -> int:
    """A number for the lock that no one else is likely to use."""
    digest = blake2b(f"ringfence migrations {schema}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
