"""What a bench yields: figures, each judged by its bound if it has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bench.bounds import BOUNDS, Bound
from bench.measure import Spread, Values, is_clear, paired


class Unit(StrEnum):
    """What a value counts."""

    MILLISECONDS = "ms"
    PER_SECOND = "/s"
    MEGABYTES_PER_SECOND = "MB/s"
    COUNT = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured thing, ours beside a peer's. ``name`` says what is measured, for people.

    ``ratio`` is ours over the peer's, round by round; without a peer the bound is on our value.
    """

    id: str
    name: str
    unit: Unit
    ours: Spread
    peer: str | None = None
    theirs: Spread | None = None
    ratio: Spread | None = None
    rounds: int = 1

    @property
    def bound(self) -> Bound | None:
        """The limit that it is held to."""
        return BOUNDS.get(self.id)

    @property
    def judged(self) -> float:
        """The value that the bound is about."""
        return self.ratio.median if self.ratio else self.ours.median

    @property
    def missed(self) -> str | None:
        """A sentence when the bound is missed."""
        if self.bound is None or self.bound.holds(self.judged):
            return None
        against = f" times {self.peer}" if self.peer else ""
        return f"{self.name} is {self.judged:.3g}{against}; the bound is {self.bound}."

    def __str__(self) -> str:
        against = f" times {self.peer}, {self.rounds} rounds" if self.ratio else self.unit
        return f"{self.name}: {self.judged:,.3g}{against}"

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "id": self.id,
            "name": self.name,
            "unit": self.unit.value,
            "peer": self.peer,
            "ours": _json(self.ours),
            "theirs": _json(self.theirs),
            "ratio": _json(self.ratio),
            "rounds": self.rounds,
            "bound": str(self.bound) if self.bound else None,
            "missed": self.missed,
        }


def _json(spread: Spread | None) -> dict[str, float] | None:
    if spread is None:
        return None
    return {"min": spread.low, "median": spread.median, "max": spread.high}


def count(figure_id: str, name: str, value: float) -> Figure:
    """A figure that is a count, the same on every machine."""
    return Figure(id=figure_id, name=name, unit=Unit.COUNT, ours=Spread.exactly(value))


def compared(
    figure_id: str, name: str, unit: Unit, values: Values, *, ours: str, peer: str
) -> Figure:
    """A figure from two candidates of one interleaved measurement."""
    mine, others = values[ours], values[peer]
    return Figure(
        id=figure_id,
        name=name,
        unit=unit,
        ours=Spread.of(mine),
        peer=peer,
        theirs=Spread.of(others),
        ratio=Spread.of(paired(mine, others)),
        rounds=len(mine),
    )


def is_decided(figure_id: str, ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Whether the rounds so far tell on which side of its bound a figure is."""
    bound = BOUNDS.get(figure_id)
    return bound is None or is_clear(paired(ours, theirs), bound.limit)
