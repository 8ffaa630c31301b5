"""Execution logs over a store: written in segments by who may only write, read by who may read.

Object stores cannot append, so a log is a row of segments. A writer has a name of its own under
the run's log prefix, made of its start and of 64 random bits; its segments are numbered. One writer
never meets another, and an execution that may write under the same prefix, but not list or read it,
cannot guess a name to overwrite. A line is acknowledged when its segment is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ringfence.errors import AccessDenied, RingfenceError, StorageUnreachable
from ringfence.providers._obstore import translate
from ringfence.providers.base import Clock

if TYPE_CHECKING:
    from obstore.store import ObjectStore

FORMAT: Final = 1
FLUSH_SECONDS: Final = 1.0
"""How long a line waits for others before its segment is stored."""
SEGMENT_BYTES: Final = 1 << 20
"""A segment is stored as soon as it is this large, about."""
BUFFER_BYTES: Final = 8 << 20
"""Lines that wait to be stored take up to this much memory; then the writer waits."""
RETRY_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 30.0
"""How long closing tries to store what is left."""
POLL_SECONDS: Final = 1.0
MAX_FIELDS_BYTES: Final = 64 << 10

_TARGET = "The log bucket"
_WRITER: Final = re.compile(r"\d{16}-[0-9a-f]{16}")
_SEGMENT: Final = re.compile(r"\d{10}\.jsonl")
_UNKNOWN: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of a line that no writer wrote."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line. ``stream`` is ``stdout``, ``stderr``, or ``log`` for what the run itself logged.

    ``partial`` marks a line that was cut at the length limit and goes on in the next entry of its
    stream. ``fields`` are the structured parts of a ``log`` entry.
    """

    at: datetime
    stream: str
    text: str
    level: str | None = None
    fields: Mapping[str, Any] | None = None
    partial: bool = False

    def to_json(self) -> dict[str, Any]:
        """The form in storage and of ``--json``; what is empty is left out."""
        row: dict[str, Any] = {
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "stream": self.stream,
            # A lone surrogate is no text: nothing could print it.
            "text": self.text.encode(errors="backslashreplace").decode(),
        }
        optional = {"level": self.level, "fields": self.fields, "partial": self.partial or None}
        return row | {name: value for name, value in optional.items() if value}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> LogEntry:
        """The entry of a stored line."""
        return cls(
            datetime.fromisoformat(row["at"]),
            row["stream"],
            row["text"],
            row.get("level"),
            row.get("fields"),
            bool(row.get("partial")),
        )


