"""The table of docs/fences.md says what the providers say, and the attacks say the same.

``RINGFENCE_WRITE_DOCS=1 make soak`` writes it anew, after the attacks.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest

from ringfence.scope import AccessMode, Scope, grants
from tests.fences.ways import EXACT, REFUSED, WAYS, Verdict, Way, in_mode, verdict

pytestmark = pytest.mark.engine

PAGE: Final = Path(__file__).parents[2] / "docs" / "fences.md"
BEGIN, END = "<!-- the table: written by tests/fences -->\n", "<!-- the end of the table -->\n"
SCOPE: Final = Scope("app1", "user1", "run1")
WRITES: Final = "RINGFENCE_WRITE_DOCS"

Rows = dict[str, dict[AccessMode, Verdict]]


def cell(found: Verdict, notes: list[str]) -> str:
    if found.refusal is not None:
        return f"{REFUSED} {_note(found.refusal, notes)}"
    if not found.coarser:
        return EXACT
    said: dict[str, list[str]] = {}
    for area, sentence in found.coarser.items():
        said.setdefault(_note(sentence, notes), []).append(area.value)
    return "; ".join(f"coarser: {', '.join(areas)} {note}" for note, areas in said.items())


def _note(sentence: str, notes: list[str]) -> str:
    if sentence not in notes:
        notes.append(sentence)
    return f"({notes.index(sentence) + 1})"


def table(rows: Rows) -> str:
    """A row for each way, a column for each mode, and the providers' sentences below."""
    notes: list[str] = []
    lines = [
        "| | " + " | ".join(f"`{mode}`" for mode in AccessMode) + " |",
        "|---" * (len(AccessMode) + 1) + "|",
    ]
    for name, verdicts in rows.items():
        cells = [cell(verdicts[mode], notes) for mode in AccessMode]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    listed = [f"{number}. {sentence}" for number, sentence in enumerate(notes, 1)]
    return "\n".join([*lines, "", *listed]) + "\n"


def verdicts_of(way: Way, request: pytest.FixtureRequest) -> dict[AccessMode, Verdict]:
    with way.open(request) as opened:
        return {mode: verdict(opened, in_mode(SCOPE, mode)) for mode in AccessMode}


def test_the_page_says_what_the_providers_say(request: pytest.FixtureRequest) -> None:
    made = table({way.name: verdicts_of(way, request) for way in WAYS})
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    kept, _, tail = rest.partition(END)
    if os.environ.get(WRITES):
        PAGE.write_text(f"{head}{BEGIN}{made}{END}{tail}", encoding="utf-8")
        return
    assert kept == made, f"{WRITES}=1 writes it anew"


@pytest.mark.soak
@pytest.mark.parametrize("mode", AccessMode)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: re.sub(r"\W+", "-", way.name))
def test_the_attacks_say_the_same(
    way: Way, mode: AccessMode, request: pytest.FixtureRequest, tag: str
) -> None:
    scope = Scope(f"{tag}-app1", f"{tag}-user", f"{tag}-run1", mode)
    with way.open(request) as opened:
        if verdict(opened, scope).refusal is not None:
            with pytest.raises(Exception, match="Nothing was issued"):
                opened.provider.issue(grants(scope, opened.case), session="table")
        elif opened.attack is not None:
            opened.attack(scope)
        else:
            assert (Path(__file__).parents[2] / opened.shown_by).exists()


@pytest.fixture
def tag() -> str:
    import secrets

    return secrets.token_hex(3)
