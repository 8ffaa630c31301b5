"""The statistics: values taken in turns, and when there are enough of them."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self

CONFIDENCE: Final = 0.95

Values = dict[str, list[float]]
"""For each candidate one value a round, all lists of one length."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What many values come to: the least, the median, the greatest."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of at least one value."""
        return cls(min(values), statistics.median(values), max(values))

    @classmethod
    def exactly(cls, value: float) -> Self:
        """A single value: a count."""
        return cls(value, value, value)


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often everything is measured: at least, and at most while the answer is not clear."""

    least: int
    most: int
    warm_up: int = 1


def interleave(
    candidates: Mapping[str, Callable[[], float]],
    rounds: Rounds,
    *,
    enough: Callable[[Values], bool] = lambda _: True,
) -> Values:
    """Measures every candidate once a round, until ``enough`` or the most rounds.

    What the machine does meanwhile, a neighbour's load or a slower clock, then falls on all alike.
    The order turns from round to round, so that none always runs in the wake of the same other.
    """
    names = list(candidates)
    values: Values = {name: [] for name in names}
    for number in range(rounds.warm_up + rounds.most):
        measured = number - rounds.warm_up
        if measured >= rounds.least and enough(values):
            break
        for name in names if number % 2 == 0 else reversed(names):
            value = candidates[name]()
            if measured >= 0:
                values[name].append(value)
    return values


def paired(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The ratio of each round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Where the true median lies, with 95 % confidence, whatever the distribution.

    The interval of order statistics that the sign test does not reject (Conover, *Practical
    Nonparametric Statistics*, 3.2). With fewer than six values it is unbounded.
    """
    ordered, count = sorted(values), len(values)
    tail, below = 0.0, -1
    for rank in range(count // 2):
        tail += math.comb(count, rank) / 2**count
        if tail > (1 - CONFIDENCE) / 2:
            break
        below = rank
    if below < 0:
        return -math.inf, math.inf
    return ordered[below], ordered[count - 1 - below]


def is_clear(ratios: Sequence[float], limit: float) -> bool:
    """Whether more rounds would hardly move the median across ``limit``."""
    low, high = median_interval(ratios)
    return not low <= limit <= high


@contextmanager
def without_collections() -> Iterator[None]:
    """Collects garbage now rather than in the middle of someone's measurement."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
