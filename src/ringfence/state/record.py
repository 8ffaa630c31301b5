"""A run's record: its fields and what they may hold. What changes it is in ``ringfence.runs``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from ringfence.errors import UsageError
from ringfence.scope import AccessMode

MAX_TEXT_BYTES: Final = 1024
"""Longest workflow, workflow version, trigger and step, in UTF-8."""

MAX_ERROR_BYTES: Final = 4096
"""Longest error text, in UTF-8."""

MAX_COUNT: Final = 2**63 - 1
"""Largest count of bytes: what a database's 64-bit column holds."""

MAX_SECONDS: Final = 100 * 366 * 24 * 3600
"""Longest lease and time to live: a hundred years."""

DEFAULT_LEASE_SECONDS: Final = 60

_TIMES: Final = (
    "created_at",
    "updated_at",
    "started_at",
    "heartbeat_at",
    "completed_at",
    "expires_at",
)
_BOUNDED: Final = {
    "workflow": MAX_TEXT_BYTES,
    "workflow_version": MAX_TEXT_BYTES,
    "trigger": MAX_TEXT_BYTES,
    "step": MAX_TEXT_BYTES,
    "error": MAX_ERROR_BYTES,
}


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
    heartbeat is older than ``lease_seconds`` has lost its runner. ``expires_at`` is set when the
    run ends, ``ttl_seconds`` later; a ``ttl_seconds`` of 0 keeps the record for ever.

    Raises:
        UsageError: a text is too long, or is none that every store can hold.
        ValueError: a time without UTC, or a number out of its range.
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
    lease_seconds: int = DEFAULT_LEASE_SECONDS
    ttl_seconds: int = 0

    def __post_init__(self) -> None:
        for name in _TIMES:
            _check_time(name, getattr(self, name))
        for name, limit in _BOUNDED.items():
            _check_text(name, getattr(self, name), limit)
        _check_range("version", self.version, 1, MAX_COUNT)
        _check_range("progress", self.progress, 0, 100)
        for name in ("input_bytes", "output_bytes"):
            _check_range(name, getattr(self, name), 0, MAX_COUNT)
        for name in ("lease_seconds", "ttl_seconds"):
            _check_range(name, getattr(self, name), 0, MAX_SECONDS)

    @property
    def leased_until(self) -> datetime | None:
        """When a RUNNING run counts as abandoned, unless its heart beats before; else None."""
        if self.status is not RunStatus.RUNNING:
            return None
        return (self.heartbeat_at or self.updated_at) + timedelta(seconds=self.lease_seconds)

    def stale(self, now: datetime) -> bool:
        """Whether the run's lease is over: RUNNING by its record, but no runner says so."""
        until = self.leased_until
        return until is not None and until < now

    def expired(self, now: datetime) -> bool:
        """Whether its time to live is over: to readers it is not there any more."""
        return self.expires_at is not None and self.expires_at <= now

    def same_run(self, other: RunRecord) -> bool:
        """Whether both were created with the same content, whatever happened since, and when."""
        return _content(self) == _content(other)


def _content(record: RunRecord) -> tuple[str | None, ...]:
    return (
        record.id,
        record.app_id,
        record.user_id,
        record.mode,
        record.workflow,
        record.workflow_version,
        record.trigger,
    )


def bounded(text: str, limit: int) -> str:
    """``text`` as every store can hold it: at most ``limit`` bytes of UTF-8, no NUL.

    What a process printed before it died may be any bytes, and of any length.
    """
    # A character is at least a byte, so cutting first spares encoding what is thrown away.
    data = text[: limit + 1].replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    mark = "\N{HORIZONTAL ELLIPSIS}"
    return data[: limit - len(mark.encode())].decode(errors="ignore") + mark


def _check_time(name: str, value: datetime | None) -> None:
    if value is None:
        return
    if value.utcoffset() != timedelta(0):
        raise ValueError(f"{name} is {value!r}, which is not in UTC")
    # The upper end leaves room for a lease and a time to live.
    if not 1970 <= value.year < 9000:
        raise ValueError(f"{name} is {value!r}, not in 1970 to 8999")


def _check_text(name: str, value: str | None, limit: int) -> None:
    if value is None:
        return
    what = name.replace("_", " ")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise UsageError(f"The {what} holds a lone surrogate, which is not Unicode text.") from None
    if size > limit:
        raise UsageError(f"The {what} is {size} bytes long; at most {limit} are kept.")
    if "\x00" in value:
        raise UsageError(f"The {what} holds a NUL character, which not every store can keep.")


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}, not in {least} to {most}")
