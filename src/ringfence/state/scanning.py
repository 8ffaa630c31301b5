"""Lists that are filtered by whoever reads them: what to look for, and how much work to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ringfence.state.record import RunRecord, RunStatus

MAX_SCAN: Final = 1000
"""Runs that one call of ``list`` looks at, at most, for those that a filter lets through."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the records at an app's positions a list shows."""

    app_id: str
    status: RunStatus | None
    user_id: str | None
    now: datetime

    def includes(self, record: RunRecord) -> bool:
        """Whether the list shows a record that stands there."""
        return (
            record.app_id == self.app_id
            and not record.expired(self.now)
            and self.status in {None, record.status}
            and self.user_id in {None, record.user_id}
        )

    def batch(self, missing: int, scanned: int, *, at_once: int) -> int:
        """How many records to read for so many that are missing; 0 when enough were looked at.

        With a filter most may be left out, and so may those that have expired: then as many as go
        at once.
        """
        sparse = scanned or self.status is not None or self.user_id is not None
        return min(max(missing, at_once) if sparse else missing, MAX_SCAN - scanned)
