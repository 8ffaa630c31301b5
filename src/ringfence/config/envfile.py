"""Reads env files: the common dialect of ``.env``, with values taken as they stand.

Written here rather than taken from python-dotenv because that one is 30 ms to import, expands
``$`` in values unless told not to, and skips a line that it cannot read with a mere log message.
A setting that is silently skipped is a fence that is silently another.
"""

from __future__ import annotations

import re
from typing import Final

MAX_BYTES: Final = 1 << 20
"""Longest env file that is read."""

_ASSIGNMENT: Final = r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*"
_SINGLE_QUOTED: Final = r"'((?:[^'\\]|\\.)*)'"
_DOUBLE_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_REST_OF_LINE: Final = r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)"
_SKIPPED: Final = r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)"
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "'": "'", "$": "$"}


class BadLine(ValueError):
    """A line that is no assignment. The message never holds the line, which may be a secret."""

    def __init__(self, line: int, found: str, hint: str) -> None:
        super().__init__(f"line {line}: {found}")
        self.line = line
        self.found = found
        self.hint = hint


def parse(text: str) -> dict[str, str]:
    """The assignments of an env file; of several to one name, the last holds.

    ``NAME=value`` with or without ``export``; blank lines and ``#`` comments are skipped. An
    unquoted value is taken as it stands up to the end of the line or a blank and ``#``. Values in
    quotes may span lines; in double quotes ``\\n``, ``\\t``, ``\\"`` and the like are escapes, in
    single quotes only ``\\'`` and ``\\\\``. Nothing is ever expanded.

    Raises:
        BadLine: something that is neither an assignment nor a comment, or an open quote.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        skipped = re.compile(_SKIPPED).match(text, position)
        if skipped:
            position = skipped.end()
            continue
        assignment = re.compile(_ASSIGNMENT).match(text, position)
        if assignment is None:
            raise BadLine(
                _line(text, position),
                "neither NAME=value nor a comment",
                "A value of several lines goes in single quotes.",
            )
        values[assignment[1]], position = _value(text, assignment.end(), assignment[1])
    return values


def _value(text: str, start: int, name: str) -> tuple[str, int]:
    quote = text[start : start + 1]
    if quote not in {"'", '"'}:
        return _unquoted(text, start)
    pattern = _SINGLE_QUOTED if quote == "'" else _DOUBLE_QUOTED
    quoted = re.compile(pattern, re.DOTALL).match(text, start)
    if quoted is None:
        raise BadLine(
            _line(text, start), f"{name} with a quote that never ends", f"Close it with {quote}."
        )
    rest = re.compile(_REST_OF_LINE).match(text, quoted.end())
    if rest is None:
        raise BadLine(
            _line(text, quoted.end()),
            f"{name} with more text after its closing quote",
            "Quote the whole value, or none of it.",
        )
    return _unescaped(quoted[1], quote), rest.end()


def _unquoted(text: str, start: int) -> tuple[str, int]:
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    value = text[start:end]
    # A comment needs a blank before it: `A= # x` is empty, while the `#` of `A=#x` is the value's.
    if value.startswith("#") and text[start - 1] in " \t":
        return "", end + 1
    return re.split(r"[ \t]#", value, maxsplit=1)[0].strip(), end + 1


def _unescaped(value: str, quote: str) -> str:
    escapes = _ESCAPES if quote == '"' else {"'": "'", "\\": "\\"}
    return re.sub(r"\\(.)", lambda m: escapes.get(m[1], m[0]), value, flags=re.DOTALL)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
