"""Ids as hostile as an identity provider may hand them over, their neighbours, and bucket names."""

from __future__ import annotations

import unicodedata
from typing import Final

from hypothesis import strategies as st

from ringfence.errors import InvalidId
from ringfence.layout import MAX_ID_BYTES, BucketRole, IdCase, encode_id

HOSTILE: Final = (
    "app1",
    "App1",
    "auth0|42",
    "someone@example.com",
    "0190b1a6-0000-7000-8000-000000000000",
    "*",
    "a*",
    "?",
    "${*}",
    "${aws:username}",
    "${aws:username, 'x'}",
    "$",
    "{}",
    '"',
    '","s3:*"],"x":["',
    "\\",
    "\\u002a",
    ".",
    "..",
    "...",
    "a.",
    "a..",
    ".a",
    "../app2",
    "/",
    "//",
    "a/b",
    "a/",
    "/a",
    "%",
    "%2F",
    "%2f",
    "a%2Fb",
    "%252F",
    "%2E%2E",
    "\x00",
    "a\x00b",
    "\n",
    "\r\n",
    " ",
    "\x7f",
    "\u00e9",
    "e\u0301",
    "\u212a",  # KELVIN SIGN, which folds to k
    "\u017f",  # LONG S, which folds to s
    "\u00df",
    "\u0130",
    "\ufb01",
    "\U0001f5c4",
    "~",
    "`",
    "^",
    "|",
    "<>#[]",
    "a" * MAX_ID_BYTES,
    "apps",
    "users",
    "user",
    "tmp",
    "runs",
    "execution",
)


def encodable(raw: str, case: IdCase = IdCase.FOLDED) -> bool:
    """Whether the id is one at all; the folded encoding is never the shorter one."""
    try:
        encode_id(raw, case)
    except InvalidId:
        return False
    return True


_LETTERS: Final = st.one_of(
    st.sampled_from("abAB01kKsS._@:+=,-%/\\*?$\"'{}|~ \x00\n\u00e9\u0301\u212a"),
    st.characters(exclude_categories=["Cs"]),
)

ids: Final = st.one_of(
    st.sampled_from(HOSTILE), st.text(_LETTERS, min_size=1, max_size=24), st.text(min_size=1)
).filter(encodable)
"""Any id that both encodings take."""


def neighbours(raw: str) -> tuple[str, ...]:
    """The ids that a fence with a flaw would let in first: longer, shorter, and alike."""
    near = (
        f"{raw}0",
        f"{raw}.",
        f"{raw}/",
        f"{raw}/x",
        f"{raw}*",
        f"x{raw}",
        raw[:-1],
        raw[1:],
        raw.swapcase(),
        raw.upper(),
        raw.lower(),
        raw.casefold(),
        unicodedata.normalize("NFC", raw),
        unicodedata.normalize("NFD", raw),
        unicodedata.normalize("NFKC", raw),
        encode_id(raw) if encodable(raw, IdCase.EXACT) else "x",
        raw.replace("%2F", "/"),
        "*",
        "${aws:username}",
        "..",
    )
    return tuple(dict.fromkeys(each for each in near if each != raw and encodable(each)))


def neighbour_of(raw: str) -> st.SearchStrategy[str]:
    """A neighbour, or any other id."""
    return st.one_of(st.sampled_from(neighbours(raw)), ids.filter(lambda other: other != raw))


BucketNames = dict[BucketRole, str]

_NAME: Final = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,60}[a-z0-9]", fullmatch=True)


@st.composite
def bucket_names(draw: st.DrawFn) -> BucketNames:
    """Three names; some as long as S3 allows, some the beginning of another."""
    name = draw(_NAME)
    longer = f"{name}x"[:63] if len(name) < 63 else f"{name[:62]}{'y' if name[62] != 'y' else 'z'}"
    third = draw(st.one_of(_NAME, st.just("l" * 63), st.just(f"{name[:60]}-l")))
    names = draw(st.permutations((name, longer, third)))
    return dict(zip(BucketRole, names, strict=True))
