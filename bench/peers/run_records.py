"""A run's record and events by hand: the least code on each client that keeps them.

Every one of them creates a run, starts it, appends ten events one after the other, finishes it and
reads it back. What they leave out is what they would need a library for: lists of an app's runs on
S3, batches that may be repeated, leases, expiry, errors in words.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncpg
    from obstore import PutMode
    from obstore.store import ObjectStore
    from redis.asyncio import Redis

EVENTS: Final = 10


def _row(run_id: str, status: str) -> str:
    now = datetime.now(UTC).isoformat()
    return json.dumps({"id": run_id, "app": "bench", "user": "bench", "status": status, "at": now})


class OnAsyncpg:
    """Two tables, one statement for each step."""

    SCHEMA: Final = """
        CREATE TABLE IF NOT EXISTS runs (
            id text PRIMARY KEY, app text NOT NULL, status text NOT NULL, version bigint NOT NULL,
            created timestamptz NOT NULL, record text NOT NULL, last bigint NOT NULL DEFAULT 0);
        CREATE INDEX IF NOT EXISTS runs_by_app ON runs (app, created DESC);
        CREATE TABLE IF NOT EXISTS events (
            run text NOT NULL, sequence bigint NOT NULL, payload text NOT NULL,
            PRIMARY KEY (run, sequence));
    """

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def life(self, run_id: str) -> None:
        """A run from its creation to its end."""
        await self._pool.execute(
            "INSERT INTO runs (id, app, status, version, created, record)"
            " VALUES ($1, $2, $3, 1, $4, $5)",
            *(run_id, "bench", "PENDING", datetime.now(UTC), _row(run_id, "PENDING")),
        )
        await self._change(run_id, "RUNNING", 1)
        for number in range(EVENTS):
            await self._pool.fetchval(
                "WITH run AS (UPDATE runs SET last = last + 1 WHERE id = $1 RETURNING last)"
                " INSERT INTO events SELECT $1, last, $2 FROM run RETURNING sequence",
                *(run_id, json.dumps({"n": number})),
            )
        await self._change(run_id, "COMPLETED", 2)
        json.loads(await self._pool.fetchval("SELECT record FROM runs WHERE id = $1", run_id))

    async def _change(self, run_id: str, status: str, version: int) -> None:
        await self._pool.fetchval(
            "UPDATE runs SET status = $2, version = version + 1, record = $3"
            " WHERE id = $1 AND version = $4 RETURNING version",
            *(run_id, status, _row(run_id, status), version),
        )


class OnRedis:
    """A hash and a stream for each run, one pipeline for each step. Nothing is compared."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def life(self, run_id: str) -> None:
        """A run from its creation to its end."""
        key, events = f"run:{run_id}", f"events:{run_id}"
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hset(key, mapping={"version": 1, "record": _row(run_id, "PENDING")})
            pipe.zadd("app:bench", {run_id: datetime.now(UTC).timestamp()})
            await pipe.execute()
        await self._change(key, "RUNNING", run_id)
        for number in range(EVENTS):
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.hincrby(key, "last", 1)
                pipe.xadd(events, {"payload": json.dumps({"n": number})})
                await pipe.execute()
        await self._change(key, "COMPLETED", run_id)
        json.loads((await self._client.hgetall(key))[b"record"])

    async def _change(self, key: str, status: str, run_id: str) -> None:
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hincrby(key, "version", 1)
            pipe.hset(key, mapping={"record": _row(run_id, status)})
            await pipe.execute()


class OnObstore:
    """An object for the record and one for each event, on conditional puts."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def life(self, run_id: str) -> None:
        """A run from its creation to its end."""
        key = f"{self._prefix}/{run_id}"
        tag = await self._put(f"{key}/record.json", _row(run_id, "PENDING"), "create")
        tag = await self._put(f"{key}/record.json", _row(run_id, "RUNNING"), tag)
        for number in range(EVENTS):
            await self._put(f"{key}/events/{number:08d}", json.dumps({"n": number}), "create")
        await self._put(f"{key}/record.json", _row(run_id, "COMPLETED"), tag)
        answer = await self._store.get_async(f"{key}/record.json")
        json.loads(bytes(await answer.bytes_async()))

    async def _put(self, key: str, body: str, mode: PutMode) -> PutMode:
        put = await self._store.put_async(key, body.encode(), mode=mode)
        return {"e_tag": put["e_tag"]}
