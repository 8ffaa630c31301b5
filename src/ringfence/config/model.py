"""What every installation has, whatever its cloud: three buckets and a state backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ringfence.layout import BucketRole


class StateBackend(StrEnum):
    """Where run records and events live."""

    POSTGRES = "postgres"
    REDIS = "redis"
    S3 = "s3"


@dataclass(frozen=True, slots=True)
class Buckets:
    """The names of the three buckets (containers, on Azure). No two are the same.

    ``variables`` are those that the three names were read from, in the same order.
    """

    meta: str
    content: str
    log: str
    variables: tuple[str, str, str] = field(
        default=("META_BUCKET", "CONTENT_BUCKET", "LOG_BUCKET"), compare=False, kw_only=True
    )

    def of(self, role: BucketRole) -> str:
        """The name of the bucket that plays a role."""
        match role:
            case BucketRole.META:
                return self.meta
            case BucketRole.CONTENT:
                return self.content
            case BucketRole.LOG:
                return self.log

    def variable(self, role: BucketRole) -> str:
        """The variable to correct when that bucket is the wrong one."""
        return self.variables[tuple(BucketRole).index(role)]

    def named(self, role: BucketRole) -> str:
        """A bucket in a message: its variable, then its name."""
        return f"{self.variable(role)} {self.of(role)}"
