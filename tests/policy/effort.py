"""How hard the properties are tried: briefly in `make test`, long in `make soak`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy


def effort(quick: int, soak: int) -> pytest.MarkDecorator:
    """Gives a test its ``examples``: few, and under the ``soak`` marker many."""
    long = pytest.param(soak, id="soak", marks=pytest.mark.soak)
    return pytest.mark.parametrize("examples", [pytest.param(quick, id="quick"), long])


def hold(examples: int, holds: Callable[..., None], *strategies: SearchStrategy[Any]) -> None:
    """Tries a property on that many examples. No deadline: the machine may be busy."""
    limits = settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    limits(given(*strategies)(holds))()
