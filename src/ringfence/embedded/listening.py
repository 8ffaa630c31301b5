"""What a process listens on, from the kernel (Linux only)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"
_ACCEPTING: Final = 1 << 16
"""``__SO_ACCEPTCON`` of the kernel's ``include/uapi/linux/net.h``."""


def listening(pid: int) -> frozenset[str] | None:
    """``host:port`` and socket paths that the process listens on; None where that is not told.

    An abstract socket is ``@name``.
    """
    try:
        inodes = frozenset(_inodes(pid))
        return frozenset(_tcp(pid, inodes)) | frozenset(_unix(pid, inodes))
    except (FileNotFoundError, PermissionError):
        return None


def _inodes(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            yield target[len("socket:[") : -1]


def _tcp(pid: int, inodes: frozenset[str]) -> Iterator[str]:
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        path = Path(f"/proc/{pid}/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in inodes:
                host, _, port = fields[1].partition(":")
                yield f"{_host(host, family)}:{int(port, 16)}"


def _host(text: str, family: socket.AddressFamily) -> str:
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def _unix(pid: int, inodes: frozenset[str]) -> Iterator[str]:
    folder = Path(f"/proc/{pid}/cwd").readlink()
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if int(fields[3], 16) & _ACCEPTING and fields[6] in inodes:
            name = fields[7] if len(fields) > 7 else f"@unnamed-{fields[6]}"
            # A path stands there as the process gave it, which may be relative.
            yield name if name.startswith("@") else os.path.normpath(folder / name)
