"""A run's record: its fields and its form in JSON. What may change it is in ``ringfence.runs``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ringfence.scope import AccessMode


class RunStatus(StrEnum):
    """Where a run is in its life. The last four are terminal."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"

    @property
    def terminal(self) -> bool:
        """Whether a run of this status never changes again."""
        return self not in {RunStatus.PENDING, RunStatus.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run, at one version. Times are aware, in UTC, with microseconds.

    ``version`` is 1 when created and one more with each change: it is what compare-and-set
    compares. ``heartbeat_at`` is when its runner last said that it is alive; a RUNNING run whose
    heartbeat is older than its lease has lost its runner.
    """

    id: str
    app_id: str
    user_id: str
    mode: AccessMode
    status: RunStatus
    version: int
    created_at: datetime
    updated_at: datetime
    workflow: str | None = None
    workflow_version: str | None = None
    trigger: str | None = None
    progress: int = 0
    step: str | None = None
    input_bytes: int = 0
    output_bytes: int = 0
    error: str | None = None
    exit_code: int | None = None
    started_at: datetime | None = None
    heartbeat_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
