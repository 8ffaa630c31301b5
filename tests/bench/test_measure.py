"""The statistics that decide whether a bound holds."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest
from bench.bounds import BOUNDS, Bound, Side
from bench.figures import Figure, Unit, compared, is_decided
from bench.measure import Rounds, Spread, interleave, is_clear, median_interval, paired
from hypothesis import given
from hypothesis import strategies as st


def counting(trace: list[str], name: str, values: list[float]) -> Callable[[], float]:
    """A candidate that notes its turn and yields the next value."""
    remaining = iter(values)

    def measure() -> float:
        trace.append(name)
        return next(remaining)

    return measure


def test_candidates_take_turns_and_the_order_turns_with_them() -> None:
    trace: list[str] = []
    a, b = counting(trace, "a", [9, 1, 2]), counting(trace, "b", [9, 3, 4])

    values = interleave({"a": a, "b": b}, Rounds(2, 2, warm_up=1))

    assert trace == ["a", "b", "b", "a", "a", "b"]
    assert values == {"a": [1, 2], "b": [3, 4]}  # the warm-up is left out


@pytest.mark.parametrize(("clear_after", "expected"), [(1, 3), (5, 5), (99, 8)])
def test_rounds_go_on_until_it_is_clear_within_their_limits(
    clear_after: int, expected: int
) -> None:
    values = interleave(
        {"a": lambda: 1.0},
        Rounds(3, 8, warm_up=0),
        enough=lambda so_far: len(so_far["a"]) >= clear_after,
    )

    assert len(values["a"]) == expected


def test_ratios_are_of_each_round() -> None:
    assert paired([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="longer"):
        paired([1.0], [1.0, 2.0])


# From the table of order statistics for the sign test (Conover, table A3, p = 1/2).
@pytest.mark.parametrize(("count", "rank"), [(6, 1), (8, 1), (9, 2), (15, 4), (20, 6), (25, 8)])
def test_the_interval_of_the_median_is_the_textbook_one(count: int, rank: int) -> None:
    values = [float(number) for number in range(1, count + 1)]

    assert median_interval(values) == (rank, count + 1 - rank)


def test_few_values_tell_nothing() -> None:
    assert median_interval([1.0] * 5) == (-math.inf, math.inf)
    assert not is_clear([1.0] * 5, 100)


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    source = random.Random(7)  # noqa: S311 - seeded, so that the test always says the same
    rows = [[source.lognormvariate(0, 1) for _ in range(20)] for _ in range(2000)]

    held = sum(low <= 1 <= high for low, high in map(median_interval, rows))

    assert 0.94 <= held / len(rows) <= 0.98  # 95.9 % for twenty values


@given(st.lists(st.floats(0.1, 10), min_size=6))
def test_the_interval_is_around_the_median(values: list[float]) -> None:
    low, high = median_interval(values)

    assert min(values) <= low <= statistics.median(values) <= high <= max(values)


@given(st.lists(st.floats(0.1, 10), min_size=6), st.floats(0.1, 10))
def test_what_is_clear_is_on_one_side(values: list[float], limit: float) -> None:
    low, high = median_interval(values)

    assert is_clear(values, limit) == (high < limit or low > limit)


@pytest.mark.parametrize(
    ("bound", "holding", "missing"),
    [
        (Bound(Side.AT_MOST, 1.5), (0, 1.5), (1.501, math.inf)),
        (Bound(Side.AT_LEAST, 0.97), (0.97, 2), (0, 0.969)),
        (Bound(Side.EXACTLY, 1), (1,), (0, 2)),
    ],
)
def test_bounds(bound: Bound, holding: tuple[float, ...], missing: tuple[float, ...]) -> None:
    assert all(map(bound.holds, holding))
    assert not any(map(bound.holds, missing))


def figure(ours: list[float], theirs: list[float]) -> Figure:
    """A figure of the one bound on ``ringfence --help``."""
    values = {"ringfence --help": ours, "import typer": theirs}
    names = {"ours": "ringfence --help", "peer": "import typer"}
    return compared("startup.help", "ringfence --help", Unit.MILLISECONDS, values, **names)


def test_a_missed_bound_is_a_sentence_about_the_median_of_the_ratios() -> None:
    # The ratio of the medians would be 1; two of the three rounds were twice as long.
    missed = figure([2.0, 4.0, 2.0], [1.0, 2.0, 4.0])

    assert missed.ratio == Spread(0.5, 2.0, 2.0)
    assert missed.missed == "ringfence --help is 2 times import typer; the bound is at most 1.5."
    assert missed.to_json()["missed"] == missed.missed


def test_a_bound_that_holds_is_no_sentence() -> None:
    assert figure([1.0, 1.0], [1.0, 1.0]).missed is None


def test_a_count_is_judged_by_itself() -> None:
    calls = Figure(
        id="vending.single-flight", name="calls", unit=Unit.COUNT, ours=Spread.exactly(2)
    )

    assert calls.missed == "calls is 2; the bound is exactly 1."


def test_what_has_no_bound_needs_no_more_rounds() -> None:
    assert "startup.import" not in BOUNDS
    assert is_decided("startup.import", [1.0], [1.0])
    assert not is_decided("startup.help", [1.0], [1.0])
    assert is_decided("startup.help", [1.0] * 6, [1.0] * 6)
