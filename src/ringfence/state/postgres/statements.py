"""The SQL of every operation, for one schema. Each is one round trip."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from ringfence.errors import UsageError
from ringfence.state.event import MAX_READ_BYTES

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)


class Statement:
    """Some SQL, under a name that only this SQL has.

    A pooler that gives each transaction another server may execute what another process prepared
    under that name: then it is the same.
    """

    __slots__ = ("name", "sql")

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.name = "ringfence_" + blake2b(sql.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Statements:
    """What the store asks. ``listings`` is by whether a status, and whether a user is given."""

    create: Statement
    recreate: Statement
    get: Statement
    replace: Statement
    finish: Statement
    listings: dict[tuple[bool, bool], Statement]
    append: Statement
    events: Statement
    watch: Statement
    acknowledge: Statement
    acknowledged: Statement
    abandoned: Statement
    purge: Statement
    version: Statement


def check_schema(schema: str) -> str:
    """``schema``, if it is a name that needs no thought where it stands in SQL.

    Raises:
        UsageError: it is none.
    """
    if not _SCHEMA.fullmatch(schema):
        raise UsageError(
            f"{schema!r} is no name for Ringfence's schema: it takes up to 63 characters of "
            "a-z, 0-9 and _, and begins with no digit.",
        )
    return schema


def in_schema(sql: str, schema: str) -> str:
    """SQL that is written for the schema ``ringfence``, for another."""
    return sql.replace('"ringfence"', f'"{schema}"').replace("'ringfence'", f"'{schema}'")


def make_statements(schema: str) -> Statements:
    """The statements for a schema.

    Raises:
        UsageError: it is no name for one.
    """
    check_schema(schema)

    def made(sql: str) -> Statement:
        return Statement(in_schema(sql, schema))

    return Statements(
        create=made(_CREATE),
        recreate=made(_RECREATE),
        get=made(_GET),
        replace=made(_REPLACE),
        finish=made(_FINISH),
        listings={
            (status, user): made(_listing(status=status, user=user))
            for status in (False, True)
            for user in (False, True)
        },
        append=made(_APPEND),
        events=made(_EVENTS),
        watch=made(_WATCH),
        acknowledge=made(_ACKNOWLEDGE),
        acknowledged=made(_ACKNOWLEDGED),
        abandoned=made(_ABANDONED),
        purge=made(_PURGE),
        version=made(_VERSION),
    )


# The second half is looked at only where the first did nothing. No row at all: another writer was
# there first, and had not committed when this began.
_CREATE: Final = """
WITH made AS (
    INSERT INTO "ringfence".runs
        (id, app_id, user_id, position, status, version, expires_at, leased_until, record)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (id) DO NOTHING
    RETURNING 1
)
SELECT NULL AS record FROM made
UNION ALL
SELECT record FROM "ringfence".runs WHERE id = $1 AND NOT EXISTS (SELECT FROM made)
"""

_RECREATE: Final = """
SELECT "ringfence".recreate($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

_GET: Final = """
SELECT record FROM "ringfence".runs WHERE id = $1
"""

_SWAP: Final = """
WITH swapped AS (
    UPDATE "ringfence".runs
    SET status = $3, version = $4, expires_at = $5, leased_until = $6, record = $7
    WHERE id = $1 AND version = $2 AND (expires_at IS NULL OR expires_at > $8)
    RETURNING {told}
)
SELECT NULL AS record FROM swapped
UNION ALL
SELECT record FROM "ringfence".runs WHERE id = $1 AND NOT EXISTS (SELECT FROM swapped)
"""

_REPLACE: Final = _SWAP.format(told="1")

# Those who follow the run's events are told of its end.
_FINISH: Final = _SWAP.format(
    told="""CASE WHEN tailed_until > clock_timestamp()
        THEN pg_notify('ringfence', id)::text END"""
)


def _listing(*, status: bool, user: bool) -> str:
    filters = ["app_id = $1", "position > $2", "(expires_at IS NULL OR expires_at > $3)"]
    for column in ["status"] * status + ["user_id"] * user:
        filters.append(f"{column} = ${len(filters) + 2}")
    where = " AND ".join(filters)
    return f'SELECT record FROM "ringfence".runs WHERE {where} ORDER BY position LIMIT $4'  # noqa: S608


_APPEND: Final = """
SELECT "ringfence".append($1, $2, $3, $4, $5)
"""

# One row without an event where the run has none. The window ends a page that grows too large; the
# length of a payload is known without reading it.
_EVENTS: Final = f"""
SELECT e.sequence, e.at, e.payload
FROM "ringfence".runs r
LEFT JOIN LATERAL (
    SELECT sequence, at, payload
    FROM (
        SELECT sequence, at, payload, octet_length(payload) AS size,
            sum(octet_length(payload)) OVER (ORDER BY sequence ROWS UNBOUNDED PRECEDING) AS total
        FROM "ringfence".events
        WHERE run = r.number AND sequence > $3
        ORDER BY sequence
        LIMIT $4
    ) sized
    WHERE total - size < {MAX_READ_BYTES}
) e ON true
WHERE r.id = $1 AND (r.expires_at IS NULL OR r.expires_at > $2)
ORDER BY e.sequence
"""  # noqa: S608

_WATCH: Final = """
SELECT last, state FROM "ringfence".watch($1, $2, $3)
"""

# Under the lock a run is not removed meanwhile, which would leave the row of a run that is gone.
_ACKNOWLEDGE: Final = """
WITH run AS (
    SELECT number, coalesce(
        (SELECT max(e.sequence) FROM "ringfence".events e WHERE e.run = number), 0) AS last
    FROM "ringfence".runs
    WHERE id = $1 AND (expires_at IS NULL OR expires_at > $2)
    FOR KEY SHARE
), noted AS (
    INSERT INTO "ringfence".consumers AS c (run, consumer, sequence)
    SELECT number, $3, $4::bigint FROM run WHERE $4 <= last
    ON CONFLICT (run, consumer) DO UPDATE SET sequence = greatest(c.sequence, excluded.sequence)
    RETURNING sequence
)
SELECT (SELECT sequence FROM noted) AS sequence FROM run
"""

_ACKNOWLEDGED: Final = """
SELECT coalesce(c.sequence, 0) AS sequence
FROM "ringfence".runs r
LEFT JOIN "ringfence".consumers c ON c.run = r.number AND c.consumer = $3
WHERE r.id = $1 AND (r.expires_at IS NULL OR r.expires_at > $2)
"""

_ABANDONED: Final = """
SELECT record FROM "ringfence".runs WHERE status = 'RUNNING' AND leased_until < $1 LIMIT $2
"""

_PURGE: Final = """
SELECT "ringfence".purge($1, $2)
"""

_VERSION: Final = """
SELECT coalesce(max(version), 0) AS version FROM "ringfence".migrations
"""
