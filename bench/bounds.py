"""The limits: what each figure may be at worst. One row for each promise, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Side(StrEnum):
    """On which side of the limit a value must be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    EXACTLY = "exactly"


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit for the median of the ratios, or for a count."""

    side: Side
    limit: float

    def holds(self, value: float) -> bool:
        """Whether a value is on the right side."""
        match self.side:
            case Side.AT_MOST:
                return value <= self.limit
            case Side.AT_LEAST:
                return value >= self.limit
            case Side.EXACTLY:
                return value == self.limit

    def __str__(self) -> str:
        return f"{self.side} {self.limit:g}"


def _at_most(limit: float) -> Bound:
    return Bound(Side.AT_MOST, limit)


def _at_least(limit: float) -> Bound:
    return Bound(Side.AT_LEAST, limit)


def _exactly(limit: float) -> Bound:
    return Bound(Side.EXACTLY, limit)


BOUNDS: Final[Mapping[str, Bound]] = MappingProxyType(
    {
        # Times: ours over the peer's.
        "startup.import.sdks": _exactly(0),
        "startup.help": _at_most(1.5),
        "startup.run": _at_most(1.5),
        # Throughput: ours over that of a bare obstore store.
        "objects.put.1KiB.1": _at_least(0.97),
        "objects.put.1KiB.32": _at_least(0.97),
        "objects.get.1KiB.1": _at_least(0.97),
        "objects.get.1KiB.32": _at_least(0.97),
        "objects.put.8MiB.1": _at_least(0.97),
        "objects.put.8MiB.32": _at_least(0.97),
        "objects.get.8MiB.1": _at_least(0.97),
        "objects.get.8MiB.32": _at_least(0.97),
        # Throughput: ours over the least code by hand.
        **{
            f"state.{store}.{in_flight}": _at_least(0.8)
            for store in ("postgres", "redis", "s3")
            for in_flight in (1, 32)
        },
        # Throughput: ours over that of a product that one would take instead.
        "state.postgres.dbos": _at_least(5),
        # Times: the newest page among many runs over the one among few.
        "state.postgres.page": _at_most(1.3),
        "state.redis.page": _at_most(1.3),
        # Round trips.
        **{f"state.postgres.trips.{what}": _exactly(1) for what in ("create", "change", "append")},
        "state.postgres.trips.list": _exactly(1),
        "state.redis.trips.list": _at_most(2),
        # Requests beyond those of the page among few.
        "state.s3.page.more": _exactly(0),
        # Requests of a page of 100 among 100,000 runs: a read for each run, and where no two are
        # close together a list for each, beside those of the levels above and of reading ahead.
        **{f"express.page.{apart}": _at_most(220) for apart in ("80-s", "a-second", "10-ms")},
        # Calls to STS for a hundred callers that ask for one scope at once.
        "vending.single-flight": _exactly(1),
        # Credentials for R2 that are signed here, a second; calls to Cloudflare's API for one.
        "r2.signing": _at_least(10_000),
        "r2.api.calls": _exactly(1),
        "r2.api.cached": _exactly(0),
        # Azure SAS that are signed here, a second; requests for a delegation key for all of them.
        "azure.signing.key": _at_least(5_000),
        "azure.signing.delegated": _at_least(5_000),
        "azure.delegation-keys": _exactly(1),
        # Requests for a downscoped token of Google Cloud, and beside the exchanges.
        "gcp.exchanges": _exactly(1),
        "gcp.exchanges.many": _exactly(1),
        "gcp.cached": _exactly(0),
        "gcp.others.many": _exactly(0),
    }
)
