"""What lies where before an attack, and what lies there after it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from ringfence.layout import BucketRole
from ringfence.testing._isolation_model import (
    COPIES,
    UPLOADS,
    WRITES_OTHER,
    Ground,
    Owner,
    Place,
    Probe,
    Upload,
)
from ringfence.testing._isolation_probes import planted

_T = TypeVar("_T")
_R = TypeVar("_R")

_LEAST_CONTENT: Final = 16
"""Content that was there already tells itself apart only when it is this long."""


def upload_place(probe: Probe) -> Place | None:
    """Where the upload of a probe is begun: at the end that it writes to."""
    if probe.operation not in UPLOADS:
        return None
    return probe.other if probe.operation in WRITES_OTHER else probe.place


@dataclass(slots=True)
class Field:
    """The ground of one attack: what the owner planted, began and found."""

    owner: Owner
    content: dict[Place, bytes] = field(default_factory=dict)
    version: dict[Place, str] = field(default_factory=dict)
    uploads: dict[Place, Upload] = field(default_factory=dict)
    before: dict[BucketRole, Mapping[str, str]] = field(default_factory=dict)
    after: dict[BucketRole, Mapping[str, str]] = field(default_factory=dict)
    pending: dict[BucketRole, frozenset[tuple[str, str]]] = field(default_factory=dict)
    parts: dict[Place, frozenset[str] | None] = field(default_factory=dict)
    _mine: set[Place] = field(default_factory=set)
    _kept: dict[Place, bytes] = field(default_factory=dict)
    _canaries: dict[int, Place] = field(default_factory=dict)
    _tag: str = field(default_factory=lambda: secrets.token_hex(8))
    _pattern: re.Pattern[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._pattern = re.compile(rb"canary-%s-(\d{7});" % self._tag.encode())

    def lay(self, probes: Iterable[Probe], pool: Executor) -> None:
        """Plants canaries and begins uploads, all that the probes need. What is there is kept."""
        probes = tuple(probes)
        wanted = list(dict.fromkeys(place for probe in probes for place in planted(probe)))
        there = {role: self.owner.versions(role) for role in BucketRole}
        # An engine that keeps objects in folders has no room for an object of a folder's name.
        folders = {folder for place in wanted for folder in _folders(place)}
        missing = [
            place
            for place in wanted
            if place.key not in there[place.bucket]
            and place not in folders
            and not place.key.endswith("/")
        ]
        bodies = {place: self._canary(index) for index, place in enumerate(missing)}
        made = _each(pool, missing, lambda place: self.owner.plant(place, bodies[place]))
        for place, version in made:
            if version is not None:
                self.content[place], self.version[place] = bodies[place], version
                self._mine.add(place)
        self._canaries = dict(enumerate(missing))
        self._take_stock(there, [p for p in wanted if p.key in there[p.bucket]], pool)
        starts = dict.fromkeys(filter(None, (upload_place(probe) for probe in probes)))
        for place, upload in _each(pool, starts, self.owner.begin):
            if upload is not None:
                self.uploads[place] = upload
        self.before = {role: self.owner.versions(role) for role in BucketRole}
        self.pending = {role: self.owner.uploads(role) for role in BucketRole}
        self.parts = self._parts(self.uploads, pool)

    def ground(self, probe: Probe) -> Ground:
        """What a probe finds."""
        body = b"written by the tenant: " + self._tag.encode()
        at = upload_place(probe)
        upload = None if at is None else self.uploads.get(at)
        return Ground(body, self.version.get(probe.place), upload)

    def changes(self) -> Iterator[tuple[Place, str]]:
        """Each object that is new, another, or gone since."""
        for role, before in self.before.items():
            after = self.after[role] = self.owner.versions(role)
            for key in before.keys() | after.keys():
                if before.get(key) != after.get(key):
                    gone, new = key not in after, key not in before
                    yield Place(role, key), "gone" if gone else "new" if new else "overwritten"

    def upload_changes(
        self, watched: Iterable[Place], pool: Executor
    ) -> Iterator[tuple[Place, str]]:
        """Each upload of the owner whose parts are not what they were, and each that is new."""
        kept = [place for place in watched if place in self.uploads]
        for place, parts in self._parts(kept, pool).items():
            if parts != self.parts[place]:
                yield place, "its upload is over" if parts is None else "its upload has other parts"
        for role, before in self.pending.items():
            for key, _ in self.owner.uploads(role) - before:
                yield Place(role, key), "an upload was begun"

    def owners_of(self, data: bytes) -> Iterator[Place]:
        """The places whose canary, or whose content, is in ``data``."""
        for match in re.finditer(self._pattern, data):
            yield self._canaries[int(match[1])]
        yield from (place for place, body in self._kept.items() if body in data)

    def clear(self, probes: Iterable[Probe]) -> None:
        """Removes what was planted, what the probes may have written, and every upload."""
        written = {place for probe in probes for place in _touched(probe)}
        begun = [
            (place, id_)
            for role in self.pending
            for place, id_ in ((Place(role, key), id_) for key, id_ in self.owner.uploads(role))
            if place in written or place in self.uploads
        ]
        old = {Place(role, key) for role, keys in self.before.items() for key in keys}
        places = self._mine | (written - old)
        self.owner.clear([p for p in places if p.key and not p.key.endswith("/")], begun)

    def _canary(self, index: int) -> bytes:
        return f"canary-{self._tag}-{index:07d};".encode() * 4

    def _take_stock(
        self, there: Mapping[BucketRole, Mapping[str, str]], places: list[Place], pool: Executor
    ) -> None:
        for place, body in _each(pool, places, self.owner.read):
            if body is not None:
                self.content[place] = body
                self.version[place] = there[place.bucket][place.key]
                if len(body) >= _LEAST_CONTENT:
                    self._kept[place] = body

    def _parts(self, places: Iterable[Place], pool: Executor) -> dict[Place, frozenset[str] | None]:
        return dict(_each(pool, places, lambda place: self.owner.parts(place, self.uploads[place])))


def _each(pool: Executor, items: Iterable[_T], work: Callable[[_T], _R]) -> Iterator[tuple[_T, _R]]:
    items = tuple(items)
    return zip(items, pool.map(work, items), strict=True)


def _folders(place: Place) -> Iterator[Place]:
    key = place.key
    while "/" in key:
        key = key.rpartition("/")[0]
        yield Place(place.bucket, key)


def _touched(probe: Probe) -> Iterator[Place]:
    yield probe.place
    if probe.other is not None and probe.operation in COPIES:
        yield probe.other
