"""Ids into keys: what is literal, what is refused, and that obstore leaves the keys alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlsplit

import obstore
import pytest
from hypothesis import strategies as st
from obstore.store import MemoryStore, S3Store

from ringfence.errors import InvalidId
from ringfence.layout import (
    EXECUTION_PREFIX,
    LAYOUT_KEY,
    MAX_ID_BYTES,
    MAX_RUN_SEGMENT,
    IdCase,
    app_prefix,
    encode_id,
    logs_prefix,
    parse_position,
    position_record_key,
    run_index_key,
    run_position,
    run_record_key,
    runs_index_prefix,
    tmp_prefix,
    user_prefix,
)
from tests.policy.effort import effort, hold
from tests.policy.ids import HOSTILE, encodable, ids

LITERAL = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@:+=,-")


@pytest.mark.parametrize("code", range(128))
def test_exactly_the_documented_characters_stand_for_themselves(code: int) -> None:
    character = chr(code)
    inside = f"a{character}b"
    expected = inside if character in LITERAL else f"a%{code:02X}b"
    assert encode_id(inside) == expected
    upper = character in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    folded = f"a%{code:02X}b" if upper else expected
    assert encode_id(inside, IdCase.FOLDED) == folded


@pytest.mark.parametrize(
    ("raw", "encoded"),
    [
        ("auth0|42", "auth0%7C42"),
        ("ann@example.com", "ann@example.com"),
        ("urn:x:1", "urn:x:1"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        ("\u00e9", "%C3%A9"),
        ("e\u0301", "e%CC%81"),
        ("\U0001f5c4", "%F0%9F%97%84"),
        ("\x00", "%00"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("...", "..%2E"),
        ("a.", "a%2E"),
        (".a", ".a"),
        ("a.b", "a.b"),
        ("${aws:username}", "%24%7Baws:username%7D"),
        ("*", "%2A"),
        ("App1", "App1"),
    ],
)
def test_encoding(raw: str, encoded: str) -> None:
    assert encode_id(raw) == encoded


@pytest.mark.parametrize(
    ("raw", "encoded"), [("App1", "%41pp1"), ("Z", "%5A"), ("a|B", "a%7C%42"), ("abc", "abc")]
)
def test_folded_encoding(raw: str, encoded: str) -> None:
    assert encode_id(raw, IdCase.FOLDED) == encoded


@pytest.mark.parametrize("case", IdCase)
@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("", "empty"),
        ("a" * 257, "257 bytes"),
        ("|" * 86, "258 bytes"),
        ("\u00e9" * 43, "258 bytes"),
        ("a" * 10_000_000, "10000000 bytes"),
        ("\ud800", "lone surrogate"),
        ("a\udfff", "lone surrogate"),
    ],
)
def test_what_is_no_id_is_refused_in_a_sentence(raw: str, says: str, case: IdCase) -> None:
    with pytest.raises(InvalidId, match=says) as caught:
        encode_id(raw, case, what="app id")
    assert "The app id" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("raw", [None, 42, b"app", ["app"]])
def test_what_is_no_text_is_refused(raw: object) -> None:
    with pytest.raises(InvalidId, match="not text"):
        encode_id(raw)  # type: ignore[arg-type]


def test_256_encoded_bytes_are_the_most() -> None:
    assert len(encode_id("a" * MAX_ID_BYTES)) == MAX_ID_BYTES
    assert len(encode_id("|" * 85)) == 255
    with pytest.raises(InvalidId):
        encode_id("A" * 86, IdCase.FOLDED)
    # The last dot takes two bytes more: the id is measured as it will stand in keys.
    with pytest.raises(InvalidId, match="258 bytes"):
        encode_id("a" * 255 + ".")


def test_prefixes() -> None:
    app, user, run = encode_id("app"), encode_id("auth0|42"), encode_id("run/1")
    assert app_prefix(app) == "apps/app/"
    assert user_prefix(user, app) == "users/auth0%7C42/apps/app/"
    assert tmp_prefix(user, app) == "tmp/user/auth0%7C42/apps/app/"
    assert logs_prefix(app, run) == "runs/app/run%2F1/"
    assert logs_prefix(app, None) == "runs/app/"


# The state's own keys ----------------------------------------------------------------------------

NOW = datetime(2026, 11, 22, 11, 8, 0, 123456, tzinfo=UTC)


def test_state_lies_in_the_execution_prefix() -> None:
    run, app = encode_id("run"), encode_id("app")
    position = run_position(NOW, run)
    for key in (
        LAYOUT_KEY,
        run_record_key(run),
        runs_index_prefix(app),
        run_index_key(app, position),
        position_record_key(position),
    ):
        assert key.startswith(EXECUTION_PREFIX)
    assert run_index_key(app, position).startswith(runs_index_prefix(app))
    assert position_record_key(position) == run_record_key(run)


@effort(quick=200, soak=5_000)
def test_a_newer_run_stands_first(examples: int) -> None:
    def holds(run: str, other: str, at: datetime, later: timedelta) -> None:
        old = run_position(at, encode_id(run))
        new = run_position(at + later, encode_id(other))
        assert new < old
        for position in (old, new):
            assert parse_position(position) == position

    times = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis takes naive bounds
    laters = st.timedeltas(timedelta(microseconds=1), timedelta(days=9999))
    hold(examples, holds, ids, ids, times, laters)


@effort(quick=200, soak=5_000)
def test_two_runs_never_share_a_record_or_a_place(examples: int) -> None:
    def holds(run: str, other: str) -> None:
        if run != other:
            for case in IdCase:
                one, two = encode_id(run, case), encode_id(other, case)
                assert run_record_key(one) != run_record_key(two)
                assert run_position(NOW, one) != run_position(NOW, two)

    long = st.builds(lambda tail: "r" * (MAX_RUN_SEGMENT - 3) + tail, st.text("ab~", max_size=9))
    some = st.one_of(ids, long.filter(encodable))
    hold(examples, holds, some, some)


def test_a_long_run_id_keeps_its_key_short() -> None:
    run = encode_id("r" * MAX_ID_BYTES)
    assert max(map(len, run_record_key(run).split("/"))) == MAX_RUN_SEGMENT
    assert max(map(len, run_position(NOW, run).split("/"))) <= 255
    assert position_record_key(run_position(NOW, run)) == run_record_key(run)


@pytest.mark.parametrize(
    "text", ["", "x", "../1", "9982/049/123/12345678-", "9982/049/123/12345678-a/b", "1/2/3/4-a"]
)
def test_what_is_no_position_is_none(text: str) -> None:
    assert parse_position(text) is None


# obstore -----------------------------------------------------------------------------------------

# What object_store's own encoding of a path segment escapes in ASCII, besides control characters
# (object_store::path::parts, INVALID). Identity providers put `|` and `/` into ids.
OBJECT_STORE_ESCAPES = frozenset('/\\{^}%`]">[~<#|*?')


def test_what_is_literal_here_is_literal_in_object_store() -> None:
    assert not LITERAL & OBJECT_STORE_ESCAPES
    for character in OBJECT_STORE_ESCAPES:
        assert encode_id(f"a{character}b") == f"a%{ord(character):02X}b"


@pytest.mark.parametrize("case", IdCase)
@pytest.mark.parametrize("raw", [raw for raw in HOSTILE if encodable(raw)])
def test_obstore_keeps_keys_as_they_are(raw: str, case: IdCase) -> None:
    prefix = user_prefix(encode_id(raw, case), encode_id(raw, case))
    store = MemoryStore()
    obstore.put(store, f"{prefix}in/1.json", b"body")
    assert [meta["path"] for page in obstore.list(store, prefix) for meta in page] == [
        f"{prefix}in/1.json"
    ]
    assert obstore.get(store, f"{prefix}in/1.json").bytes() == b"body"


@pytest.mark.parametrize("case", IdCase)
@pytest.mark.parametrize("raw", [raw for raw in HOSTILE if encodable(raw)])
def test_a_store_rooted_at_a_prefix_asks_for_that_very_key(raw: str, case: IdCase) -> None:
    """Seen in the URL that it signs, which needs no server."""
    prefix = user_prefix(encode_id(raw, case), encode_id(raw, case))
    assert signed_key(prefix, "in/1.json") == f"{prefix}in/1.json"


@effort(quick=40, soak=4_000)
def test_a_store_rooted_at_any_prefix_asks_for_that_very_key(examples: int) -> None:
    def holds(app: str, user: str, case: IdCase) -> None:
        prefix = tmp_prefix(encode_id(user, case), encode_id(app, case))
        assert signed_key(prefix, "x") == f"{prefix}x"

    hold(examples, holds, ids, ids, st.sampled_from(IdCase))


def signed_key(prefix: str, path: str) -> str:
    store = S3Store(
        "bucket",
        prefix=prefix,
        region="us-east-1",
        endpoint="http://127.0.0.1:9",
        access_key_id="id",
        secret_access_key="secret",
        client_options={"allow_http": True},
    )
    url = obstore.sign(store, "GET", path, timedelta(minutes=1))
    return unquote(urlsplit(url).path).removeprefix("/bucket/")


def test_obstore_refuses_what_would_leave_the_prefix() -> None:
    for path in ("../x", "a/../../x", "./x", "a//x"):
        with pytest.raises(ValueError, match="Could not parse path"):
            obstore.put(MemoryStore(), f"apps/app/{path}", b"")
