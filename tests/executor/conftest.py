"""Engines in processes of their own, as this user and as an unprivileged one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import NOBODY, Engine, engine_folder, need_namespaces, python_for


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine as this user."""
    folder = tmp_path / "engine"
    folder.mkdir()
    yield from _ended(Engine(engine_folder(folder)))


@pytest.fixture(params=["this user", "nobody"])
def any_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine as this user, and as one without privileges."""
    if request.param == "this user":
        yield from _ended(Engine(engine_folder(_made(tmp_path / "engine"))))
        return
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    python = python_for(NOBODY)
    # Not below pytest's folder, which each session closes to other users again.
    with tempfile.TemporaryDirectory(prefix="ringfence-") as name:
        folder = engine_folder(Path(name))
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        yield from _ended(Engine(folder, python=python, user=NOBODY))


def _ended(engine: Engine) -> Iterator[Engine]:
    yield engine
    engine.end()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture
def namespaces() -> None:
    """For tests of what only namespaces give."""
    need_namespaces()
