"""The tree of errors: drawn as it is, with the exit codes of DESIGN, in sentences."""

from __future__ import annotations

import inspect
import re

import pytest

from ringfence import errors
from ringfence.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_REFUSED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    AccessDenied,
    ConfigError,
    InvalidId,
    MissingExtra,
    Problem,
    RingfenceError,
    RunNotFound,
    StorageUnreachable,
)

TREE = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, RingfenceError)
}


def drawn() -> dict[str, tuple[str, int | None]]:
    """From the module's docstring: each error, its parent, and the exit code where it is named."""
    found: dict[str, tuple[str, int | None]] = {}
    line_of = re.compile(r"^    ([│ ├└─]*)(\w+) +(?:exit code )?(?:(\d):)?")
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = line_of.match(line)
        if match and match[2] in TREE:
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            parent = above[depth - 1] if depth else "Exception"
            found[match[2]] = (parent, int(match[3]) if match[3] else None)
    return found


def test_every_error_is_drawn_under_its_parent() -> None:
    assert set(drawn()) == set(TREE)
    for name, (parent, _) in drawn().items():
        assert TREE[name].__bases__[0].__name__ == parent


def test_drawn_exit_codes_are_the_codes() -> None:
    for name, (parent, code) in drawn().items():
        expected = code if code is not None else TREE[parent].exit_code
        assert TREE[name].exit_code == expected, name


def test_exit_codes_are_those_of_the_design() -> None:
    assert (EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_UNREACHABLE) == (0, 1, 2, 3, 4)
    assert {each.exit_code for each in TREE.values()} == {1, 2, 3, 4}


@pytest.mark.parametrize("name", TREE)
def test_every_error_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(TREE[name])
    assert TREE[name].__doc__ is not None, "a docstring of its own"


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (InvalidId("x"), ValueError),
        (RunNotFound("x"), LookupError),
        (MissingExtra("x"), ImportError),
        (AccessDenied("x"), PermissionError),
        (StorageUnreachable("x"), ConnectionError),
    ],
)
def test_who_knows_python_s_own_errors_can_catch_them(
    error: RingfenceError, builtin: type[Exception]
) -> None:
    assert isinstance(error, builtin)
    assert str(error) == "x"
    assert error.message == "x"
    assert error.hint is None


@pytest.mark.parametrize(
    "kind", [InvalidId, RunNotFound, MissingExtra, AccessDenied, StorageUnreachable]
)
def test_message_and_hint_are_one_text(kind: type[RingfenceError]) -> None:
    error = kind("It is shut.", hint="Open it.")
    assert str(error) == "It is shut. Open it."
    assert (error.message, error.hint) == ("It is shut.", "Open it.")
    assert error.args == ("It is shut.",)


def test_a_configuration_error_has_every_problem_in_order() -> None:
    problems = (
        Problem("META_BUCKET", None, "a bucket's name", hint="Did you mean META_BUKET?"),
        Problem("STORAGE_PROVIDER", "'nfs'", "one of aws, azure, gcp, r2"),
    )
    error = ConfigError(problems)
    assert error.problems == problems
    assert error.exit_code == EXIT_USAGE
    assert str(error) == (
        "The configuration has 2 problems:\n"
        "  - META_BUCKET is not set: expected a bucket's name. Did you mean META_BUKET?\n"
        "  - STORAGE_PROVIDER is 'nfs': expected one of aws, azure, gcp, r2."
    )
    assert "has 1 problem:" in str(ConfigError(problems[:1]))
