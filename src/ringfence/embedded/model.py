"""What the embedded engine is, as values: its state, its ports and its doors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ringfence.layout import BucketRole

HOST: Final = "127.0.0.1"
"""Every port of the engine is bound to this address and to no other."""

REGION: Final = "us-east-1"

BUCKETS: Final[Mapping[BucketRole, str]] = MappingProxyType(
    {
        BucketRole.META: "flow-like-meta",
        BucketRole.CONTENT: "flow-like-content",
        BucketRole.LOG: "flow-like-logs",
    }
)
"""The buckets that :func:`~ringfence.embedded.up` makes."""


class Port(StrEnum):
    """The ports of the engine. Only ``s3`` is for use; the rest are its own parts talking."""

    S3 = "s3"
    S3_GRPC = "s3_grpc"
    FILER = "filer"
    FILER_GRPC = "filer_grpc"
    MASTER = "master"
    MASTER_GRPC = "master_grpc"
    VOLUME = "volume"
    VOLUME_GRPC = "volume_grpc"


Ports = Mapping[Port, int]


class Closed(StrEnum):
    """What keeps a door closed to a process that lacks the keys."""

    SIGNATURE = "signature"
    """Answers; every operation needs an AWS signature (version 4) by a key that it knows."""
    MUTUAL_TLS = "mutual TLS"
    """The handshake ends unless the caller has the installation's own certificate."""
    NO_HANDLERS = "no handlers"
    """Answers 404 to everything but the pictures of a web page that is switched off."""


@dataclass(frozen=True, slots=True)
class Door:
    """A listening port or Unix socket. ``address`` is ``host:port`` or a path."""

    name: str
    address: str
    closed: Closed

    @property
    def unix(self) -> bool:
        """Whether it is a Unix socket."""
        return self.address.startswith("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An embedded engine as it was found. Holds no secret; those are in ``env_file``.

    ``running`` is whether its process lives, ``ready`` whether it answered a signed request,
    ``full`` whether the disk has so little room left that it takes no more data, and ``started``
    whether the call that returned this has started it.
    """

    state_dir: Path
    running: bool
    ready: bool
    pid: int | None
    endpoint: str
    version: str
    ports: Ports
    buckets: Mapping[BucketRole, str]
    env_file: Path
    log_file: Path
    data_dir: Path
    free_bytes: int
    full: bool
    started: bool = False
