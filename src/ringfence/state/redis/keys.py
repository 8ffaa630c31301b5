"""Every key of the store, and which of them lie together.

::

    {prefix}:{5a}:run:{run}        hash    v version, w write token, j record, x when it expires,
                                           n number of the last event, b:{batch}, c:{consumer}
    {prefix}:{5a}:events:{run}     stream  <number>-0: a time, p payload; <number>-1: the run ended
    {prefix}:{5a}:leases           zset    runs of this bucket that are RUNNING, by leased_until

    {prefix}:{c3}:index:{app}      zset    positions of the app's runs, all of score 0
    {prefix}:{c3}:expiring:{app}   zset    those that have ended and expire, by when
    {prefix}:{c3}:orphans:{app}    zset    those without a record, by when that was seen
    {prefix}:{c3}:due              zset    apps of this bucket, by when their first run expires

The braces are hash tags of Redis Cluster: keys of one tag are in one slot. There are 256 of them,
for runs and apps alike, so that work is spread evenly, and that all of a kind can be visited.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zlib import crc32

from ringfence.errors import UsageError
from ringfence.layout import (
    IdCase,
    Position,
    encode_id,
    position_record_key,
    run_position,
    run_record_key,
)

BUCKETS: Final = 256

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class RunKeys:
    """Where a run is. ``segment`` is its encoded id, shortened if need be."""

    segment: str
    record: str
    events: str
    leases: str


@dataclass(frozen=True, slots=True)
class AppKeys:
    """Where an app's list is."""

    app: str
    index: str
    expiring: str
    orphans: str
    due: str


class Keys:
    """The keys of one installation.

    Args:
        prefix: What they begin with, 1 to 64 of ``A-Z a-z 0-9 _ . : -``.
        id_case: How ids are encoded.

    Raises:
        UsageError: the prefix is none.
    """

    def __init__(self, prefix: str, id_case: IdCase) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise UsageError(
                f"The prefix {prefix!r} cannot begin keys: 1 to 64 of A-Z a-z 0-9 _ . : - are "
                "allowed."
            )
        self._id_case = id_case
        self._buckets = [f"{prefix}:{{{number:02x}}}" for number in range(BUCKETS)]

    def run(self, run_id: str) -> RunKeys:
        """A run's keys.

        Raises:
            InvalidId: the id cannot be encoded.
        """
        key = run_record_key(encode_id(run_id, self._id_case, what="run id"))
        return self.of_segment(key.split("/")[2])

    def of_segment(self, segment: str) -> RunKeys:
        """A run's keys, from what stands for it in an index."""
        bucket = self._bucket(segment)
        return RunKeys(
            segment, f"{bucket}:run:{segment}", f"{bucket}:events:{segment}", f"{bucket}:leases"
        )

    def at(self, position: Position) -> RunKeys:
        """The keys of the run that stands at a position."""
        return self.of_segment(position_record_key(position).split("/")[2])

    def app(self, app_id: str) -> AppKeys:
        """The keys of an app's list.

        Raises:
            InvalidId: the id cannot be encoded.
        """
        return self.of_app(encode_id(app_id, self._id_case, what="app id"))

    def of_app(self, app: str) -> AppKeys:
        """The keys of an app's list, from its encoded id."""
        bucket = self._bucket(app)
        return AppKeys(
            app,
            index=f"{bucket}:index:{app}",
            expiring=f"{bucket}:expiring:{app}",
            orphans=f"{bucket}:orphans:{app}",
            due=f"{bucket}:due",
        )

    def consumer(self, consumer: str) -> str:
        """The field of a run's hash that has how far a consumer has come.

        Raises:
            InvalidId: the id cannot be encoded.
        """
        return f"c:{encode_id(consumer, self._id_case, what='consumer id')}"

    def position(self, run_id: str, created_at: datetime) -> Position:
        """Where a run stands in its app's list."""
        return run_position(created_at, encode_id(run_id, self._id_case, what="run id"))

    def check_user(self, user_id: str) -> None:
        """Checks an id that is stored and in no key.

        Raises:
            InvalidId: it cannot be encoded.
        """
        encode_id(user_id, self._id_case, what="user id")

    @property
    def all_leases(self) -> list[str]:
        """The leases of every bucket."""
        return [f"{bucket}:leases" for bucket in self._buckets]

    @property
    def all_due(self) -> list[str]:
        """The apps with runs that expire, of every bucket."""
        return [f"{bucket}:due" for bucket in self._buckets]

    def _bucket(self, segment: str) -> str:
        return self._buckets[crc32(segment.encode("ascii")) % BUCKETS]


def score(time: datetime) -> int:
    """A time as scores have it: microseconds since 1970. Exact until 2255, in order for ever."""
    return (time - _EPOCH) // _MICROSECOND


def micros(time: datetime) -> str:
    """A time as scripts compare it: microseconds since 1970, in 18 digits."""
    return f"{score(time):018d}"


def from_micros(text: bytes) -> datetime:
    """The time that :func:`micros` wrote."""
    return _EPOCH + timedelta(microseconds=int(text))
