"""docs/configuration.md and the table in the code say the same."""

from __future__ import annotations

from pathlib import Path

from ringfence.config import VARIABLES, ProviderName, Variable

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
HEADINGS = ["| Variable | Meaning | Default | Provider |", "|---|---|---|---|"]


def row(variable: Variable) -> str:
    everyone = variable.providers == frozenset(ProviderName)
    providers = "all" if everyone else ", ".join(p for p in ProviderName if p in variable.providers)
    default = variable.otherwise
    if variable.fallback:
        default = f"as `{variable.fallback}`"
    elif variable.default is not None:
        default = f"`{variable.default}`"
        default += f", on r2 `{variable.r2_default}`" if variable.r2_default else ""
    return f"| `{variable.name}` | {variable.meaning} | {default} | {providers} |"


def test_the_document_has_exactly_the_table_of_the_code() -> None:
    expected = [*HEADINGS, *map(row, VARIABLES)]
    lines = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    assert lines == expected, "The table should be:\n" + "\n".join(expected)


def test_every_variable_is_documented_once_and_in_order_of_the_page() -> None:
    names = [variable.name for variable in VARIABLES]
    assert len(names) == len(set(names))
    assert names[:4] == ["STORAGE_PROVIDER", "META_BUCKET", "CONTENT_BUCKET", "LOG_BUCKET"]


def test_fallbacks_are_variables_too() -> None:
    names = {variable.name for variable in VARIABLES}
    assert {variable.fallback for variable in VARIABLES} - {None} <= names
