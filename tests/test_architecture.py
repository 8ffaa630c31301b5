"""The shape of the code: who may import whom, who reads the environment, what start-up loads."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

SRC: Final = Path(__file__).parents[1] / "src"
ROOT: Final = "ringfence"

LAYERS: Final = (
    ("errors",),
    ("secret", "layout"),
    ("scope",),
    ("config",),
    ("providers", "state"),
    (
        "vending",
        "logs",
        "payloads",
        "runs",
        "installation",
        "workspace",
        "running",
        "_registry",
        "presigning",
    ),
    ("storage", "attached", "executor", "embedded"),
    ("testing",),
    ("cli", "demo", "server"),
)
"""Bottom first. A part imports from its own layer and from those below it, and never in a circle.
A new part of the package is added here, by whoever decides where it belongs."""

RANK: Final = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

TYPES_ONLY: Final = {
    ("errors", "state"): "StateConflict carries the run's record, which errors only names",
}
"""Imports against the layers that are allowed for annotations alone."""

READS_ENVIRONMENT: Final = {
    "ringfence.config.environment": "the one reader; everything else asks config",
}
IMPORTS_BY_NAME: Final = {
    "ringfence": "public names, each imported when asked for",
    "ringfence.config": "a cloud's settings, imported when asked for",
}
"""Who may import by a computed name, which the layer test cannot see through."""

SEALED: Final = ("ringfence.executor._launch",)
"""Packages that run as programs of their own: they import nothing of Ringfence but themselves."""

MAX_LINES: Final = 400

HEAVY: Final = (
    *("boto3", "botocore", "aiobotocore", "s3transfer", "azure", "msal", "google", "grpc"),
    *("obstore", "httpx", "httpcore", "requests", "rich", "asyncpg", "redis", "cryptography"),
)


@dataclass(frozen=True, slots=True)
class Import:
    """``importer`` names ``imported``, both as absolute module names."""

    importer: str
    imported: str
    line: int
    types_only: bool


@dataclass(frozen=True)
class Module:
    """A module of the package, read and not run."""

    name: str
    is_package: bool
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.name)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def imports(self) -> list[Import]:
        """All of them: at the top, within functions, relative, and for types only."""
        typed = {id(node) for branch in self._types_only() for node in ast.walk(branch)}
        return [
            Import(self.name, name, node.lineno, id(node) in typed)
            for node in self.nodes
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in self._named(node)
        ]

    def _types_only(self) -> Iterator[ast.stmt]:
        for node in self.nodes:
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                yield from node.body

    def _named(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = node.module or ""
        if node.level:
            parts = self.name.split(".")
            kept = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
            base = ".".join([*kept, *([base] if base else [])])
        # `from package import name` may be a module or a name in it: the longer form says both.
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _read(path: Path) -> Module:
    parts = path.relative_to(SRC).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    return Module(name, is_package, path.read_text(encoding="utf-8"))


MODULES: Final = [_read(path) for path in sorted((SRC / ROOT).rglob("*.py"))]
every_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def part_of(name: str) -> str:
    """The part of the package that a module belongs to; empty for ``ringfence`` itself."""
    return name.split(".")[1] if "." in name else ""


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def crosses(each: Import) -> bool:
    """Whether an import goes from one part of the package to another, and not for types alone."""
    pair = part_of(each.importer), part_of(each.imported)
    allowed = each.types_only and pair in TYPES_ONLY
    return within(each.imported, ROOT) and pair[0] != pair[1] and not allowed


def trespasses(module: Module) -> Iterator[str]:
    """The imports of a module that go against the layers."""
    own = part_of(module.name)
    for each in module.imports:
        other = part_of(each.imported)
        if not own or not crosses(each):
            continue
        # A part without a layer, or a public name of the package itself, is above everything:
        # inside the package, names come from where they live.
        if RANK.get(other, len(LAYERS)) > RANK[own]:
            yield f"{module.name}:{each.line} imports {each.imported}"


# The tests ---------------------------------------------------------------------------------------


@every_module
def test_every_part_has_a_layer(module: Module) -> None:
    part = part_of(module.name)
    assert part == "" or part in RANK, f"give {part!r} its place in LAYERS"


@every_module
def test_imports_go_one_way(module: Module) -> None:
    assert list(trespasses(module)) == []


def test_parts_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {part: set() for part in RANK}
    for each in (each for module in MODULES for each in module.imports if crosses(each)):
        if part_of(each.importer):
            graph[part_of(each.importer)].add(part_of(each.imported))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_allowed_exceptions_are_still_needed() -> None:
    found = {
        (part_of(module.name), part_of(each.imported))
        for module in MODULES
        for each in module.imports
        if each.types_only
    }
    assert set(TYPES_ONLY) <= found
    assert set(READS_ENVIRONMENT) == {m.name for m in MODULES if any(environment_uses(m))}
    assert set(IMPORTS_BY_NAME) == {m.name for m in MODULES if any(imports_by_name(m))}


@every_module
def test_a_sealed_package_imports_only_itself(module: Module) -> None:
    for package in SEALED:
        if within(module.name, package):
            ours = [each.imported for each in module.imports if within(each.imported, ROOT)]
            assert [name for name in ours if not within(name, package)] == []


_ENVIRONMENT: Final = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def environment_uses(module: Module) -> Iterator[int]:
    """The lines on which a module touches the process's environment, under whatever alias."""
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr in _ENVIRONMENT:
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "posix"}:
            yield from (node.lineno for alias in node.names if alias.name in {*_ENVIRONMENT, "*"})


