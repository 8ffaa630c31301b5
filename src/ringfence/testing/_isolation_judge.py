"""Holds the answers, and what lies there afterwards, against what was to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from ringfence.scope import Grants, Permission
from ringfence.testing._isolation_ground import Field, upload_place
from ringfence.testing._isolation_model import (
    LISTINGS,
    UPLOADS,
    Answer,
    Expected,
    Operation,
    Outcome,
    Place,
    Probe,
)
from ringfence.testing._isolation_probes import may


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise. ``probe`` is None where it is not known which of them broke it."""

    what: str
    found: str
    probe: Probe | None = None

    def __str__(self) -> str:
        return f"{self.what}: {self.probe or ''}: {self.found}"


@dataclass(frozen=True, slots=True)
class Judge:
    """Knows what a tenant holds, and what lies where."""

    held: Grants
    field: Field

    def answer(self, probe: Probe, answer: Answer) -> Iterator[Violation]:
        """What is wrong with one answer."""
        yield from self._outcome(probe, answer)
        yield from self._what_came_back(probe, answer)
        if probe.expected is Expected.ALLOWED and answer.outcome is Outcome.ALLOWED:
            yield from self._whether_it_worked(probe, answer)
        if answer.other is not None and probe.other is not None:
            meant = may(self.held, Permission.DELETE, probe.other)
            if answer.other is not (Outcome.ALLOWED if meant else Outcome.REFUSED):
                what = "FALSE REFUSAL" if meant else "LEAK"
                yield Violation(what, f"the key along, {probe.other}: {answer.other}", probe)

    def _outcome(self, probe: Probe, answer: Answer) -> Iterator[Violation]:
        match probe.expected, answer.outcome:
            case Expected.REFUSED, Outcome.ALLOWED:
                yield Violation("LEAK", answer.said, probe)
            case Expected.REFUSED, Outcome.FAILED:
                yield Violation("NOT A REFUSAL", answer.said, probe)
            case Expected.ALLOWED, Outcome.REFUSED:
                yield Violation("FALSE REFUSAL", answer.said, probe)
            case Expected.ALLOWED, Outcome.FAILED:
                yield Violation("FAILURE", answer.said, probe)

    def _what_came_back(self, probe: Probe, answer: Answer) -> Iterator[Violation]:
        for place in self.field.owners_of(answer.body):
            if not may(self.held, Permission.READ, place):
                yield Violation("LEAK", f"the content of {place} came back", probe)
        for key in answer.keys:
            if not may(self.held, Permission.LIST, Place(probe.bucket, key)):
                yield Violation("LEAK", f"the listing shows {key}", probe)

    def _whether_it_worked(self, probe: Probe, answer: Answer) -> Iterator[Violation]:
        if probe.operation in LISTINGS and not answer.keys:
            yield Violation("FAILURE", "the listing is empty", probe)
        if probe.operation is Operation.GET and answer.body != self.field.content.get(probe.place):
            yield Violation("FAILURE", "another content came back", probe)

    # --- afterwards --------------------------------------------------------------------------

    def aftermath(self, probes: tuple[Probe, ...], pool: Executor) -> Iterator[Violation]:
        """What changed that may not, and what of others' lies in own places now."""
        watched = _Watched(probes)
        for place, how in self.field.changes():
            if watched.covers(place) and not self._own_to_change(place):
                yield Violation("LEAK", f"{place} is {how}", watched.probe(place))
        foreign = [p for p in self.field.uploads if not may(self.held, Permission.WRITE, p)]
        for place, how in self.field.upload_changes(foreign, pool):
            if watched.covers(place) and not may(self.held, Permission.WRITE, place):
                yield Violation("LEAK", f"{place}: {how}", watched.probe(place))
        there = (p for p in watched.places if p.key in self.field.after[p.bucket])
        own = [place for place in there if may(self.held, Permission.WRITE, place)]
        for place, body in zip(own, pool.map(self.field.owner.read, own), strict=True):
            for source in self.field.owners_of(body or b""):
                if not may(self.held, Permission.READ, source) and source != place:
                    found = f"{place} holds the content of {source}"
                    yield Violation("LEAK", found, watched.probe(place))

    def _own_to_change(self, place: Place) -> bool:
        change = (Permission.WRITE, Permission.DELETE)
        return any(may(self.held, permission, place) for permission in change)


class _Watched:
    """The places that an attack is about; other work may go on in the same buckets."""

    def __init__(self, probes: Iterable[Probe]) -> None:
        self._by_place: dict[Place, Probe] = {}
        self._prefixes: set[Place] = set()
        harmless: set[Place] = set()
        for probe in probes:
            if probe.operation in LISTINGS:
                continue
            if probe.expected is Expected.HARMLESS:
                harmless.add(probe.place)
            if probe.prefix:
                self._prefixes.add(Place(probe.bucket, probe.prefix))
            self._by_place.setdefault(probe.place, probe)
            if probe.other is not None:
                self._by_place.setdefault(probe.other, probe)
            at = upload_place(probe) if probe.operation in UPLOADS else None
            if at is not None:
                self._by_place.setdefault(at, probe)
        self._harmless = harmless

    @property
    def places(self) -> tuple[Place, ...]:
        """Every place that was aimed at, with the far ends."""
        return tuple(self._by_place)

    def covers(self, place: Place) -> bool:
        """Whether a change there is this attack's to answer for."""
        if place in self._harmless:
            return False
        return place in self._by_place or any(
            place.bucket is p.bucket and place.key.startswith(p.key) for p in self._prefixes
        )

    def probe(self, place: Place) -> Probe | None:
        """One of the probes that aimed at it."""
        return self._by_place.get(place)
