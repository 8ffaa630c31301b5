"""Where a tenant knocks, with which keys, and which probes its SDK can put at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ringfence.config import Buckets
from ringfence.layout import BucketRole
from ringfence.testing.isolation import LISTINGS, Operation, Place, Probe
from tests.isolation.wire import Keys

TIMEOUT_SECONDS: Final = 30
_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Site:
    """One endpoint as a fenced tenant sees it.

    ``ca`` is the authority of a TLS endpoint, in PEM. ``s3_options`` go into botocore's
    ``Config(s3=...)``, ``store_options`` into obstore's ``S3Store``, for what a cloud needs beyond.
    """

    endpoint: str
    region: str
    keys: Keys
    buckets: Buckets
    path_style: bool = True
    ca: Path | None = None
    s3_options: Mapping[str, Any] = field(default_factory=lambda: _NONE)
    store_options: Mapping[str, Any] = field(default_factory=lambda: _NONE)

    def bucket(self, role: BucketRole) -> str:
        return self.buckets.of(role)


def is_plain(probe: Probe) -> bool:
    """Whether clients that know keys as paths of segments can put this probe as it is.

    They refuse, or would normalise, empty and dot segments and keys that end in a slash, and list
    whole segments only. What they cannot ask for, their users cannot either.
    """
    ends = [probe.place, *([probe.other] if probe.other else [])]
    return all(_is_plain(end, listed=probe.operation in LISTINGS) for end in ends)


def _is_plain(place: Place, *, listed: bool) -> bool:
    if listed:
        return not place.key or (
            place.key.endswith("/") and all(map(_is_name, place.key[:-1].split("/")))
        )
    return all(map(_is_name, place.key.split("/")))


def _is_name(segment: str) -> bool:
    return segment not in {"", ".", ".."} and segment.isprintable()


def is_in_one_bucket(probe: Probe) -> bool:
    """Whether it is no copy from one bucket to another, which a store on one bucket has not."""
    return probe.other is None or probe.other.bucket is probe.bucket


WITHOUT_UPLOADS: Final = frozenset(Operation) - {
    Operation.UPLOAD_START,
    Operation.UPLOAD_PART,
    Operation.UPLOAD_PARTS,
    Operation.UPLOAD_COMPLETE,
    Operation.UPLOAD_ABORT,
    Operation.PART_COPY_FROM,
    Operation.PART_COPY_TO,
}
