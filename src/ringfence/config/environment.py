"""Where settings come from: the process's environment first, then env files.

The only module that reads ``os.environ``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NoReturn, Self

from ringfence.config.variables import SECRET_VARIABLES
from ringfence.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DEFAULT_ENV_FILES: Final = (".env", ".ringfence/env")
"""Read where they exist, relative to the working folder; the first wins over the second."""

FROM_ENVIRONMENT: Final = "environment"
FROM_DEFAULT: Final = "default"


class Frozen(Mapping[str, str]):
    """An immutable mapping that shows its size and no values, and is never pickled."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._items)} variables)"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} may hold secrets and is not pickled")


class Environment(Frozen):
    """Variables, merged, that know where each came from. Shows no values."""

    __slots__ = ("_sources",)

    def __init__(self, items: Mapping[str, str], sources: Mapping[str, str]) -> None:
        super().__init__(items)
        self._sources = dict(sources)

    def source(self, name: str) -> str | None:
        """``environment``, or the path of the env file, or None for a name that is not set."""
        return self._sources.get(name)


def source_of(env: Mapping[str, str], name: str) -> str | None:
    """Where a variable of any mapping comes from: the environment, unless the mapping knows."""
    if isinstance(env, Environment):
        return env.source(name)
    return FROM_ENVIRONMENT if name in env else None


def process_environment() -> Environment:
    """The process's own environment, without any env file."""
    return _merged(os.environ, {})


def load_environment(
    env_files: Sequence[Path] | None = None, environ: Mapping[str, str] | None = None
) -> Environment:
    """Merges env files beneath the real environment.

    A variable of the environment wins over every file, even when it is empty; an earlier file
    wins over a later one. Without ``env_files`` these are ``.env`` and ``.ringfence/env`` of the
    working folder, each only where it is a file.

    Raises:
        ConfigError: a file that was named is missing; a file cannot be read or parsed.
    """
    paths = DEFAULT_ENV_FILES if env_files is None else tuple(map(os.fspath, env_files))
    files: dict[str, Mapping[str, str]] = {}
    problems: list[Problem] = []
    for path in paths:
        # A pipe or a device (`--env-file <(...)`) is read only when it was asked for by name.
        if env_files is not None or _is_file(path):
            try:
                files.setdefault(path, _read(path))
            except _Unreadable as error:
                problems.append(error.problem)
    if problems:
        raise ConfigError(tuple(problems))
    return _merged(os.environ if environ is None else environ, files)


def exposed_files(environment: Environment) -> tuple[str, ...]:
    """The env files that hold a secret of ours and that other users of the machine can read."""
    sources = (environment.source(name) or "" for name in SECRET_VARIABLES if environment.get(name))
    return tuple(path for path in sorted(set(sources)) if _readable_by_others(path))


def _is_file(path: str) -> bool:
    from pathlib import Path

    # False, too, for a folder called .env, as some make their virtual environments.
    return Path(path).is_file()


def _readable_by_others(path: str) -> bool:
    from pathlib import Path

    try:
        return path != FROM_ENVIRONMENT and bool(Path(path).stat().st_mode & 0o044)
    except OSError:
        return False


def _merged(environ: Mapping[str, str], files: Mapping[str, Mapping[str, str]]) -> Environment:
    items = dict(environ)
    sources = dict.fromkeys(items, FROM_ENVIRONMENT)
    for path, values in files.items():
        for name, value in values.items():
            if name not in items:
                items[name] = value
                sources[name] = path
    return Environment(items, sources)


class _Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


_EXPECTED: Final = "a readable file of NAME=value lines"


def _read(path: str) -> dict[str, str]:
    from ringfence.config import envfile

    try:
        return envfile.parse(_text(path, envfile.MAX_BYTES))
    except envfile.BadLine as bad:
        where = f"{path}, line {bad.line},"
        raise _Unreadable(Problem(where, bad.found, "NAME=value", bad.hint)) from None


def _text(path: str, most: int) -> str:
    from pathlib import Path

    try:
        with Path(path).open("rb") as file:
            data = file.read(most + 1)
    except FileNotFoundError:
        raise _Unreadable(Problem(path, "missing", _EXPECTED)) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise _Unreadable(Problem(path, f"not readable ({reason})", _EXPECTED)) from None
    if len(data) > most:
        raise _Unreadable(Problem(path, f"over {most:,} bytes", _EXPECTED))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _Unreadable(Problem(path, "not UTF-8 text", _EXPECTED)) from None
