"""The words of the isolation matrix: operations, places, probes, answers, and who gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Protocol

from ringfence.layout import BucketRole
from ringfence.scope import AccessMode, Area, Permission


class Operation(StrEnum):
    """What a probe tries. A client says which of them its cloud or SDK has."""

    GET = "get"
    GET_RANGE = "get a range"
    HEAD = "head"
    PUT = "put"
    PUT_IF_ABSENT = "put if absent"
    PUT_IF_MATCH = "put if unchanged"
    DELETE = "delete"
    DELETE_MANY = "delete many"
    LIST = "list"
    LIST_LEVEL = "list one level"
    LIST_AFTER = "list after a key"
    LIST_V1 = "list, first version"
    LIST_V1_LEVEL = "list one level, first version"
    UPLOAD_START = "start an upload"
    UPLOAD_PART = "upload a part"
    UPLOAD_PARTS = "list an upload's parts"
    UPLOAD_COMPLETE = "complete an upload"
    UPLOAD_ABORT = "abort an upload"
    COPY_FROM = "copy from"
    COPY_TO = "copy to"
    PART_COPY_FROM = "copy a part from"
    PART_COPY_TO = "copy a part to"


LISTINGS: Final = frozenset(
    {
        Operation.LIST,
        Operation.LIST_LEVEL,
        Operation.LIST_AFTER,
        Operation.LIST_V1,
        Operation.LIST_V1_LEVEL,
    }
)
"""Their key is the prefix to list; an empty one means that the request names no prefix."""

UPLOADS: Final = frozenset(
    {
        Operation.UPLOAD_PART,
        Operation.UPLOAD_PARTS,
        Operation.UPLOAD_COMPLETE,
        Operation.UPLOAD_ABORT,
        Operation.PART_COPY_FROM,
        Operation.PART_COPY_TO,
    }
)
"""They need an upload that the owner has begun: on the key, or for a copy from it on the other."""

READS_OTHER: Final = frozenset({Operation.COPY_TO, Operation.PART_COPY_TO})
WRITES_OTHER: Final = frozenset({Operation.COPY_FROM, Operation.PART_COPY_FROM})
COPIES: Final = READS_OTHER | WRITES_OTHER

NEEDS: Final[Mapping[Operation, Permission]] = MappingProxyType(
    {
        Operation.GET: Permission.READ,
        Operation.GET_RANGE: Permission.READ,
        Operation.HEAD: Permission.READ,
        Operation.PUT: Permission.WRITE,
        Operation.PUT_IF_ABSENT: Permission.WRITE,
        Operation.PUT_IF_MATCH: Permission.WRITE,
        Operation.DELETE: Permission.DELETE,
        Operation.DELETE_MANY: Permission.DELETE,
        **dict.fromkeys(LISTINGS, Permission.LIST),
        Operation.UPLOAD_START: Permission.WRITE,
        Operation.UPLOAD_PART: Permission.WRITE,
        Operation.UPLOAD_PARTS: Permission.WRITE,
        Operation.UPLOAD_COMPLETE: Permission.WRITE,
        Operation.UPLOAD_ABORT: Permission.WRITE,
        Operation.COPY_FROM: Permission.READ,
        Operation.COPY_TO: Permission.WRITE,
        Operation.PART_COPY_FROM: Permission.READ,
        Operation.PART_COPY_TO: Permission.WRITE,
    }
)
"""The permission that each operation needs on its key. Copies need one on the other end too."""


class Expected(StrEnum):
    """What a probe is to meet, by the table of modes alone."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    HARMLESS = "harmless"
    """Either: nobody's place, or one that engines read in their own ways. What counts is that
    nothing of another's comes back or changes."""


class Outcome(StrEnum):
    """What a probe met."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    """The engine's own refusal of this principal: HTTP 403 with its code for "access denied"."""
    FAILED = "failed"
    """Anything else: another status, another code, no answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """A key, or for a listing a prefix, in one of the three buckets."""

    bucket: BucketRole
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}:{self.key}"


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt, and what is to become of it.

    ``area`` and ``kind`` say whose place it is: an area of the scope itself (``own``), of a
    neighbour, or something beside all of them. ``prefix`` is the place's own, where it has one.
    ``other`` is the far end of a copy, or the own key that a bulk delete names along.
    """

    mode: AccessMode
    operation: Operation
    area: Area | None
    kind: str
    bucket: BucketRole
    key: str
    expected: Expected
    prefix: str = ""
    other: Place | None = None

    @property
    def place(self) -> Place:
        """Where it strikes."""
        return Place(self.bucket, self.key)

    def __str__(self) -> str:
        to = {True: "from", False: "to"}.get(self.operation in READS_OTHER, "")
        other = f" ({to} {self.other})" if self.other and self.operation in COPIES else ""
        return f"{self.mode}: {self.operation} {self.place}{other} [{self.kind}]"


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that the owner has begun, with one part in it."""

    id: str
    part: str


@dataclass(frozen=True, slots=True)
class Ground:
    """What the owner has laid out for a probe.

    ``body`` is what to write. ``version`` is what the owner got for the object that lies there, an
    ETag or a generation: a conditional write names it. ``upload`` is for the ``UPLOADS``.
    """

    body: bytes
    version: str | None = None
    upload: Upload | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a probe.

    ``said`` is for people: status and code. ``body`` is every byte that came back; ``keys`` what a
    listing showed, common prefixes included. ``other`` is what became of ``Probe.other`` in a bulk
    delete.
    """

    outcome: Outcome
    said: str
    body: bytes = b""
    keys: tuple[str, ...] = ()
    other: Outcome | None = None


class Client(Protocol):
    """A fenced tenant, through one SDK or none. ``attempt`` is called from several threads.

    It asks for exactly the key of the probe. It maps its cloud's answer to an :class:`Outcome`,
    strictly: only a 403 that means "this principal may not" is REFUSED.
    """

    name: str
    operations: frozenset[Operation]

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        """Tries it. Whatever it raises counts as FAILED."""
        ...


class Owner(Protocol):
    """The installation itself, with its own keys. Lays out the ground and looks after it."""

    def plant(self, place: Place, body: bytes) -> str | None:
        """Writes an object; its version, or None where the engine has no room for such a key."""
        ...

    def read(self, place: Place) -> bytes | None:
        """An object's content, or None where there is none."""
        ...

    def versions(self, bucket: BucketRole) -> Mapping[str, str]:
        """Every key of a bucket with its version."""
        ...

    def begin(self, place: Place) -> Upload | None:
        """Begins an upload with one part in it; None where it cannot be."""
        ...

    def parts(self, place: Place, upload: Upload) -> frozenset[str] | None:
        """The versions of an upload's parts, or None where the upload is over."""
        ...

    def uploads(self, bucket: BucketRole) -> frozenset[tuple[str, str]]:
        """Key and id of every upload under way; nothing on a cloud that has no such thing."""
        ...

    def clear(self, places: Iterable[Place], uploads: Iterable[tuple[Place, str]]) -> None:
        """Removes objects and aborts uploads, those that are gone already included."""
        ...
