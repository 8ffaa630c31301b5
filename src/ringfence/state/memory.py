"""A state store in memory: the reference that every other store is compared with."""

from __future__ import annotations

from ringfence.layout import IdCase, Position, encode_id, run_position
from ringfence.state.base import (
    DEFAULT_PAGE,
    Page,
    check_limit,
    parse_cursor,
    run_exists,
    run_not_found,
    version_conflict,
)
from ringfence.state.record import RunRecord, RunStatus


class MemoryStateStore:
    """Run records in this process, gone with it. For tests and for trying things out."""

    def __init__(self, *, id_case: IdCase = IdCase.EXACT) -> None:
        self._id_case = id_case
        self._records: dict[str, RunRecord] = {}

    async def create(self, record: RunRecord) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.create`."""
        encode_id(record.app_id, self._id_case, what="app id")
        encode_id(record.user_id, self._id_case, what="user id")
        self._position(record)
        stored = self._records.setdefault(record.id, record)
        if not stored.same_run(record):
            raise run_exists(stored)
        return stored

    async def get(self, run_id: str) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.get`."""
        encode_id(run_id, self._id_case, what="run id")
        try:
            return self._records[run_id]
        except KeyError:
            raise run_not_found(run_id) from None

    async def replace(self, record: RunRecord, *, expected_version: int) -> RunRecord:
        """See :meth:`ringfence.state.base.StateStore.replace`."""
        stored = await self.get(record.id)
        if stored.version != expected_version:
            raise version_conflict(stored, expected_version)
        self._records[record.id] = record
        return record

    async def list(
        self,
        app_id: str,
        *,
        status: RunStatus | None = None,
        user_id: str | None = None,
        limit: int = DEFAULT_PAGE,
        cursor: str | None = None,
    ) -> Page:
        """See :meth:`ringfence.state.base.StateStore.list`. Never a short page before the end."""
        encode_id(app_id, self._id_case, what="app id")
        check_limit(limit)
        after = parse_cursor(cursor) or ""
        found = sorted(
            (self._position(record), record)
            for record in self._records.values()
            if record.app_id == app_id
            and status in {None, record.status}
            and user_id in {None, record.user_id}
            and self._position(record) > after
        )
        page = found[:limit]
        return Page(
            records=tuple(record for _, record in page),
            cursor=page[-1][0] if len(found) > limit else None,
        )

    async def close(self) -> None:
        """Nothing to close."""

    def _position(self, record: RunRecord) -> Position:
        run = encode_id(record.id, self._id_case, what="run id")
        return run_position(record.created_at, run)
