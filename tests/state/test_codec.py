"""The stored form of a record."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.errors import EXIT_USAGE, LayoutMismatch, RingfenceError
from ringfence.runs import Fail, Progress, Start, apply
from ringfence.scope import AccessMode
from ringfence.state.codec import MAX_RECORD_BYTES, decode_record, encode_record
from ringfence.state.record import MAX_TEXT_BYTES, RunRecord, RunStatus
from ringfence.testing.state import TestClock, new_record

KEY = "execution/runs/r/record.json"
MOMENT = datetime(2026, 11, 22, 1, 2, 3, 40, tzinfo=UTC)
RECORD = RunRecord(
    id="auth0|x",
    app_id="a",
    user_id="u",
    mode=AccessMode.INVOKE_NONE,
    status=RunStatus.PENDING,
    version=1,
    created_at=MOMENT,
    updated_at=MOMENT,
    step="é",
)
STORED = (
    b'{"v":1,"write":"t","id":"auth0|x","app_id":"a","user_id":"u","mode":"invoke_none",'
    b'"status":"PENDING","version":1,"created_at":"2026-11-22T01:02:03.000040Z",'
    b'"updated_at":"2026-11-22T01:02:03.000040Z","progress":0,"step":"\\u00e9","input_bytes":0,'
    b'"output_bytes":0,"lease_seconds":60,"ttl_seconds":0}'
)


def test_the_stored_form_is_what_other_versions_wrote() -> None:
    assert encode_record(RECORD, "t") == STORED
    assert decode_record(STORED, KEY) == (RECORD, "t")


_texts = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
_times = st.integers(0, 220 * 10**15).map(
    lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
)


@given(
    st.builds(
        RunRecord,
        id=st.text(),
        app_id=st.text(),
        user_id=st.text(),
        mode=st.sampled_from(AccessMode),
        status=st.sampled_from(RunStatus),
        version=st.integers(1, 2**63 - 1),
        progress=st.integers(0, 100),
        input_bytes=st.integers(0, 2**63 - 1),
        output_bytes=st.integers(0, 2**63 - 1),
        exit_code=st.none() | st.integers(-255, 255),
        workflow=_texts,
        workflow_version=_texts,
        trigger=_texts,
        step=_texts,
        error=_texts,
        **dict.fromkeys(("created_at", "updated_at"), _times),
        **dict.fromkeys(
            ("started_at", "heartbeat_at", "completed_at", "expires_at"), st.none() | _times
        ),
    ),
    st.text("0123456789abcdef", min_size=1),
)
def test_every_record_survives(record: RunRecord, write: str) -> None:
    assert decode_record(encode_record(record, write), KEY) == (record, write)


def test_the_largest_record_is_within_the_limit() -> None:
    wide = "\N{SNOWMAN}" * (MAX_TEXT_BYTES // 3)
    record = replace(new_record(), workflow=wide, workflow_version=wide, trigger=wide)
    record = apply(apply(record, Start(), MOMENT), Progress(1, "\x01" * 5000), MOMENT)
    record = apply(record, Fail("\x01" * 5000, 1), MOMENT)
    data = encode_record(replace(record, id="\x01" * 85, app_id="\x01" * 85), "t" * 16)
    assert len(data) <= MAX_RECORD_BYTES


def test_fields_of_later_versions_are_skipped() -> None:
    stored = json.loads(STORED) | {"mood": {"good": [1, None]}}
    assert decode_record(json.dumps(stored).encode(), KEY) == (RECORD, "t")


def test_a_later_schema_is_refused() -> None:
    stored = json.dumps(json.loads(STORED) | {"v": 2, "created_at": "long ago"}).encode()
    with pytest.raises(
        LayoutMismatch, match=rf"{KEY} was written by a newer Ringfence.*Upgrade"
    ) as e:
        decode_record(stored, KEY)
    assert e.value.exit_code == EXIT_USAGE


def _with(**fields: Any) -> bytes:
    return json.dumps(json.loads(STORED) | fields).encode()


def _without(name: str) -> bytes:
    return json.dumps({k: v for k, v in json.loads(STORED).items() if k != name}).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not valid JSON"),
        (STORED[:-9], "not valid JSON"),
        (b"\xff" * 9, "not valid JSON"),
        (b"[" * 60_000, "not valid JSON"),
        (b"[]", "where an object should be"),
        (b"{}", "its v is missing"),
        (_without("created_at"), "its created_at is missing"),
        (_without("write"), "its write is missing"),
        (_with(v="1"), "where a number should be"),
        (_with(version=True), "its version is not one"),
        (_with(version=0), "version is 0"),
        (_with(progress=101), "progress is 101"),
        (_with(status="DONE"), "its status is not one"),
        (_with(mode=None), "its mode is not one"),
        (_with(id=7), "its id is not one"),
        (_with(created_at="yesterday"), "its created_at is not one"),
        (_with(created_at="2026-11-22T01:02:03"), "not in UTC"),
        (_with(created_at="2026-11-22T01:02:03+01:00"), "not in UTC"),
        (_with(error="e" * 9999), "error is 9999 bytes long"),
        (_with(input_bytes=10**30), "input_bytes is 1"),
        (_with(write=None), "a NoneType where a text should be"),
    ],
)
def test_what_is_no_record_is_a_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(RingfenceError) as refused:
        decode_record(data, KEY)
    assert str(refused.value).startswith(f"The run record {KEY} cannot be read: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.hint is not None


def test_a_clock_is_not_part_of_the_form() -> None:
    moved = apply(RECORD, Start(), TestClock(0)())
    assert moved.updated_at == MOMENT, "the record's own time is later than the clock's"
    assert decode_record(encode_record(moved, "t"), KEY)[0] == moved
