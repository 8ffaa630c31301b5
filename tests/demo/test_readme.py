"""The front page is true: what it says to type works, in the order in which it says it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringfence.cli import app as commands
from ringfence.config import Settings
from ringfence.config.envfile import parse
from ringfence.demo.cast import APPS
from ringfence.embedded import down
from ringfence.errors import ConfigError
from ringfence.scope import MODES, AccessMode, Area, Permission
from tests.demo.test_show import STORY, shown

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("demo")]

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "examples/README.md",
    "docs/architecture.md",
    "docs/azure.md",
    "docs/embedded-engine.md",
    "docs/executions.md",
    "docs/fences.md",
    "docs/gcp.md",
    "docs/r2.md",
    "docs/run-records.md",
    "docs/s3-express.md",
    "docs/state-postgres.md",
    "docs/state-redis.md",
)
SECONDS = 120

_BLOCK = re.compile(
    r"(?P<note><!-- not run: [^\n]*-->\n)?^```(?P<kind>[^\n]+)\n(?P<text>.*?)^```$", re.M | re.S
)
_LINK = re.compile(r"\]\((?P<target>[^)#]+)[^)]*\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    kind: str
    text: str
    runs: bool


def blocks(page: str) -> Iterator[Block]:
    for found in _BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        yield Block(found["kind"], found["text"], runs=found["note"] is None)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder as a newcomer has it: the examples are there, and no engine."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    yield tmp_path
    down(tmp_path / ".ringfence")


def type_in(home: Path, script: str) -> str:
    """Types lines into a shell that has this installation's programs on its path."""
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        cwd=home,
        env={"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def in_python(home: Path, text: str, *, attached: bool) -> str:
    (home / "snippet.py").write_text(text)
    how = "ringfence run --app billing --user me -- " if attached else ""
    return type_in(home, f"set -a; . .ringfence/env; set +a\n{how}python snippet.py")


def test_everything_on_the_front_page_works_in_its_order(home: Path) -> None:
    said = ""
    for block in blocks("README.md"):
        if not block.runs:
            continue
        if block.kind == "sh":
            said += type_in(home, block.text)
        elif block.kind.startswith("python"):
            in_python(home, block.text, attached="attached" in block.kind)
    assert "mine is s3://flow-like-content/users/auth0%7C42/apps/billing/" in said
    assert "COMPLETED" in said
    assert "allow_http" in said  # the storage options
    assert "mutual TLS" in said  # the engine's doors
    assert "The engine was stopped." in said


def test_the_examples_page_works(home: Path) -> None:
    said = "".join(
        type_in(home, block.text) for block in blocks("examples/README.md") if block.runs
    )
    assert "2015-12" in said
    assert "months=12" in said


def test_the_events_page_works(home: Path) -> None:
    type_in(home, "ringfence up")
    (text,) = (b.text for b in blocks("docs/run-records.md") if b.kind == "python run")
    assert "1 {'kind': 'stored', 'invoice': 1}" in in_python(home, text, attached=False)


@pytest.mark.parametrize(
    "text", [block.text for block in blocks("README.md") if block.kind == "ini"]
)
def test_each_environment_is_valid(text: str) -> None:
    settings = Settings.from_env(parse(text))
    assert settings.provider == "aws"
    with pytest.raises(ConfigError):
        Settings.from_env(parse(text.replace("LOG_BUCKET", "LOG_BUKET")))


def test_what_the_demo_shows_is_what_it_prints() -> None:
    (quoted,) = (block.text for block in blocks("README.md") if block.kind == "text")
    real = shown(STORY, terminal=False)
    headings = [line for line in quoted.splitlines() if re.match(r"\d\. ", line)]
    groups = [line for line in quoted.splitlines() if line.endswith(" refused")]
    assert len(headings) == 3
    assert len(groups) == 3
    for line in headings:
        assert line in real.splitlines()
    for line in groups:
        assert line.rsplit("  ", 1)[0] in real
    for line in quoted.splitlines():
        if "403 AccessDenied" in line:
            assert line in real.splitlines()
    assert APPS[0].id in quoted


def test_the_table_of_modes_is_the_one_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)`[^|]*\|(.+)\|$", front_page(), re.M))
    for mode in AccessMode:
        cells = [cell.strip() for cell in rows[mode].split("|")]
        assert cells == [letters(MODES[mode].get(area, frozenset())) for area in Area]


def letters(permissions: frozenset[Permission]) -> str:
    dash = "\N{EN DASH}"
    return "".join(each.value[0].upper() for each in Permission if each in permissions) or dash


def test_every_command_is_in_the_table() -> None:
    named = set(re.findall(r"^\| `ringfence ([^|]+)\|", front_page(), re.M))
    text = " ".join(named)
    own = {command.name or "" for command in commands.registered_commands}
    groups = {group.name or "" for group in commands.registered_groups}
    assert {word for word in own | groups if not re.search(rf"\b{word}\b", text)} == set()


def front_page() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    targets = [
        found["target"] for found in _LINK.finditer((ROOT / page).read_text(encoding="utf-8"))
    ]
    assert targets
    for target in targets:
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_a_snippet_that_does_not_work_is_caught(home: Path) -> None:
    with pytest.raises(AssertionError):
        type_in(home, "ringfence runs show nothing")