@every_module
def test_only_config_reads_the_environment(module: Module) -> None:
    if module.name not in READS_ENVIRONMENT:
        assert list(environment_uses(module)) == []


def imports_by_name(module: Module) -> Iterator[int]:
    """The lines on which a module imports by a name that is computed."""
    for node in module.nodes:
        named = isinstance(node, ast.Name) and node.id in {"import_module", "__import__"}
        if named or (isinstance(node, ast.Attribute) and node.attr == "import_module"):
            assert isinstance(node, ast.expr)
            yield node.lineno


@every_module
def test_no_import_hides_behind_a_computed_name(module: Module) -> None:
    if module.name not in IMPORTS_BY_NAME:
        assert list(imports_by_name(module)) == []


@every_module
def test_modules_are_small_and_say_what_they_are(module: Module) -> None:
    assert len(module.text.splitlines()) <= MAX_LINES
    if module.text.strip():
        assert ast.get_docstring(module.tree), f"{module.name} has no docstring"


@every_module
def test_every_module_can_be_imported_and_has_the_names_it_exports(module: Module) -> None:
    if module.name.endswith("__main__"):
        pytest.skip("a program")
    if any(within(module.name, package) for package in SEALED):
        pytest.skip("a program of its own")
    imported = importlib.import_module(module.name)
    names: list[str] = getattr(imported, "__all__", [])
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(imported, name)] == []


def test_public_names_are_typed_and_listed_alike() -> None:
    (public,) = (module for module in MODULES if module.name == ROOT)
    typed = [each.imported.rpartition(".")[2] for each in public.imports if each.types_only]
    package = importlib.import_module(ROOT)
    assert sorted(typed) == sorted(package.__all__) == list(package.__all__)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize(
    "name",
    ["ringfence", "ringfence.cli", "ringfence.config", "ringfence.providers.aws.policy"],
)
def test_start_up_loads_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {module.split(".")[0] for module in done.stdout.split()}
    assert "ringfence" in loaded
    assert sorted(loaded & set(HEAVY)) == []


# That the tests above can fail -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "caught"),
    [
        ("ringfence.scope", "import ringfence.cli", True),
        ("ringfence.scope", "from ringfence.storage import Storage", True),
        ("ringfence.scope", "from ringfence import storage", True),
        ("ringfence.scope", "from ringfence import Storage", True),
        ("ringfence.scope", "from . import storage", True),
        ("ringfence.scope", "from .storage import Storage", True),
        ("ringfence.scope", "def f():\n    from ringfence.storage import Storage", True),
        ("ringfence.scope", "def f():\n    import ringfence.storage as s", True),
        ("ringfence.scope", "if TYPE_CHECKING:\n    from ringfence.storage import Storage", True),
        ("ringfence.state.s3", "from ..storage import Storage", True),
        ("ringfence.state.s3", "from ..storage.x import Storage", True),
        ("ringfence.state.s3", "from .base import StateStore", False),
        ("ringfence.state.s3", "from . import base", False),
        ("ringfence.state.s3", "from ringfence.layout import Key", False),
        ("ringfence.errors", "from ringfence.state.record import RunRecord", True),
        ("ringfence.errors", "if TYPE_CHECKING:\n    from ringfence.state import x", False),
        ("ringfence.cli.run", "from ringfence.storage import Storage", False),
        ("ringfence.vending", "from ringfence.newcomer import x", True),
        ("ringfence.vending", "import ringfenced, os", False),
    ],
)
def test_a_wrong_import_is_caught(name: str, text: str, caught: bool) -> None:
    assert bool(list(trespasses(Module(name, False, text)))) is caught


def test_a_package_resolves_relative_imports_from_itself() -> None:
    package = Module("ringfence.state", True, "from . import base\nfrom .. import storage")
    assert [each.imported for each in package.imports] == [
        "ringfence.state.base",
        "ringfence.storage",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "import os\nos.environ['A']",
        "import os as o\no.getenv('A')",
        "from os import environ",
        "from os import getenv as g",
        "from os import *",
        "def f():\n    import os\n    return os.environb",
    ],
)
def test_a_reader_of_the_environment_is_caught(text: str) -> None:
    assert list(environment_uses(Module("ringfence.x", False, text)))


def test_an_import_by_name_is_caught() -> None:
    for text in ("import importlib\nimportlib.import_module(x)", "__import__(x)"):
        assert list(imports_by_name(Module("ringfence.x", False, text)))
