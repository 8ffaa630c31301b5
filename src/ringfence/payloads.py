"""Event payloads that are too large for an event: kept in the run's own place, by reference.

An execution may write under its log prefix and not read there, so what it has put away cannot be
changed by it unnoticed: the reference holds a digest. The same payload lies in the same place, so
it is written once: Google Cloud Storage refuses to replace an object to who may not delete it.
"""

from __future__ import annotations

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from ringfence.errors import AccessDenied, RingfenceError, UsageError
from ringfence.providers._obstore import translating
from ringfence.state.event import MAX_PAYLOAD_BYTES, Payload, encode_payload

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MAX_STORED_BYTES: Final = 64 << 20
"""Largest payload that is put away: 64 MiB of JSON. It is in memory while that is done."""

_FOLDER: Final = "payloads"
_KEY: Final = "$ringfence"
_TARGET: Final = "The log bucket"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a payload lies. ``path`` is below the run's log prefix."""

    path: str
    bytes: int
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """The payload that stands in the event in its place."""
        return {_KEY: {"path": self.path, "bytes": self.bytes, "sha256": self.sha256}}

    @classmethod
    def of(cls, payload: Payload) -> Reference | None:
        """The reference that a payload is, or None for one that is there itself."""
        row = payload.get(_KEY) if isinstance(payload, dict) and len(payload) == 1 else None
        if not isinstance(row, dict):
            return None
        path, size, digest = row.get("path"), row.get("bytes"), row.get("sha256")
        if not (isinstance(path, str) and isinstance(size, int) and isinstance(digest, str)):
            return None
        return cls(path, size, digest)


def put_away(payload: Payload) -> tuple[Reference, bytes] | None:
    """Where a payload goes that is too large for an event, and its bytes; None for a smaller one.

    Raises:
        UsageError: it is no JSON, or over 64 MiB.
    """
    data = encode_payload(payload, MAX_STORED_BYTES).encode("ascii")
    if len(data) <= MAX_PAYLOAD_BYTES:
        return None
    digest = sha256(data).hexdigest()
    return Reference(f"{_FOLDER}/{digest}.json", len(data), digest), data


async def slimmed(logs: ObjectStore, payload: Payload) -> Payload:
    """A payload as an event can hold it: itself, or a reference to where it was just stored.

    Args:
        logs: rooted at the run's log prefix, with the right to write.

    Raises:
        UsageError: it is no JSON, or over 64 MiB.
        RingfenceError: storage would not take it.
    """
    away = put_away(payload)
    if away is None:
        return payload
    reference, data = away
    try:
        await _create(logs, reference.path, data)
    except AccessDenied:
        # Who may write here, but not that key, has met the same payload: nobody else writes here.
        with suppress(AccessDenied):
            await _create(logs, _trial(), b"")
            return reference.to_json()
        raise
    return reference.to_json()


async def _create(logs: ObjectStore, path: str, data: bytes) -> None:
    from obstore.exceptions import AlreadyExistsError

    with translating("store an event's payload", _TARGET), suppress(AlreadyExistsError):
        await logs.put_async(path, data, mode="create")


def slimmed_now(logs: ObjectStore, payload: Payload) -> Payload:
    """As :func:`slimmed`, for code without an event loop. Blocking."""
    away = put_away(payload)
    if away is None:
        return payload
    reference, data = away
    try:
        _create_now(logs, reference.path, data)
    except AccessDenied:
        with suppress(AccessDenied):
            _create_now(logs, _trial(), b"")
            return reference.to_json()
        raise
    return reference.to_json()


def _create_now(logs: ObjectStore, path: str, data: bytes) -> None:
    from obstore.exceptions import AlreadyExistsError

    with translating("store an event's payload", _TARGET), suppress(AlreadyExistsError):
        logs.put(path, data, mode="create")


def _trial() -> str:
    return f"{_FOLDER}/{secrets.token_hex(16)}.trial"


async def whole(logs: ObjectStore, payload: Payload) -> Payload:
    """A payload as it was appended, fetched where it is a reference.

    Args:
        logs: rooted at the run's log prefix, with the right to read.

    Raises:
        RingfenceError: it is not there, or is not what was put away.
    """
    reference = Reference.of(payload)
    if reference is None:
        return payload
    # Events come from executions: the path is only ever the one that this module makes.
    if reference.path != f"{_FOLDER}/{reference.sha256}.json":
        raise UsageError("The event's reference does not lead to a payload of its run.")
    try:
        with translating("read an event's payload", _TARGET):
            answer = await logs.get_async(reference.path)
            if answer.meta["size"] != reference.bytes or reference.bytes > MAX_STORED_BYTES:
                raise _changed(reference)
            data = bytes(await answer.bytes_async())
    except FileNotFoundError:
        raise RingfenceError(f"The event's payload {reference.path} is not there.") from None
    if sha256(data).hexdigest() != reference.sha256:
        raise _changed(reference)
    return json.loads(data)


def _changed(reference: Reference) -> RingfenceError:
    return RingfenceError(f"The event's payload {reference.path} is not what was put away.")
