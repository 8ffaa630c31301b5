"""Payloads that are too large for an event."""

from __future__ import annotations

import json
from typing import Any

import pytest
from obstore.exceptions import PermissionDeniedError
from obstore.store import MemoryStore

from ringfence import payloads
from ringfence.errors import AccessDenied, RingfenceError, UsageError
from ringfence.payloads import Reference, slimmed, slimmed_now, whole
from ringfence.state.event import MAX_PAYLOAD_BYTES, encode_payload

LARGE = {"rows": ["x" * 100] * 20_000, "n": 1}


async def test_a_small_payload_stays_in_its_event() -> None:
    store = MemoryStore()
    for payload in (None, 1, {"a": [1]}, "x" * (MAX_PAYLOAD_BYTES - 2)):
        assert await slimmed(store, payload) is payload
        assert await whole(store, payload) == payload
    assert store.list().collect() == []


async def test_a_large_one_is_referred_to_and_comes_back() -> None:
    store = MemoryStore()
    slim = await slimmed(store, LARGE)
    assert len(encode_payload(slim)) < 500
    assert await slimmed(store, LARGE) == slim, "the same again lies in the same place"
    assert len(store.list().collect()) == 1
    assert await whole(store, slim) == LARGE
    # An event went through JSON meanwhile.
    assert await whole(store, json.loads(json.dumps(slim))) == LARGE


class NoReplacing(MemoryStore):
    """Google Cloud Storage to who may create and not delete: what lies there is a 403."""

    closed = False

    async def put_async(self, path: str, *args: Any, **options: Any) -> Any:
        self._refuse(path)
        return await super().put_async(path, *args, **options)

    def put(self, path: str, *args: Any, **options: Any) -> Any:
        self._refuse(path)
        return super().put(path, *args, **options)

    def _refuse(self, path: str) -> None:
        there = {meta["path"] for meta in self.list().collect()}
        if self.closed or path in there:
            raise PermissionDeniedError(
                f"The operation lacked the necessary privileges to complete for path {path}"
            )


async def test_the_same_again_is_no_refusal_where_nothing_may_be_replaced() -> None:
    store = NoReplacing()
    slim = await slimmed(store, LARGE)
    assert await slimmed(store, LARGE) == slimmed_now(store, LARGE) == slim
    assert await whole(store, slim) == LARGE


async def test_a_refusal_of_all_is_one() -> None:
    closed = NoReplacing()
    closed.closed = True
    with pytest.raises(AccessDenied):
        await slimmed(closed, LARGE)
    with pytest.raises(AccessDenied):
        slimmed_now(closed, LARGE)


async def test_one_that_was_changed_or_removed_is_told() -> None:
    store = MemoryStore()
    slim = await slimmed(store, LARGE)
    reference = Reference.of(slim)
    assert reference is not None
    store.put(reference.path, b"x" * reference.bytes)
    with pytest.raises(RingfenceError, match="not what was put away"):
        await whole(store, slim)
    store.put(reference.path, b"short")
    with pytest.raises(RingfenceError, match="not what was put away"):
        await whole(store, slim)
    store.delete(reference.path)
    with pytest.raises(RingfenceError, match="not there"):
        await whole(store, slim)


@pytest.mark.parametrize("path", ["../other/x.json", "payloads/../x", "x", "/etc/passwd"])
async def test_a_reference_leads_nowhere_else(path: str) -> None:
    forged = Reference(path, 1, "0" * 64).to_json()
    with pytest.raises(UsageError, match="does not lead"):
        await whole(MemoryStore(), forged)


@pytest.mark.parametrize(
    "payload", [{"$ringfence": 1}, {"$ringfence": {}}, {"$ringfence": {"path": 1}}, {"a": 1}]
)
async def test_what_only_looks_like_one_is_a_payload(payload: Any) -> None:
    assert await whole(MemoryStore(), payload) == payload


async def test_too_large_and_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_STORED_BYTES", 2_000_000)
    for payload in (LARGE, object(), float("inf")):
        with pytest.raises(UsageError):
            await slimmed(MemoryStore(), payload)
