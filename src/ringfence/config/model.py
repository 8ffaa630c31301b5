"""What every installation has, whatever its cloud: three buckets and a state backend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ringfence.layout import BucketRole


class StateBackend(StrEnum):
    """Where run records and events live."""

    POSTGRES = "postgres"
    REDIS = "redis"
    S3 = "s3"


@dataclass(frozen=True, slots=True)
class Buckets:
    """The names of the three buckets (containers, on Azure). No two are the same."""

    meta: str
    content: str
    log: str

    def of(self, role: BucketRole) -> str:
        """The name of the bucket that plays a role."""
        match role:
            case BucketRole.META:
                return self.meta
            case BucketRole.CONTENT:
                return self.content
            case BucketRole.LOG:
                return self.log