class LogWriter:
    """Writes one row of segments. For one event loop; bounded, see :meth:`append`."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        flush_seconds: float = FLUSH_SECONDS,
        buffer_bytes: int = BUFFER_BYTES,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._name = f"{int(clock().timestamp() * 1e6):016d}-{secrets.token_hex(8)}"
        self._flush_seconds = flush_seconds
        self._buffer_bytes = buffer_bytes
        self._retry_seconds = retry_seconds
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._stored = 0
        self._segment = 0
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = False
        self._trouble: RingfenceError | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def stored(self) -> int:
        """Lines acknowledged so far."""
        return self._stored

    async def append(self, entry: LogEntry) -> None:
        """Takes a line, to be stored within about a second. Waits while the buffer is full.

        Raises:
            RingfenceError: storage refuses the log for good, or the writer is closed.
        """
        while self._size >= self._buffer_bytes and not self._ended:
            self._room.clear()
            await self._room.wait()
        self.put(entry)

    def put(self, entry: LogEntry) -> None:
        """Takes a line without waiting, for code that cannot wait.

        Raises:
            RingfenceError: as :meth:`append`, or four buffers of lines are waiting already.
        """
        if self._ended:
            raise self._trouble or RingfenceError("The log is closed.")
        if self._size >= 4 * self._buffer_bytes:
            raise StorageUnreachable(
                "The log is too far behind to take more lines.",
                hint="Let the event loop run between log calls, or check the log bucket.",
            )
        line = json.dumps(entry.to_json(), ensure_ascii=False, separators=(",", ":"))
        data = line.encode(errors="backslashreplace") + b"\n"
        self._lines.append(data)
        self._size += len(data)
        self._some.set()
        if self._size >= SEGMENT_BYTES:
            self._full.set()
        if self._task is None:
            self._task = asyncio.create_task(self._write(), name="ringfence-log")

    def log(self, level: str, text: str, fields: Mapping[str, Any]) -> None:
        """Takes a line that the run itself logs; see :meth:`put`."""
        self.put(LogEntry(self._clock(), "log", text, level, fields or None))

    async def close(self, *, within: float = CLOSE_SECONDS) -> None:
        """Stores what is left. Idempotent.

        Raises:
            StorageUnreachable: lines could not be stored ``within`` that many seconds.
            RingfenceError: storage refused them.
        """
        self._closing = True
        self._some.set()
        self._full.set()
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._task, within)
        if self._lines:
            error = self._trouble or StorageUnreachable("The log bucket did not answer in time.")
            count = len(self._lines)
            lines = "1 line" if count == 1 else f"{count} lines"
            raise type(error)(
                f"{lines} of the log could not be stored. {error.message}", hint=error.hint
            )

    @property
    def _ended(self) -> bool:
        return self._closing or (self._task is not None and self._task.done())

    async def _write(self) -> None:
        try:
            while await self._some_lines():
                count, body = self._batch()
                if not await self._put(body):
                    return
                for _ in range(count):
                    self._lines.popleft()
                self._size -= len(body)
                self._stored += count
                self._segment += 1
                self._room.set()
        finally:
            self._room.set()

    async def _some_lines(self) -> bool:
        """Waits until a segment is worth storing: full, old enough, or the last. False: no more."""
        if not self._lines:
            self._some.clear()
            if self._closing:
                return False
            await self._some.wait()
        if self._size < SEGMENT_BYTES and not self._closing:
            self._full.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._full.wait(), self._flush_seconds)
        return bool(self._lines)

    def _batch(self) -> tuple[int, bytes]:
        taken: list[bytes] = []
        size = 0
        for line in self._lines:
            if taken and size + len(line) > SEGMENT_BYTES:
                break
            taken.append(line)
            size += len(line)
        return len(taken), b"".join(taken)

    async def _put(self, body: bytes) -> bool:
        """Stores one segment, trying again while storage is out of reach. False: never will be."""
        refused = False
        while True:
            key = f"{self._name}/{self._segment:010d}.jsonl"
            try:
                await self._store.put_async(key, body, use_multipart=False)
            except Exception as error:  # noqa: BLE001 - obstore's errors have no common root
                self._trouble = translate(error, what="store the log", bucket=_TARGET)
                if isinstance(self._trouble, AccessDenied) and not refused:
                    # It may lie there already, its answer lost: Google Cloud Storage refuses to
                    # replace what it is then sent again. Readers skip the second of two alike.
                    refused = True
                    self._segment += 1
                    continue
                if not isinstance(self._trouble, StorageUnreachable):
                    return False
            else:
                self._trouble = None
                return True
            await asyncio.sleep(self._retry_seconds)


async def read_log(store: ObjectStore) -> AsyncIterator[LogEntry]:
    """Every stored line of a run, oldest first, one segment in memory for each writer.

    Args:
        store: rooted at the run's log prefix, with the right to read and list.
    """
    async for entry in _merged(store, {}):
        yield entry


async def follow_log(
    store: ObjectStore, done: asyncio.Event, *, poll_seconds: float = POLL_SECONDS
) -> AsyncIterator[LogEntry]:
    """The lines stored so far and those that come, until ``done`` is set and all is read."""
    position: dict[str, str] = {}
    while True:
        last_look = done.is_set()
        async for entry in _merged(store, position):
            yield entry
        if last_look:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), poll_seconds)


async def _merged(store: ObjectStore, position: dict[str, str]) -> AsyncIterator[LogEntry]:
    """The lines after ``position`` (writer -> last key read), which it moves on."""
    rows = [_segments(store, writer, position) for writer in await _writers(store)]
    heads: list[tuple[LogEntry, int]] = []
    for index, row in enumerate(rows):
        if (entry := await anext(row, None)) is not None:
            heads.append((entry, index))
    while heads:
        # Few writers, so a plain minimum. Equal times keep the writers' order.
        entry, index = head = min(heads, key=lambda pair: (pair[0].at, pair[1]))
        heads.remove(head)
        yield entry
        if (following := await anext(rows[index], None)) is not None:
            heads.append((following, index))


async def _writers(store: ObjectStore) -> list[str]:
    try:
        listing = await store.list_with_delimiter_async()
    except Exception as error:  # noqa: BLE001 - obstore's errors have no common root
        raise translate(error, what="list the log", bucket=_TARGET) from None
    names = (prefix.strip("/") for prefix in listing["common_prefixes"])
    return sorted(name for name in names if _WRITER.fullmatch(name))


async def _segments(
    store: ObjectStore, writer: str, position: dict[str, str]
) -> AsyncIterator[LogEntry]:
    last = position.get(writer)
    try:
        keys = [
            meta["path"]
            async for batch in store.list(f"{writer}/", offset=last)
            for meta in batch
            # Held against it here too: an engine that knows no offset lists all of them.
            if _SEGMENT.fullmatch(meta["path"].rpartition("/")[2]) and meta["path"] > (last or "")
        ]
        before = b""
        for key in sorted(keys):
            body = bytes(await (await store.get_async(key)).bytes_async())
            position[writer] = key
            if body == before:  # stored twice by a writer that could not know, see LogWriter
                continue
            before = body
            for line in body.split(b"\n"):
                if line:
                    yield _entry(line)
    except Exception as error:  # noqa: BLE001 - obstore's errors have no common root
        raise translate(error, what="read the log", bucket=_TARGET) from None


def _entry(line: bytes) -> LogEntry:
    """The entry of a stored line. An execution may write under its log's prefix, so any line may
    be there: one that no writer wrote is shown as it is, and hides none of the others."""
    try:
        entry = LogEntry.from_json(json.loads(line))
        shapes = ((entry.text, str), (entry.stream, str), (entry.level, str | None))
        if entry.at.tzinfo is None or not all(isinstance(part, shape) for part, shape in shapes):
            raise ValueError("no entry")
        dict(entry.fields or {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return LogEntry(_UNKNOWN, "unknown", line[:MAX_FIELDS_BYTES].decode(errors="replace"))
    return entry
