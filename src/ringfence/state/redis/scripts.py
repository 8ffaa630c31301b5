"""The Lua scripts. Each touches the keys of one slot, and is sent by its digest."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Final

_LUA: Final = Path(__file__).parent / "lua"

Argument = str | int | bytes
Command = tuple[Argument, ...]
"""A command of Redis and its arguments. The first key of a script is its fourth."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script that the server may know already."""

    name: str
    source: str
    digest: str
    keys: int

    def __call__(self, *arguments: Argument) -> Command:
        """The command that runs it: its keys, then the rest."""
        return ("EVALSHA", self.digest, self.keys, *arguments)


def with_source(command: Command) -> Command:
    """The same call for a server that does not know the script. It does afterwards."""
    return ("EVAL", _BY_DIGEST[str(command[1])].source, *command[2:])


def _load(name: str, keys: int, *parts: str) -> Script:
    source = "\n".join(
        (_LUA / f"{part}.lua").read_text(encoding="utf-8") for part in (*parts, name)
    )
    digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, digest, keys)


CREATE: Final = _load("create", 3, "_time", "_record")
REPLACE: Final = _load("replace", 3, "_time", "_record")
APPEND: Final = _load("append", 2, "_time")
EVENTS: Final = _load("events", 2, "_time")
ACKNOWLEDGE: Final = _load("acknowledge", 1, "_time")
DROP: Final = _load("drop", 3, "_time")
ENTER: Final = _load("enter", 3, "_index")
LEAVE: Final = _load("leave", 3, "_index")
RETIRE: Final = _load("retire", 3, "_index")
PAGE: Final = _load("page", 2, "_index")
MISSING: Final = _load("missing", 3, "_index")
PURGED: Final = _load("purged", 3, "_index")

ALL: Final = (
    *(CREATE, REPLACE, APPEND, EVENTS, ACKNOWLEDGE, DROP),
    *(ENTER, LEAVE, RETIRE, PAGE, MISSING, PURGED),
)
_BY_DIGEST: Final = {script.digest: script for script in ALL}
