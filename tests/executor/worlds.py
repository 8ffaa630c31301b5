"""Runs a program in a world where the kernel refuses what confinement wants.

``worlds.py bare PROGRAM...`` refuses every namespace, as an ordinary container does;
``worlds.py covered PROGRAM...`` has a partly covered /proc, as a container with namespaces has.
Neither needs root: both are made of namespaces of their own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ringfence.executor._launch import linux


def _bare() -> None:
    linux.separate(user=True, processes=False)
    for kind in ("user", "pid", "mnt"):
        Path(f"/proc/sys/user/max_{kind}_namespaces").write_text("0")


def _covered() -> None:
    linux.separate(user=True, processes=True)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    linux.mount_proc()
    linux.cover(b"/proc/meminfo")


if __name__ == "__main__":
    {"bare": _bare, "covered": _covered}[sys.argv[1]]()
    # Root in a container has some capabilities, but not this one. Exec as another user drops all.
    linux._prctl(linux._CAPBSET_DROP, linux._CAP_SYS_ADMIN)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
