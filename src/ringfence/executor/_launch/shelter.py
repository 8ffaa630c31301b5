"""What a command cannot see or touch, in its own mount and PID namespaces."""

from __future__ import annotations

import errno
import os
import stat

from . import linux, wire

DOORS = (
    b"/run/dbus",
    b"/run/user",
    b"/run/systemd/private",
    b"/run/docker.sock",
    b"/run/podman",
    b"/run/crio",
    b"/run/containerd",
)
"""Sockets of services that start processes for whoever has the right uid, outside any namespace."""

KERNEL_FILES = (
    b"/sys",
    b"/proc/sys",
    b"/proc/sysrq-trigger",
    b"/proc/irq",
    b"/proc/bus",
    b"/proc/fs",
)
"""Files that uid 0 may write without any capability (``core_pattern`` runs programs as root)."""

RAW_DEVICES = frozenset({b"mem", b"kmem", b"port", b"sg", b"nvme", b"ngn", b""})
"""Names, without digits, of character devices below the file system: memory, SCSI, NVMe, and those
that are numbers only (bsg, vfio, usb)."""


class Refused(Exception):
    """The kernel does not allow this level here; nothing was started."""

    def __init__(self, stage: str, error: OSError) -> None:
        super().__init__(stage, error.errno)
        self.stage = stage
        self.number = error.errno or 0


def enter_namespaces(plan: wire.Plan) -> bool:
    """Moves into the plan's namespaces; returns whether a user namespace was needed."""
    user = not linux.has_sys_admin()
    try:
        linux.separate(user=user, processes=plan.level >= wire.PROCESSES)
    except OSError as error:
        raise Refused("namespaces", error) from None
    return user


def mount_own_proc() -> None:
    """Replaces /proc. Must be called by the first process of the new PID namespace."""
    try:
        linux.mount_proc()
    except OSError as error:
        raise Refused("proc", error) from None


def hide(plan: wire.Plan, control: int) -> None:
    """Covers what the plan hides and tells of each path that is still reachable, then the rest."""
    for index, path in enumerate(plan.hide):
        error = _cover(path)
        if error is not None:
            wire.tell(control, "exposed", index, error.errno)
            if plan.required:
                raise Refused("hide", error)
    for path in (*DOORS, *_raw_devices(b"/dev")):
        _cover(path)
    if os.geteuid() == 0:
        _protect_kernel_files(plan, control)


def _cover(path: bytes) -> OSError | None:
    try:
        linux.cover(path)
    except OSError as error:
        # A path that is not there hides itself. One in a closed folder does not: the child may be
        # that folder's owner, and open it.
        return None if error.errno in {errno.ENOENT, errno.ENOTDIR} else error
    return None


def _protect_kernel_files(plan: wire.Plan, control: int) -> None:
    for path in filter(os.path.exists, KERNEL_FILES):
        try:
            linux.make_read_only(path)
        except OSError as error:
            wire.tell(control, "noted", "kernel files", error.errno)
            if plan.required:
                raise Refused("kernel files", error) from None


def _raw_devices(folder: bytes) -> list[bytes]:
    found: list[bytes] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and entry.name not in {b"pts", b"shm"}:
                    found += _raw_devices(entry.path)
                elif _is_raw(entry) and _can_open(entry.path):
                    found.append(entry.path)
    except OSError:
        return found  # a folder that this user cannot list is closed to the command as well
    return found


def _is_raw(entry: os.DirEntry[bytes]) -> bool:
    mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISBLK(mode):
        return True
    return stat.S_ISCHR(mode) and entry.name.translate(None, b"0123456789:") in RAW_DEVICES


def _can_open(path: bytes) -> bool:
    return os.access(path, os.R_OK) or os.access(path, os.W_OK)
