"""The objects of run records in the meta bucket: reading one, and writing one under a condition."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from obstore.exceptions import AlreadyExistsError, PreconditionError

from ringfence.errors import RingfenceError
from ringfence.layout import Key
from ringfence.providers._obstore import translating
from ringfence.state.codec import MAX_RECORD_BYTES, corrupt, decode_record, encode_record
from ringfence.state.record import RunRecord

if TYPE_CHECKING:
    from obstore import ObjectMeta, PutMode, PutResult, UpdateVersion
    from obstore.store import ObjectStore

_REMEMBERED: Final = 1024


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

    async def enter(self, entry: Key) -> None:
        """Puts a run's entry into its app's list."""
        with translating("store a run", self.bucket):
            await self.store.put_async(entry, b"")

    async def discard(self, entry: Key) -> None:
        """Takes an entry without a record out again, if that can be had: readers skip it."""
        with suppress(RingfenceError, FileNotFoundError), translating("tidy up", self.bucket):
            await self.store.delete_async(entry)

    async def read(self, key: Key) -> Stored | None:
        """The record at a key; None where there is none.

        Raises:
            RingfenceError: what is there is no record, or cannot be read.
        """
        try:
            with translating(f"read {key}", self.bucket):
                answer = await self.store.get_async(key)
                if answer.meta["size"] > MAX_RECORD_BYTES:
                    raise corrupt(key, f"it is {answer.meta['size']} bytes long")
                data = bytes(await answer.bytes_async())
        except FileNotFoundError:
            return None
        record, write = decode_record(data, key)
        return Stored(record, write, _tag(answer.meta))

    async def swap(self, key: Key, record: RunRecord, write: str, mode: PutMode) -> bool:
        """Whether the record was written under the condition."""
        try:
            with translating(f"store {key}", self.bucket):
                answer = await self.store.put_async(key, encode_record(record, write), mode=mode)
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return False
        self.remember(key, record.version, _tag(answer))
        return True

    def tag_of(self, key: Key, version: int) -> UpdateVersion | None:
        """The tag of a version, if that is what was last seen."""
        seen = self._seen.get(key)
        return seen[1] if seen is not None and seen[0] == version else None

    def remember(self, key: Key, version: int, tag: UpdateVersion) -> None:
        """Keeps the tag of a version, among the last thousand."""
        self._seen[key] = (version, tag)
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
