"""Where everything lies in the three buckets: the encoding of ids, every prefix and every key.

Nothing outside this module joins path segments into a prefix. Ids come from identity providers
and are hostile until encoded, so a :class:`Prefix` can be made from encoded ids only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NewType

from ringfence.errors import InvalidId

MAX_ID_BYTES: Final = 256
"""Longest id, in bytes, after encoding. S3, Azure and GCS keys end at 1,024 bytes."""

LAYOUT_VERSION: Final = 1

_DIGITS = b"0123456789"
_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_UPPER = _LOWER.upper()
_PUNCTUATION = b"_.@:+=,-"


class IdCase(StrEnum):
    """Whether upper-case letters stand for themselves in keys (see ``RINGFENCE_ID_CASE``)."""

    EXACT = "exact"
    """Keys as Flow-Like writes them. For engines that compare policies exactly, as AWS does."""
    FOLDED = "folded"
    """``A``-``Z`` are encoded too, so that two ids never meet where case is ignored (SeaweedFS)."""


class BucketRole(StrEnum):
    """Which of the three configured buckets."""

    META = "meta"
    CONTENT = "content"
    LOG = "log"


EncodedId = NewType("EncodedId", str)
"""An id as it stands in keys: one path segment, no character that any policy language reads."""

Prefix = NewType("Prefix", str)
"""A key prefix made of encoded ids. Never empty; always ends in ``/``."""

Key = NewType("Key", str)
"""A whole key, made by this module."""


def _table(literal: bytes) -> tuple[str, ...]:
    return tuple(chr(byte) if byte in literal else f"%{byte:02X}" for byte in range(256))


_TABLES: Final = {
    IdCase.EXACT: _table(_DIGITS + _LOWER + _UPPER + _PUNCTUATION),
    IdCase.FOLDED: _table(_DIGITS + _LOWER + _PUNCTUATION),
}


def encode_id(raw: str, case: IdCase = IdCase.EXACT, *, what: str = "id") -> EncodedId:
    """Encodes an id into one path segment.

    ``[A-Za-z0-9_.@:+=,-]`` stands for itself and every other UTF-8 byte becomes ``%XX``, as do
    ``A``-``Z`` when ``case`` is folded, every dot of ``.`` and ``..``, and a trailing dot. The
    encoding is injective, and what it leaves is no wildcard, variable, quote or separator in any
    policy language.

    Raises:
        InvalidId: the id is empty, is not Unicode text, or is over 256 bytes once encoded.
    """
    if not isinstance(raw, str):
        raise InvalidId(f"The {what} is a {type(raw).__name__}, not text.")
    if not raw:
        raise InvalidId(f"The {what} is empty.", hint="Every app, user and run needs an id.")
    try:
        data = raw.encode()
    except UnicodeEncodeError:
        raise InvalidId(f"The {what} holds a lone surrogate, which is not Unicode text.") from None
    # Checked before the encoding too, so that a huge id costs nothing.
    if len(data) <= MAX_ID_BYTES:
        table = _TABLES[case]
        encoded = "".join([table[byte] for byte in data])
        if raw in {".", ".."}:
            encoded = encoded.replace(".", "%2E")
        elif raw.endswith("."):
            encoded = f"{encoded[:-1]}%2E"
        if len(encoded) <= MAX_ID_BYTES:
            return EncodedId(encoded)
        size = len(encoded)
    else:
        size = len(data)
    raise InvalidId(
        f"The {what} is {size} bytes long once encoded; at most {MAX_ID_BYTES} are allowed.",
        hint="Bytes other than A-Z a-z 0-9 _ . @ : + = , - count as three.",
    )


def app_prefix(app: EncodedId) -> Prefix:
    """An app's place, in the content bucket and in the meta bucket alike."""
    return Prefix(f"apps/{app}/")


def user_prefix(user: EncodedId, app: EncodedId) -> Prefix:
    """What one user keeps in one app."""
    return Prefix(f"users/{user}/apps/{app}/")


def tmp_prefix(user: EncodedId, app: EncodedId) -> Prefix:
    """Scratch space of one user in one app."""
    return Prefix(f"tmp/user/{user}/apps/{app}/")


def prefixes_of_user(prefix: Prefix) -> tuple[Prefix, Prefix]:
    """Both places of one user in one app, by either: what is kept, and the scratch space.

    Raises:
        ValueError: it is neither.
    """
    # Encoded ids hold no slash, so the segments are the ids.
    match prefix.split("/"):
        case ["users", user, "apps", app, ""] | ["tmp", "user", user, "apps", app, ""]:
            ids = EncodedId(user), EncodedId(app)
            return user_prefix(*ids), tmp_prefix(*ids)
    raise ValueError(f"no place of a user: {prefix!r}")


def logs_prefix(app: EncodedId, run: EncodedId | None) -> Prefix:
    """The logs of one run, or without a run of the whole app."""
    return Prefix(f"runs/{app}/" if run is None else f"runs/{app}/{run}/")


EXECUTION_PREFIX: Final = Prefix("execution/")
"""Ringfence's own place in the meta bucket. No scope is ever granted anything under it."""

