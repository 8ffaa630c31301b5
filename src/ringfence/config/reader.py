"""Reads variables one by one and collects everything that is wrong, instead of stopping at it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from ringfence.config.variables import BY_NAME, ORDER, SECRET_VARIABLES, ProviderName, Variable
from ringfence.errors import Problem
from ringfence.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

Choice = TypeVar("Choice", bound=StrEnum)

TRUE: Final = frozenset({"true", "1", "yes"})
FALSE: Final = frozenset({"false", "0", "no"})

_LONGEST_SHOWN: Final = 80
_SHORTEST_SECRET: Final = 4
_QUOTES: Final = frozenset({"'", '"'})
# JSON may be wrapped over lines, raw or in base64.
_FREE_FORM: Final = frozenset({"GOOGLE_APPLICATION_CREDENTIALS_JSON"})


class Note(NamedTuple):
    """Something that is allowed, and probably not what was meant."""

    variable: str
    text: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.text}"


def clean(variable: Variable, raw: str) -> str:
    """A value without surrounding blanks.

    Docker's ``--env-file`` passes ``AWS_ENDPOINT= # Leave empty for AWS S3`` on with its comment,
    so a value that is only a comment is empty, but for secrets, which may begin with anything.
    """
    stripped = raw.strip()
    return "" if stripped.startswith("#") and not variable.secret else stripped


class Reader:
    """Reads variables of one environment. A value that is wrong becomes a problem and reads as
    unset, so that one slip is reported once. ``provider`` is the one whose defaults hold.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.provider: ProviderName | None = None
        self.problems: list[Problem] = []
        self.notes: list[Note] = []
        self._bad: set[str] = set()

    def text(self, name: str) -> str | None:
        """The value, or its fallback's, or the default; None when there is none of them."""
        variable = BY_NAME[self.holder(name)]
        value = clean(variable, self.env.get(variable.name, ""))
        if not value:
            return variable.on(self.provider).default
        if not self._tidy(variable, value):
            return None
        if value == variable.placeholder:
            self.note(variable.name, "still the placeholder of the Storage Providers page.")
        return value

    def holder(self, name: str) -> str:
        """The variable that a value comes from: ``name``, or along its fallbacks."""
        variable = BY_NAME[name]
        if variable.fallback is None or clean(variable, self.env.get(name, "")):
            return name
        return self.holder(variable.fallback)

    def is_placeholder(self, name: str) -> bool:
        """Whether the value is the page's own, which stands for another."""
        variable = BY_NAME[name]
        return clean(variable, self.env.get(name, "")) == variable.placeholder

    def secret(self, name: str) -> Secret | None:
        """A secret's value."""
        value = self.text(name)
        return None if value is None else Secret(value)

    def required(self, name: str, expected: str, hint: str | None = None) -> str:
        """A value that must be there; ``""`` when it is not, which is a problem."""
        value = self.text(name)
        if value is None:
            self.missing(name, expected, hint)
        return value or ""

    def missing(self, name: str, expected: str, hint: str | None = None) -> None:
        """Reports a variable that is needed and not there, unless it is a problem already."""
        if self.holder(name) not in self._bad:
            self.problem(name, expected, hint)

    def is_bad(self, name: str) -> bool:
        """Whether a problem with this variable has been reported."""
        return name in self._bad

    def boolean(self, name: str) -> bool:
        """true, false, 1, 0, yes or no, in any case."""
        value = (self.text(name) or "false").lower()
        if value not in TRUE | FALSE:
            self.problem(name, "true, false, 1, 0, yes or no")
        return value in TRUE

    def whole(self, name: str, low: int, high: int, unit: str) -> int:
        """A whole number within limits."""
        value = self.text(name)
        if value is not None and re.fullmatch(r"[0-9]{1,12}", value) and low <= int(value) <= high:
            return int(value)
        if value is not None:
            self.problem(name, f"a whole number of {unit} from {low} to {high}")
        return low

    def share(self, name: str, low: float, high: float) -> float:
        """A decimal fraction within limits."""
        value = self.text(name)
        if value is not None and re.fullmatch(r"0?\.[0-9]{1,9}", value):
            share = float(value)
            if low <= share <= high:
                return share
        if value is not None:
            self.problem(name, f"a share from {low} to {high}, such as 0.5")
        return low

    def choice(self, name: str, kind: type[Choice], hints: Mapping[str, str]) -> Choice | None:
        """One of an enumeration's values, in any case. ``hints`` are for values often mistaken."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return kind(value.lower())
        except ValueError:
            self.problem(name, one_of(kind), hints.get(value.lower()))
            return None

    def problem(
        self, name: str, expected: str, hint: str | None = None, *, found: str | None = None
    ) -> None:
        """Reports a value. What was found is shown redacted."""
        self._bad.add(name)
        shown = self.shown(name) if found is None else found
        problem = Problem(name, shown, expected, hint)
        if problem not in self.problems:
            self.problems.append(problem)

    def note(self, name: str, text: str) -> None:
        """Remarks on a value that is allowed."""
        note = Note(name, text)
        if note not in self.notes:
            self.notes.append(note)

    def ordered(self) -> tuple[Problem, ...]:
        """The problems, in the order of the documentation; unknown names last."""
        last = len(ORDER)
        return tuple(sorted(self.problems, key=lambda p: (ORDER.get(p.variable, last), p.variable)))

    def shown(self, name: str) -> str | None:
        """A variable's own value as it may be shown; None when it is not set."""
        raw = self.env.get(name)
        if raw is None:
            return None
        variable = BY_NAME[name]
        return self._redacted(variable, clean(variable, raw))

    def _redacted(self, variable: Variable, value: str) -> str:
        if not value:
            return "empty"
        length = f"({len(value):,} characters)"
        if variable.secret or self._discloses(value):
            return f"set {length}"
        if variable.identifier and value != variable.placeholder:
            return f"set {length}" if len(value) < 12 else f"{ascii(value[:4])[:-1]}...' {length}"
        if len(value) > _LONGEST_SHOWN:
            return f"{ascii(value[:_LONGEST_SHOWN])[:-1]}...' {length}"
        return ascii(value)

    def _discloses(self, value: str) -> bool:
        # A password in an endpoint's URL, or a secret that was put into another variable.
        if re.search(r"//[^/]*@", value):
            return True
        secrets = (self.env.get(name, "").strip() for name in SECRET_VARIABLES)
        return any(len(each) >= _SHORTEST_SECRET and each in value for each in secrets)

    def _tidy(self, variable: Variable, value: str) -> bool:
        if value[0] in _QUOTES and value[-1] == value[0]:
            hint = "Docker's --env-file keeps quotes as part of the value: remove them."
            self.problem(variable.name, "a value without quotes around it", hint)
            return False
        if re.search(r"[\ud800-\udfff]", value):
            self.problem(variable.name, "UTF-8 text")
            return False
        if variable.name in _FREE_FORM or not re.search(r"[\s\x00-\x1f\x7f-\x9f]", value):
            return True
        comment = "A comment goes on a line of its own." if re.search(r"\s#", value) else None
        self.problem(variable.name, "a value without blanks, line breaks or control codes", comment)
        return False


def one_of(kind: type[StrEnum]) -> str:
    """An enumeration's values, for a sentence."""
    values = [each.value for each in kind]
    return f"{', '.join(values[:-1])} or {values[-1]}"


def applies(variable: Variable, provider: ProviderName | None) -> bool:
    """Whether a variable is read for a provider; all are where the provider is unknown."""
    return provider is None or provider in variable.providers
