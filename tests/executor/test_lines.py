"""Cutting bytes into lines."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ringfence.executor.output import LINE_LIMIT, Lines


def cut(*chunks: bytes) -> list[tuple[str, bool]]:
    lines = Lines()
    found = [line for chunk in chunks for line in lines.feed(chunk)]
    return found + list(lines.finish())


def test_line_breaks() -> None:
    assert cut(b"one\ntwo\r\n10%\r20%\r\n\nlast\r") == [
        ("one", False),
        ("two", False),
        ("10%\r20%", False),
        ("", False),
        ("last\r", False),
    ]


def test_nothing_is_no_line() -> None:
    assert cut(b"") == []
    assert cut(b"\n") == [("", False)]


def test_bytes_that_are_no_utf8_are_shown() -> None:
    assert cut(b"caf\xe9 \xff\x00\n") == [("caf\\xe9 \\xff\x00", False)]


def test_a_long_line_is_cut_between_characters() -> None:
    text = "a" + "\u20ac" * LINE_LIMIT  # three bytes each, so that the limit falls inside one
    pieces = cut(text.encode() + b"\nnext\n")
    assert [partial for _, partial in pieces] == [True, True, True, False, False]
    assert "".join(piece for piece, _ in pieces[:-1]) == text
    assert all(LINE_LIMIT - 3 <= len(piece.encode()) <= LINE_LIMIT for piece, _ in pieces[:3])
    assert pieces[-1] == ("next", False)


def test_a_line_of_exactly_the_limit_is_whole() -> None:
    for end in (b"\n", b"\r\n", b""):
        assert cut(b"x" * LINE_LIMIT + end) == [("x" * LINE_LIMIT, False)]


def test_continuation_bytes_alone_are_cut_at_the_limit() -> None:
    pieces = cut(b"\x80" * (LINE_LIMIT + 1))
    assert pieces == [("\\x80" * LINE_LIMIT, True), ("\\x80", False)]


bits = st.lists(
    st.one_of(
        st.sampled_from([b"\n", b"\r", b"\r\n", b"\xff", "\u20ac".encode(), "\U0001f600".encode()]),
        st.binary(max_size=4),
        st.integers(LINE_LIMIT - 3, LINE_LIMIT + 3).map(lambda size: b"y" * size),
    ),
    max_size=8,
)


@given(bits, st.integers(0, 2**32), st.integers(0, 8))
def test_how_the_bytes_arrive_changes_nothing(pieces: list[bytes], seed: int, cuts: int) -> None:
    data = b"".join(pieces)
    places = random.Random(seed).choices(range(len(data) + 1), k=cuts)  # noqa: S311
    chunks = [data[a:b] for a, b in pairwise(sorted([0, *places, len(data)]))]
    assert cut(*chunks) == cut(data)


@given(bits)
def test_nothing_is_lost_and_no_piece_is_longer_than_the_limit(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = cut(data)
    joined = "".join(text if partial else f"{text}\n" for text, partial in found)
    whole = data.replace(b"\r\n", b"\n").decode("utf-8", "backslashreplace")
    assert joined.removesuffix("\n") == whole.removesuffix("\n") or _cut_character(data)
    assert all(len(text) <= 4 * LINE_LIMIT for text, _ in found)


def _cut_character(data: bytes) -> bool:
    """Whether bytes that are no UTF-8 stand at a cut: then a piece may show them otherwise."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return len(data) > LINE_LIMIT
    return False
