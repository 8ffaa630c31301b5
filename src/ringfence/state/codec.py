"""A run's record as JSON: one flat object, versioned, with times in UTC to the microsecond."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any, Final

from ringfence.errors import LayoutMismatch, RingfenceError, UsageError
from ringfence.scope import AccessMode
from ringfence.state.event import to_json
from ringfence.state.record import RunRecord, RunStatus

SCHEMA_VERSION: Final = 1
"""Raised when an older reader would misread what is written. Fields are added without it: a reader
skips those that it does not know."""

MAX_RECORD_BYTES: Final = 64 * 1024
"""More than any record with bounded texts takes; what is larger was not written by Ringfence."""


def encode_record(record: RunRecord, write: str) -> bytes:
    """The stored form. ``write`` is a token by which a writer knows its own write again."""
    stored: dict[str, Any] = {"v": SCHEMA_VERSION, "write": write}
    for name, codec in _CODECS.items():
        value = getattr(record, name)
        if value is not None:
            stored[name] = codec[0](value)
    # ASCII, so that every text survives whatever the reader makes of UTF-8.
    return to_json(stored).encode("ascii")


def decode_record(data: bytes, key: str) -> tuple[RunRecord, str]:
    """The record and the token of the write that stored it. ``key`` is for the messages.

    Raises:
        LayoutMismatch: a newer Ringfence wrote it.
        RingfenceError: it is not a run record.
    """
    try:
        stored = _object(json.loads(data))
        version = _integer(stored["v"])
        if version > SCHEMA_VERSION:
            raise LayoutMismatch(
                f"The run record {key} was written by a newer Ringfence (schema {version}; this "
                f"one reads up to {SCHEMA_VERSION}).",
                hint="Upgrade Ringfence on this machine.",
            )
        values: dict[str, Any] = {
            name: _decoded(stored, name) for name in _CODECS if name in stored or name in _REQUIRED
        }
        return RunRecord(**values), _text(stored["write"])
    except (ValueError, TypeError, KeyError, RecursionError, UsageError) as error:
        raise corrupt(key, _reason(error)) from None


def corrupt(key: str, reason: str) -> RingfenceError:
    """The error for an object that stands where a record should and is none."""
    return RingfenceError(
        f"The run record {key} cannot be read: {reason}.",
        hint="Restore the object from a backup, or delete it to give the run up.",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"its {error.args[0]} is missing"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError):
        return "it is not valid JSON"
    return f"it is no record ({error})"


def _decoded(stored: dict[str, Any], name: str) -> Any:
    try:
        return _CODECS[name][1](stored[name])
    except (ValueError, TypeError):
        raise ValueError(f"its {name} is not one") from None


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"a {type(value).__name__} where an object should be")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} where a text should be")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a {type(value).__name__} where a number should be")
    return value


def _time(value: object) -> datetime:
    return datetime.fromisoformat(_text(value))


def _write_time(value: datetime) -> str:
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")


_Codec = tuple[Callable[[Any], object], Callable[[Any], object]]
_BY_TYPE: Final[dict[str, _Codec]] = {
    "str": (str, _text),
    "int": (int, _integer),
    "datetime": (_write_time, _time),
    "AccessMode": (str, lambda value: AccessMode(_text(value))),
    "RunStatus": (str, lambda value: RunStatus(_text(value))),
}
_CODECS: Final[dict[str, _Codec]] = {
    field.name: _BY_TYPE[str(field.type).removesuffix(" | None")] for field in fields(RunRecord)
}
_REQUIRED: Final = {field.name for field in fields(RunRecord) if field.default is MISSING}
