"""On the machine itself: the files and processes of the same user."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def read(path: str) -> tuple[None, str]:
    """Opens a file and reads a byte of it; OK, or the kernel's own error name."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            file.read(1)
    except OSError as error:
        return None, error_name(error)
    return None, "OK"


def read_of_parent(name: str) -> tuple[None, str]:
    """The same for a file of the process that started this one."""
    return read(f"/proc/{os.getppid()}/{name}")


def error_name(error: OSError) -> str:
    """The kernel's own name for an error: ``EACCES``."""
    return errno.errorcode.get(error.errno or 0, str(error))
