"""A string that does not show itself."""

from __future__ import annotations

from typing import Final, NoReturn, Self

REDACTED: Final = "********"


class Secret:
    """A secret string. ``reveal()`` is the only way to its value, so every use can be found.

    ``repr``, ``str``, formatting and JSON show stars; pickling is refused, since a pickle is a
    copy of the value in clear. A copy is the same object, so ``dataclasses.asdict`` works.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself: for signatures and for the process that it was issued to."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({REDACTED!r})"

    def __str__(self) -> str:
        return REDACTED

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")
