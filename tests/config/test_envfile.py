"""The dialect of env files."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.config.envfile import BadLine, parse

PARSED = [
    ("A=1\nB=2", {"A": "1", "B": "2"}),
    ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ("\ufeffA=1", {"A": "1"}),
    ("\n  \n# comment\n  # another\nA=1\n\n", {"A": "1"}),
    ("export A=1\n  B = 2 ", {"A": "1", "B": "2"}),
    ("A=1\nA=2", {"A": "2"}),
    ("A=", {"A": ""}),
    ("A=\nB=2", {"A": "", "B": "2"}),
    ("AWS_ENDPOINT= # Leave empty for AWS S3\nB=2", {"AWS_ENDPOINT": "", "B": "2"}),
    ("A=x # comment", {"A": "x"}),
    ("A=x\t# comment", {"A": "x"}),
    ("A=x#y", {"A": "x#y"}),
    ("A=#y", {"A": "#y"}),
    ("A=b=c==", {"A": "b=c=="}),
    ("A=$HOME ${B}$(id)`id`", {"A": "$HOME ${B}$(id)`id`"}),
    ('A={"type":"x","b":"\\n"}', {"A": '{"type":"x","b":"\\n"}'}),
    ('A=\'{\n  "b": "\\n"\n}\' # why', {"A": '{\n  "b": "\\n"\n}'}),
    ("A='it\\'s \\\\ \\n'", {"A": "it's \\ \\n"}),
    ('A="a\\nb\\t\\"c\\" \\\\ \\$ \\x # no comment"', {"A": 'a\nb\t"c" \\ $ \\x # no comment'}),
    ("A=it's", {"A": "it's"}),
    ("A=''", {"A": ""}),
]

REFUSED = [
    ("A", 1),
    ("A=1\nnot an assignment", 2),
    ("A=1\n=2", 2),
    ("1A=2", 1),
    ("A-B=2", 1),
    ("A={\n  secret: 1\n}", 2),
    ("A='never\nclosed", 1),
    ('\n\nA="never closed', 3),
    ("A='x' y", 1),
    ("export", 1),
]


@pytest.mark.parametrize(("text", "expected"), PARSED)
def test_what_is_parsed(text: str, expected: dict[str, str]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(("text", "line"), REFUSED)
def test_a_bad_line_is_an_error_that_does_not_quote_it(text: str, line: int) -> None:
    with pytest.raises(BadLine) as caught:
        parse(text)
    assert caught.value.line == line
    assert "secret" not in str(caught.value)


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))


@given(st.dictionaries(NAMES, VALUES))
@settings(deadline=None)
def test_single_quotes_carry_any_value(values: dict[str, str]) -> None:
    escaped = {name: v.replace("\\", "\\\\").replace("'", "\\'") for name, v in values.items()}
    assert parse("\n".join(f"{name}='{value}'" for name, value in escaped.items())) == values


@given(st.text())
@settings(deadline=None)
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = parse(text)
    except BadLine:
        return
    assert all(name.isidentifier() or "." in name for name in parsed)
