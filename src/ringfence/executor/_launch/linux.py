"""Linux's own calls, through ``ctypes``: capabilities, namespaces, mounts, Landlock.

Sources: capabilities(7), user_namespaces(7), pid_namespaces(7), mount_namespaces(7), prctl(2),
landlock(7), and the kernel's ``include/uapi``.
"""

# ruff: noqa: PTH112, SIM105 - importing pathlib and contextlib costs 10 ms in every run

from __future__ import annotations

import ctypes
import errno
import os
import sys

ON_LINUX = sys.platform == "linux"

_NEWNS, _NEWUSER, _NEWPID = 0x00020000, 0x10000000, 0x20000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
_SET_PDEATHSIG, _SET_DUMPABLE, _CAPBSET_DROP, _SET_SECUREBITS = 1, 4, 24, 28
_SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS, _CAP_AMBIENT, _AMBIENT_CLEAR_ALL = 36, 38, 47, 4
_NOROOT_LOCKED = 0b11
_CAP_SYS_ADMIN = 21
_CAPABILITY_VERSION_3 = 0x20080522
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446
_AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = -100, 0x8000, 1
_FS_MAKE_BLOCK, _FS_REFER = 1 << 11, 1 << 13
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _prctl(option: int, value: int, more: int = 0) -> None:
    long = ctypes.c_ulong
    _checked(_libc.prctl(option, long(value), long(more), long(0), long(0)))


def _syscall(number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


def die_with_parent(signal: int) -> None:
    """Has the kernel send ``signal`` to this process when its parent ends, however it ends."""
    _prctl(_SET_PDEATHSIG, signal)


def become_undumpable() -> None:
    """Closes /proc/<pid>/{environ,mem,fd,root,...} and ptrace to all without CAP_SYS_PTRACE."""
    _prctl(_SET_DUMPABLE, 0)


def become_subreaper() -> None:
    """Makes orphaned descendants this process's children, so that none gets away unseen."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def has_sys_admin() -> bool:
    """Whether this process may make namespaces and mounts without a user namespace."""
    header, data = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    _checked(_libc.capget(header, data))
    return bool(data[0] & (1 << _CAP_SYS_ADMIN))


def drop_privileges() -> None:
    """No new privileges, and no capabilities in any set, now or after any exec, root or not."""
    _prctl(_SET_NO_NEW_PRIVS, 1)
    try:
        for capability in range(64):
            _prctl(_CAPBSET_DROP, capability)
    except OSError:
        # EINVAL: past the last one. EPERM: no CAP_SETPCAP, so nothing that could be regained;
        # no_new_privs holds in either case.
        pass
    try:
        _prctl(_SET_SECUREBITS, _NOROOT_LOCKED)
    except OSError:
        pass  # EPERM, as above
    try:
        _prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    except OSError:
        pass  # before Linux 4.3 there is no ambient set
    header, data = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    _checked(_libc.capset(header, data))


def separate(*, user: bool, processes: bool) -> None:
    """Moves into a mount namespace of its own; and a user and a PID namespace where asked.

    The PID namespace holds the children forked from now on. In the user namespace the uid and the
    gid are themselves, so files keep their owner; every other id is shown as nobody's.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = _NEWNS | (_NEWUSER if user else 0) | (_NEWPID if processes else 0)
    _checked(_libc.unshare(flags))
    if user:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    # Nothing mounted here shows outside, and nothing mounted outside later shows here: a bind mount
    # of a hidden folder's parent would.
    mount(None, b"/", None, _REC | _PRIVATE)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def mount(
    source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None = None
) -> None:
    """mount(2)."""
    _checked(_libc.mount(source, target, kind, ctypes.c_ulong(flags), data))


def mount_proc() -> None:
    """A /proc of this PID namespace. Refused where the old one is partly covered, as in Docker."""
    mount(b"proc", b"/proc", b"proc", _NOSUID | _NODEV | _NOEXEC)


def cover(path: bytes) -> None:
    """Puts an empty, closed, read-only folder over a folder, or /dev/null over anything else."""
    if os.path.isdir(path):
        mount(b"tmpfs", path, b"tmpfs", _RDONLY | _NOSUID | _NODEV | _NOEXEC, b"mode=000,size=4k")
    else:
        mount(b"/dev/null", path, None, _BIND)


def make_read_only(path: bytes) -> None:
    """Makes a tree of mounts read-only, here only."""
    mount(path, path, None, _BIND | _REC)
    attributes = (ctypes.c_uint64 * 4)(_ATTR_RDONLY, 0, 0, 0)
    try:
        _syscall(_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, attributes, ctypes.c_size_t(32))
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        # Before Linux 5.12: the mount itself, without those below it.
        flags = _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV | _NOEXEC
        mount(None, path, None, flags)


def landlock() -> bool:
    """Bars ptrace, /proc secrets, signals and abstract sockets of every process outside.

    Landlock needs no privilege and is allowed in most containers. Signals and sockets need its
    version 6 (Linux 6.12); before it, a rule that refuses only block devices gives the rest.
    Returns whether the kernel has a usable version.
    """
    try:
        version = _syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
        if version < 2:  # version 1 cannot allow renames between folders
            return False
        rules = _scopes() if version >= 6 else _almost_nothing()
        try:
            _syscall(_LANDLOCK_RESTRICT, rules, 0)
        finally:
            os.close(rules)
    except OSError:
        return False
    return True


def _scopes() -> int:
    ruleset = (ctypes.c_uint64 * 3)(0, 0, _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS)
    return _syscall(_LANDLOCK_CREATE, ruleset, ctypes.c_size_t(24), 0)


def _almost_nothing() -> int:
    handled = (ctypes.c_uint64 * 1)(_FS_MAKE_BLOCK | _FS_REFER)
    rules = _syscall(_LANDLOCK_CREATE, handled, ctypes.c_size_t(8), 0)
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        rule = _FS_REFER.to_bytes(8, sys.byteorder) + root.to_bytes(4, sys.byteorder)
        _syscall(_LANDLOCK_ADD, rules, 1, rule, 0)
    finally:
        os.close(root)
    return rules
