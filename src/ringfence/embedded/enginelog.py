"""What the engine's log says about a start that failed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 256 * 1024
_LONGEST: Final = 300

# glog: severity, month and day, time, file and line, "]"?, message.
_LINE: Final = re.compile(r"^([IWEF])\d{4} [\d:.]+ +(?:\d+ )?[\w./-]+:\d+\]? (.*)")
_OTHER: Final = re.compile(r"^(?:panic:|fatal error:|flag provided|.*(?:not found|cannot execute))")


def reason(log: Path, start: int) -> str | None:
    """The line that says why, of what was logged since byte ``start``; None where none does.

    A fatal line comes before an error, and among equals the first before the later ones.
    """
    lines = _since(log, start)
    for severities in ("F", "E"):
        for line in lines:
            match = _LINE.match(line)
            if match and match[1] in severities:
                return _short(match[2])
    return next((_short(line) for line in lines if _OTHER.match(line)), None)


def _since(log: Path, start: int) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(start)
            return file.read(_READ_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