LAYOUT_KEY: Final = Key("execution/layout.json")

FENCE_PROBE_PREFIX: Final = Prefix("execution/fence/")
"""Where the installation tries its own fence, on clouds where that must be found out. Two small
objects stay there; no execution is ever granted it."""


MAX_RUN_SEGMENT: Final = 200
"""Longest form of a run id in a key of the state. File-backed engines end a key's last segment at
255 bytes (SeaweedFS answers ``KeyTooLongError``), and there a time stands before the run."""

Position = NewType("Position", str)
"""Where a run stands among its app's: comparing two as text puts the newer run first, and runs of
one microsecond in the order of their encoded ids. The same text on every state backend."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND: Final = 10**18 - 1
_POSITION: Final = re.compile(
    rf"\d{{4}}/\d{{3}}/\d{{3}}/\d{{8}}-[A-Za-z0-9_.@:+=,%~-]{{1,{MAX_RUN_SEGMENT}}}", re.ASCII
)


def _run_segment(run: EncodedId) -> str:
    # "~" is no character of an encoded id, so a shortened one never meets another's.
    if len(run) <= MAX_RUN_SEGMENT:
        return run
    from hashlib import sha256  # OpenSSL behind it takes 4 ms to load, and such ids are rare

    digest = sha256(run.encode()).hexdigest()
    return f"{run[: MAX_RUN_SEGMENT - 1 - len(digest)]}~{digest}"


def run_record_key(run: EncodedId) -> Key:
    """The record of a run. Run ids are global: there is no app in it."""
    return segment_record_key(_run_segment(run))


def run_events_prefix(run: EncodedId) -> Prefix:
    """The events of a run: an object for each group of them that was stored at once."""
    return Prefix(f"execution/runs/{_run_segment(run)}/events/")


_SEQUENCE_DIGITS: Final = 12


def run_events_key(run: EncodedId, first: int) -> Key:
    """The object whose first event has this number. Keys sort by it."""
    return Key(f"{run_events_prefix(run)}{first:0{_SEQUENCE_DIGITS}d}")


def parse_events_key(key: str) -> int | None:
    """The number of the first event in the object at a key, or None where it is none of events."""
    name = key.rpartition("/")[2]
    return int(name) if len(name) == _SEQUENCE_DIGITS and name.isdecimal() else None


def run_consumer_key(run: EncodedId, consumer: EncodedId) -> Key:
    """How far a consumer of a run's events has come."""
    return Key(f"{run_consumers_prefix(run)}{_run_segment(consumer)}")


def run_consumers_prefix(run: EncodedId) -> Prefix:
    """The consumers of a run's events."""
    return Prefix(f"execution/runs/{_run_segment(run)}/consumers/")


OPEN_RUNS_PREFIX: Final = Prefix("execution/open/")
"""An empty object for each run that may be running, so that those whose runner is gone are found
without reading all runs."""


def open_run_key(run: EncodedId) -> Key:
    """The mark of a run that may be running."""
    return Key(f"{OPEN_RUNS_PREFIX}{_run_segment(run)}")


EXPIRING_PREFIX: Final = Prefix("execution/expiring/")
"""An empty object for each run that will expire, in the order of the time when it does."""


def expiring_key(expires_at: datetime, segment: str) -> Key:
    """The mark of a run that will expire."""
    return Key(f"{EXPIRING_PREFIX}{_microseconds(expires_at):018d}-{segment}")


def parse_expiring_key(key: str) -> tuple[datetime, str] | None:
    """When the marked run expires, and its segment; None where the key marks none."""
    time, _, segment = key.removeprefix(EXPIRING_PREFIX).partition("-")
    if not (len(time) == 18 and time.isdecimal() and segment):
        return None
    return _EPOCH + timedelta(microseconds=int(time)), segment


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def segment_record_key(segment: str) -> Key:
    """The record of the run whose marks are named by this segment."""
    return Key(f"execution/runs/{segment}/record.json")


def run_position(created_at: datetime, run: EncodedId) -> Position:
    """Where a run that was created then stands in its app's list.

    The time counts down, in fixed-width digits, cut into segments of about three years, a day,
    100 seconds and 1 microsecond, so that no level but the last has more than 1,000 children:
    an engine that lists in no order is read level by level.
    """
    left = f"{_LAST_MICROSECOND - _microseconds(created_at):018d}"
    return Position(f"{left[:4]}/{left[4:7]}/{left[7:10]}/{left[10:]}-{_run_segment(run)}")


def parse_position(text: str) -> Position | None:
    """``text`` as a position, or None where it is none: from a key, or from outside."""
    return Position(text) if _POSITION.fullmatch(text) else None


def runs_index_prefix(app: EncodedId) -> Prefix:
    """The list of an app's runs: an empty object for each run, named by its position."""
    return Prefix(f"execution/apps/{app}/runs/")


def run_index_key(app: EncodedId, position: Position) -> Key:
    """A run's entry in its app's list."""
    return Key(f"execution/apps/{app}/runs/{position}")


def position_record_key(position: Position) -> Key:
    """The record of the run that stands at a position."""
    return segment_record_key(position.split("-", 1)[1])
