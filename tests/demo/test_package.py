"""What an installed copy carries: the demo runs the very examples that the repository shows."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = "ringfence/demo/_examples"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_has_the_examples_and_nothing_that_is_not_ours(unpacked: Path) -> None:
    for name in ("weather_report.py", "data/seattle.csv", "data/new-york.csv", "data/README.md"):
        assert (unpacked / HOME / name).read_bytes() == (ROOT / "examples" / name).read_bytes()
    top = {path.name for path in unpacked.iterdir()}
    assert {name.partition("-")[0] for name in top} == {"ringfence"}
    assert (unpacked / "ringfence" / "py.typed").is_file()
    assert not (unpacked / "ringfence" / "examples").exists()


def test_an_installed_copy_finds_its_own_examples(unpacked: Path, tmp_path: Path) -> None:
    code = "import ringfence.demo.cast as cast; print(cast.__file__, cast.examples())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PATH": os.defpath, "PYTHONPATH": str(unpacked)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.split()
    assert found == [str(unpacked / "ringfence/demo/cast.py"), str(unpacked / HOME)]
