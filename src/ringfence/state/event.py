"""Events of a run: what it has to tell others, numbered without a gap."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ringfence.errors import UsageError

MAX_PAYLOAD_BYTES: Final = 1 << 20
"""Largest payload of one event, as compact ASCII JSON, by default: 1 MiB."""

MAX_BATCH: Final = 1000
"""Most events of one batch."""

MAX_BATCH_BYTES: Final = 16 << 20
"""Largest batch, all payloads together: 16 MiB."""

MAX_BATCH_ID_BYTES: Final = 128
"""Longest batch id, in ASCII."""

MAX_EVENT_PAGE: Final = 1000
"""Most events that one read returns."""

MAX_READ_BYTES: Final = 16 << 20
"""Payload bytes after which one read ends, so that its memory is bounded: 16 MiB."""

to_json: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""Compact ASCII. One encoder for all: ``json.dumps`` with options makes one anew each time."""

Payload = Any
"""What JSON can hold: None, bool, int, float, str, and lists and objects of them."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run. ``sequence`` is 1 for the first, and no number is left out.

    ``at`` is when it was stored, in UTC, by the clock of whoever appended it; every event of a
    batch has the same.
    """

    sequence: int
    at: datetime
    payload: Payload


@dataclass(frozen=True, slots=True)
class Batch:
    """Events to append together, checked and encoded once, whatever the backend.

    ``id`` is the client's, or None for a batch that will not be repeated; then there is no
    ``digest``, which tells a repetition from other events under the same id.
    """

    id: str | None
    payloads: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.payloads)


def make_batch(
    payloads: Sequence[Payload], batch: str | None, *, most_bytes: int = MAX_PAYLOAD_BYTES
) -> Batch:
    """The batch, encoded.

    Args:
        payloads: One for each event, in order; at least one.
        batch: The client's id for it, by which a repetition is known.
        most_bytes: Largest payload, in bytes.

    Raises:
        UsageError: it is empty or too large, a payload is too large or no JSON, or the id is none.
    """
    if not 1 <= len(payloads) <= MAX_BATCH:
        raise UsageError(
            f"A batch of {len(payloads)} events; it holds 1 to {MAX_BATCH}.",
            hint="Append them in several batches.",
        )
    encoded = tuple(encode_payload(payload, most_bytes) for payload in payloads)
    size = sum(map(len, encoded))
    if size > MAX_BATCH_BYTES:
        raise UsageError(
            f"The batch is {size:,} bytes large; at most {MAX_BATCH_BYTES:,} go at once.",
            hint="Append the events in several batches.",
        )
    _check_batch_id(batch)
    return Batch(batch, encoded, "" if batch is None else _digest(encoded))


def _digest(encoded: Sequence[str]) -> str:
    from hashlib import blake2b  # OpenSSL behind it takes 4 ms to load

    return blake2b("\n".join(encoded).encode("ascii"), digest_size=16).hexdigest()


def encode_payload(payload: Payload, most_bytes: int = MAX_PAYLOAD_BYTES) -> str:
    """A payload as compact JSON in ASCII, so that its length is its size.

    Raises:
        UsageError: it is too large, or is no JSON.
    """
    try:
        text = to_json(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"The event's payload cannot be written as JSON ({error}).",
            hint="Use None, bool, int, float, str, list and dict; NaN and infinity are no JSON.",
        ) from None
    if len(text) > most_bytes:
        raise UsageError(
            f"The event's payload is {len(text):,} bytes of JSON; at most {most_bytes:,} are kept "
            "in an event.",
            hint="Put large ones into storage and append a reference: `run.emit` does that.",
        )
    return text


def check_events_query(after: int, limit: int) -> None:
    """Checks where a read of events begins and how many it wants.

    Raises:
        UsageError: one of them is out of its range.
    """
    if after < 0:
        raise UsageError(f"Events are numbered from 1 on, so none can be after {after}.")
    if not 1 <= limit <= MAX_EVENT_PAGE:
        raise UsageError(f"The limit is {limit}; one read returns 1 to {MAX_EVENT_PAGE} events.")


def within_bytes(rows: Sequence[tuple[datetime, str]]) -> Iterator[tuple[datetime, str]]:
    """The first of these rows, up to the one with which the payloads pass 16 MiB."""
    size = 0
    for row in rows:
        yield row
        size += len(row[1])
        if size >= MAX_READ_BYTES:
            return


def no_such_event(sequence: int) -> UsageError:
    """The error of every store for an acknowledgement of an event that is not there."""
    return UsageError(
        f"Event {sequence} cannot be acknowledged: the run has no event of that number yet.",
    )


def check_sequence(sequence: int) -> None:
    """Checks the number that a consumer acknowledges.

    Raises:
        UsageError: it is below 0.
    """
    if sequence < 0:
        raise no_such_event(sequence)


def batch_mismatch(batch: str) -> UsageError:
    """The error of every store for a batch id that is taken by other events."""
    return UsageError(
        f"The batch id {batch!r} was used for other events of this run.",
        hint="Repeat a batch with the same events, and give every other one an id of its own.",
    )


def _check_batch_id(batch: str | None) -> None:
    if batch is None:
        return
    if not 1 <= len(batch) <= MAX_BATCH_ID_BYTES or not (batch.isascii() and batch.isprintable()):
        raise UsageError(
            f"A batch id is 1 to {MAX_BATCH_ID_BYTES} printable ASCII characters.",
            hint="A UUID, say.",
        )
