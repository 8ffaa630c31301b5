"""The objects of the state in the meta bucket: reading one, and writing one under a condition."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from obstore.exceptions import AlreadyExistsError, PreconditionError

from ringfence.errors import RingfenceError, StorageUnreachable
from ringfence.layout import Key, Prefix
from ringfence.providers._obstore import translating
from ringfence.state.codec import MAX_RECORD_BYTES, corrupt, decode_record, encode_record
from ringfence.state.record import RunRecord

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, PutResult, UpdateVersion
    from obstore.store import ObjectStore

_REMEMBERED: Final = 1024

LIST_PAGE: Final = 1000
"""Keys that S3 returns to one list request at most."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it is in the bucket, with what a conditional write of it needs."""

    record: RunRecord
    write: str
    tag: UpdateVersion


class RunObjects:
    """A bucket, as the state store sees it. ``bucket`` is how messages name it.

    The tags of what was last seen here spare a change a read. They decide nothing: a tag that is
    not the stored one's any more makes the write fail.
    """

    def __init__(self, store: ObjectStore, bucket: str) -> None:
        self.store = store
        self.bucket = bucket
        self._seen: OrderedDict[Key, tuple[int, UpdateVersion]] = OrderedDict()

    # --- objects of any kind -----------------------------------------------------------------

    async def mark(self, key: Key) -> None:
        """Puts an empty object: an entry in a list."""
        with translating("store a run", self.bucket):
            await self.store.put_async(key, b"")

    async def remove(self, key: Key) -> None:
        """Removes an object. One that is not there is no failure."""
        with suppress(FileNotFoundError), translating("tidy up", self.bucket):
            await self.store.delete_async(key)

    async def discard(self, key: Key) -> None:
        """Removes an object that readers skip, if that can be had."""
        with suppress(RingfenceError):
            await self.remove(key)

    async def fetch(self, key: Key, most_bytes: int) -> tuple[bytes, UpdateVersion] | None:
        """The content of an object, and its tag; None where there is none.

        Raises:
            RingfenceError: it is larger than ``most_bytes``, or cannot be read.
        """
        try:
            with translating(f"read {key}", self.bucket):
                answer = await self.store.get_async(key)
                if answer.meta["size"] > most_bytes:
                    raise corrupt(key, f"it is {answer.meta['size']} bytes long")
                return bytes(await answer.bytes_async()), _tag(answer.meta)
        except FileNotFoundError:
            return None

    async def put(self, key: Key, body: bytes, mode: PutMode) -> UpdateVersion | None:
        """The tag of what was written, or None where the condition did not hold.

        An engine may refuse a creation although nothing is there, in a race (S3's 409).
        """
        try:
            with translating(f"store {key}", self.bucket):
                return _tag(await self.store.put_async(key, body, mode=mode))
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return None

    async def keys(
        self, prefix: Prefix, *, offset: Key | None = None
    ) -> AsyncGenerator[tuple[Key, int]]:
        """The keys below a prefix, after ``offset``, in the engine's order, with their sizes."""
        with translating("list the runs", self.bucket):
            if offset is None:  # some engines know no offset
                stream = self.store.list(prefix, chunk_size=LIST_PAGE)
            else:
                stream = self.store.list(prefix, offset=offset, chunk_size=LIST_PAGE)
            async for chunk in stream:
                for found in chunk:
                    yield Key(found["path"]), found["size"]

    def undecided(self, what: str) -> StorageUnreachable:
        """The error for a conditional write that is refused again and again without a reason."""
        return StorageUnreachable(
            f"{self.bucket}: storage refused again and again to store {what}, for a change by "
            "another writer that it does not show.",
            hint="Try again; if it stays so, the engine's conditional writes do not work.",
        )

    # --- records -----------------------------------------------------------------------------

    async def read(self, key: Key) -> Stored | None:
        """The record at a key; None where there is none.

        Raises:
            RingfenceError: what is there is no record, or cannot be read.
        """
        found = await self.fetch(key, MAX_RECORD_BYTES)
        if found is None:
            return None
        record, write = decode_record(found[0], key)
        return Stored(record, write, found[1])

    async def swap(self, key: Key, record: RunRecord, write: str, mode: PutMode) -> bool:
        """Whether the record was written under the condition."""
        tag = await self.put(key, encode_record(record, write), mode)
        if tag is None:
            return False
        self.remember(key, record, tag)
        return True

    def tag_of(self, key: Key, version: int) -> UpdateVersion | None:
        """The tag of a version, if that is what was last seen."""
        seen = self._seen.get(key)
        return seen[1] if seen is not None and seen[0] == version else None

    def remember(self, key: Key, record: RunRecord, tag: UpdateVersion) -> None:
        """Keeps the tag of a version, among the last thousand. One that ended changes no more."""
        if record.status.terminal:
            self._seen.pop(key, None)
            return
        self._seen[key] = (record.version, tag)
        self._seen.move_to_end(key)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)


def _tag(answer: PutResult | ObjectMeta) -> UpdateVersion:
    """What a conditional write compares: the ETag on S3 and Azure, the generation on GCS."""
    tag: UpdateVersion = {}
    if answer["e_tag"] is not None:
        tag["e_tag"] = answer["e_tag"]
    if answer["version"] is not None:
        tag["version"] = answer["version"]
    return tag
