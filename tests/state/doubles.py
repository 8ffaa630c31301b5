"""Stores that stand before another: they count, shuffle, forget and fail."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from obstore.exceptions import AlreadyExistsError, PreconditionError

if TYPE_CHECKING:
    from obstore import GetResult, ListResult, ObjectMeta, PutResult
    from obstore.store import ObjectStore


class Passing:
    """Passes everything on. What of obstore the state store uses, and nothing else."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def put_async(self, path: str, file: bytes, **options: Any) -> PutResult:
        result: PutResult = await self.inner.put_async(path, file, **options)
        return result

    async def get_async(self, path: str) -> GetResult:
        result: GetResult = await self.inner.get_async(path)
        return result

    async def delete_async(self, path: str) -> None:
        await self.inner.delete_async(path)

    def list(self, prefix: str, **options: Any) -> AsyncIterator[Sequence[ObjectMeta]]:
        stream: AsyncIterator[Sequence[ObjectMeta]] = self.inner.list(prefix, **options)
        return stream

    async def list_with_delimiter_async(self, prefix: str) -> ListResult[Sequence[ObjectMeta]]:
        result: ListResult[Sequence[ObjectMeta]] = await self.inner.list_with_delimiter_async(
            prefix
        )
        return result


class Unordered(Passing):
    """Lists as S3 Express does: in no order, without start-after, by whole segments."""

    def __init__(self, inner: Any, seed: int = 0) -> None:
        super().__init__(inner)
        self.random = random.Random(seed)  # noqa: S311 - an order, not a secret

    async def list(  # type: ignore[override]
        self, prefix: str, *, chunk_size: int, **options: Any
    ) -> AsyncIterator[Sequence[ObjectMeta]]:
        assert not options, f"directory buckets have no {options}"
        assert prefix.endswith("/"), "directory buckets take prefixes that end in a slash"
        found = [item async for chunk in self.inner.list(prefix) for item in chunk]
        self.random.shuffle(found)
        for start in range(0, len(found), chunk_size):
            yield found[start : start + chunk_size]

    async def list_with_delimiter_async(self, prefix: str) -> ListResult[Sequence[ObjectMeta]]:
        assert prefix.endswith("/"), "directory buckets take prefixes that end in a slash"
        listed = await super().list_with_delimiter_async(prefix)
        prefixes = list(listed["common_prefixes"])
        self.random.shuffle(prefixes)
        return {"common_prefixes": prefixes, "objects": listed["objects"]}


class Counting(Passing):
    """Counts requests by kind, and who wrote which key. A list chunk is a request."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()
        self.puts: Counter[str] = Counter()

    async def put_async(self, path: str, file: bytes, **options: Any) -> PutResult:
        self.requests["put"] += 1
        self.puts[path] += 1
        return await super().put_async(path, file, **options)

    async def get_async(self, path: str) -> GetResult:
        self.requests["get"] += 1
        return await super().get_async(path)

    async def list(self, prefix: str, **options: Any) -> AsyncIterator[Sequence[ObjectMeta]]:
        self.requests["list"] += 1
        chunks = 0
        async for chunk in super().list(prefix, **options):
            self.requests["list"] += chunks > 0
            chunks += 1
            yield chunk

    async def list_with_delimiter_async(self, prefix: str) -> ListResult[Sequence[ObjectMeta]]:
        self.requests["list"] += 1
        return await super().list_with_delimiter_async(prefix)


class Crash(Exception):
    """The process ends here."""


class CrashingBefore(Passing):
    """Dies at the first write whose key ends so."""

    def __init__(self, inner: Any, ending: str) -> None:
        super().__init__(inner)
        self.ending = ending

    async def put_async(self, path: str, file: bytes, **options: Any) -> PutResult:
        if path.endswith(self.ending):
            raise Crash
        return await super().put_async(path, file, **options)


class LosingAnswers(Passing):
    """Writes, loses the answer, and writes again, as a client that repeats a request does."""

    async def put_async(self, path: str, file: bytes, **options: Any) -> PutResult:
        await super().put_async(path, file, **options)
        return await super().put_async(path, file, **options)


class Contradicting(Passing):
    """Refuses conditional writes now and then although the condition holds (S3's 409)."""

    def __init__(self, inner: Any, refusals: int) -> None:
        super().__init__(inner)
        self.refusals = refusals

    async def put_async(self, path: str, file: bytes, **options: Any) -> PutResult:
        mode = options.get("mode")
        if mode is not None and self.refusals:
            self.refusals -= 1
            raise AlreadyExistsError(path) if mode == "create" else PreconditionError(path)
        return await super().put_async(path, file, **options)


def as_store(double: Passing) -> ObjectStore:
    """A double, as the type that the state store takes."""
    store: Any = double
    result: ObjectStore = store
    return result
