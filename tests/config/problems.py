"""What the tests say about problems."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ringfence.config import Settings
from ringfence.errors import ConfigError, Problem


def problems(env: Mapping[str, str]) -> tuple[Problem, ...]:
    """Every problem with an environment, which must have some."""
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(env)
    return caught.value.problems


def problem(env: Mapping[str, str]) -> Problem:
    """The one problem with an environment."""
    found = problems(env)
    assert len(found) == 1, [str(each) for each in found]
    return found[0]


def without(env: Mapping[str, str], *names: str) -> dict[str, str]:
    """An environment with some variables unset."""
    return {name: value for name, value in env.items() if name not in names}
