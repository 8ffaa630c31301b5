"""What ``ringfence config`` shows: every variable, redacted, with where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ringfence.config.environment import FROM_DEFAULT, source_of
from ringfence.config.names import is_unknown_setting, near_misses
from ringfence.config.reader import Note, Reader, applies
from ringfence.config.settings import Settings, problems_of, read, read_provider
from ringfence.config.variables import ORDER, VARIABLES, ProviderName, Variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringfence.errors import Problem


class Examination(NamedTuple):
    """What an environment says, whether or not settings can be made of it."""

    provider: ProviderName | None
    problems: tuple[Problem, ...]
    notes: tuple[Note, ...]


class Row(NamedTuple):
    """One variable as it may be shown. ``value`` is None for one that is unset and has no default.

    ``source`` is ``environment``, the path of an env file, ``default``, or None.
    """

    variable: Variable
    value: str | None
    source: str | None


def examine(env: Mapping[str, str]) -> Examination:
    """Reads settings as :meth:`Settings.from_env` does, but reports instead of raising."""
    reader = Reader(env)
    settings = read(Settings, reader)
    problems = problems_of(reader)
    hints = " ".join(problem.hint or "" for problem in problems)
    slips = (
        Note(name, f"not read by Ringfence. Did you mean {meant}?")
        for name, meant in near_misses(env).items()
        if not is_unknown_setting(name) and name not in hints
    )
    notes = sorted(reader.notes, key=lambda note: ORDER[note.variable])
    return Examination(settings.provider if settings else None, problems, (*notes, *slips))


def rows(env: Mapping[str, str], provider: ProviderName | None) -> tuple[Row, ...]:
    """The variables that a provider reads, in the order of the documentation; None: all."""
    reader = Reader(env)
    chosen = provider or read_provider(reader)
    return tuple(_row(reader, each.on(chosen)) for each in VARIABLES if applies(each, provider))


def _row(reader: Reader, variable: Variable) -> Row:
    shown = reader.shown(variable.name)
    if shown is not None and shown != "empty":
        return Row(variable, _bare(shown), source_of(reader.env, variable.name))
    if variable.default is not None:
        return Row(variable, variable.default, FROM_DEFAULT)
    return Row(variable, None, source_of(reader.env, variable.name))


def _bare(shown: str) -> str:
    """Without the quotes of a message, which a table does not need."""
    quote = shown[0]
    if quote not in "'\"":
        return shown
    value, _, length = shown[1:].rpartition(quote)
    return value + length
