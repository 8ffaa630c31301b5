"""A hostile command: tries every way it knows to what was hidden from it, and reports the loot.

Its argument is a JSON object: ``folder`` and ``file`` are hidden, ``inside`` is a file in the
folder, ``marker`` is what the hidden files and the engine's environment hold, ``handle`` is the
file handle of ``inside``, ``last`` is the topmost ancestor to attack. It prints a JSON object from
the name of each attempt to what it found: ``null`` where it was refused.
"""

# ruff: noqa: PTH116, PTH123, PTH208 - nearer to the calls that it makes

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

GIVEN = json.loads(sys.argv[1])
FOLDER, FILE, INSIDE = GIVEN["folder"], GIVEN["file"], GIVEN["inside"]
PARENT = str(Path(FOLDER).parent)
NAME = str(Path(INSIDE).relative_to(PARENT))
MARKER = GIVEN["marker"].encode()
LIBC = ctypes.CDLL(None, use_errno=True)
BIND, REC, MOVE, REMOUNT, DETACH = 4096, 16384, 8192, 32, 2
NEWNS, NEWUSER, NEWPID = 0x20000, 0x10000000, 0x20000000


def call(name: str, *arguments: object) -> int:
    result = getattr(LIBC, name)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return int(result)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [text.encode() if text is not None else None for text in (source, target, kind, data)]
    call("mount", *texts[:3], ctypes.c_ulong(flags), texts[3])


def loot(path: str) -> str | None:
    """The path, if the marker can be read there."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    return path if MARKER in data else None


def looks() -> str | None:
    return loot(INSIDE) or loot(FILE)


def listing() -> str | None:
    return ", ".join(os.listdir(FOLDER)) or "an empty listing"


def writing() -> str | None:
    Path(FOLDER, "planted").write_text("x")
    return "wrote into the folder"


def opening_up() -> str | None:
    Path(FOLDER).chmod(0o777)
    return "changed the folder's mode"


def unmounting() -> str | None:
    for path in (FOLDER, FILE):
        for flags in (0, DETACH):
            try:
                call("umount2", path.encode(), flags)
            except OSError:
                continue
            return f"unmounted {path}: {looks()}"
    return None


def remounting() -> str | None:
    mount("none", FOLDER, None, REMOUNT | BIND)
    return "remounted"


def renaming() -> str | None:
    moved = f"{PARENT}-moved"
    Path(PARENT).rename(moved)
    try:
        return loot(f"{moved}/{NAME}") or loot(FILE.replace(PARENT, moved))
    finally:
        Path(moved).rename(PARENT)


def replacing() -> str | None:
    Path(FILE).unlink()
    return "removed the cover of the file"


def bind_elsewhere(flags: int) -> str | None:
    with tempfile.TemporaryDirectory() as place:
        mount(PARENT, place, None, BIND | flags)
        try:
            found = loot(f"{place}/{NAME}")
            call("umount2", f"{place}/{Path(FOLDER).name}".encode(), DETACH)
            return found or loot(f"{place}/{NAME}")
        except OSError:
            return loot(f"{place}/{NAME}")
        finally:
            call("umount2", place.encode(), DETACH)


def overlaying() -> str | None:
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as other:
        mount("overlay", place, "overlay", 0, f"lowerdir={PARENT}:{other}")
        try:
            return loot(f"{place}/{NAME}")
        finally:
            call("umount2", place.encode(), DETACH)


def cloning_the_tree() -> str | None:
    tree = call("syscall", 428, -100, PARENT.encode(), 1)  # open_tree, OPEN_TREE_CLONE
    descriptor = os.open(NAME, os.O_RDONLY, dir_fd=tree)
    return "open_tree" if MARKER in os.read(descriptor, 4096) else None


def moving() -> str | None:
    with tempfile.TemporaryDirectory() as place:
        mount(FOLDER, place, None, MOVE)
        return f"moved the cover: {looks()}"


def by_handle() -> str | None:
    raw = bytes.fromhex(GIVEN["handle"])
    root = os.open(PARENT, os.O_RDONLY)
    descriptor = call("open_by_handle_at", root, raw, os.O_RDONLY)
    return "open_by_handle_at" if MARKER in os.read(descriptor, 4096) else None


def ancestors() -> Iterator[int]:
    """The launcher, the engine and what started it, as far as /proc shows them.

    Not beyond the tests' own process: the rest of the machine is nobody's target.
    """
    pid = os.getppid()
    while pid > 0:
        yield pid
        if pid == GIVEN["last"]:
            return
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return


def each_process(attempt: Callable[[int], str | None]) -> str | None:
    for pid in [*ancestors(), GIVEN["last"]]:
        try:
            found = attempt(pid)
        except OSError:
            continue
        if found:
            return f"process {pid}: {found}"
    return None


def environ_of(pid: int) -> str | None:
    return loot(f"/proc/{pid}/environ")


def root_of(pid: int) -> str | None:
    return loot(f"/proc/{pid}/root{INSIDE}") or loot(f"/proc/{pid}/root{FILE}")


def folder_of(pid: int) -> str | None:
    return loot(f"/proc/{pid}/cwd/{NAME}") or loot(f"/proc/{pid}/cwd/{Path(INSIDE).name}")


def files_of(pid: int) -> str | None:
    names = [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    files = [name for name in names if stat.S_ISREG(os.stat(name).st_mode)]
    return next(filter(None, map(loot, files)), None) or f"saw {len(names)} files"


def memory_of(pid: int) -> str | None:
    with open(f"/proc/{pid}/mem", "rb"):
        return "opened its memory"


def trace(pid: int) -> str | None:
    call("ptrace", 0x4206, pid, None, None)  # PTRACE_SEIZE, which does not stop it
    return "attached to it"


def namespace_of(pid: int) -> str | None:
    descriptor = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    call("setns", descriptor, NEWNS)
    return f"joined its mounts: {looks()}"


def signalling(pid: int) -> str | None:
    if os.getpid() < 100 and pid == 1:
        return None  # the first process of its own namespace, which minds no signal
    os.kill(pid, 0)
    return "may signal it"


def disks() -> str | None:
    for folder, _, names in os.walk("/dev"):
        for name in names:
            path = Path(folder, name)
            if stat.S_ISBLK(path.lstat().st_mode):
                try:
                    os.close(os.open(path, os.O_RDONLY))
                except OSError:
                    continue
                return f"opened {path}"
    return None


def making_a_disk() -> str | None:
    path = Path(tempfile.gettempdir(), f"disk-{os.getpid()}")
    os.mknod(path, stat.S_IFBLK | 0o600, Path("/").stat().st_dev)
    path.unlink()
    return "made a device"


def kernel_settings(proc: str = "/proc") -> str | None:
    for name in ("sys/kernel/core_pattern", "sys/kernel/modprobe", "sysrq-trigger"):
        try:
            os.close(os.open(f"{proc}/{name}", os.O_WRONLY))
        except OSError:
            continue
        return f"may write {proc}/{name}"
    return None


def control_groups() -> str | None:
    for folder in Path("/sys/fs/cgroup").iterdir():
        try:
            (folder / "escaped").mkdir()
        except OSError:
            continue
        (folder / "escaped").rmdir()
        return f"made a group in {folder}"
    return None


def fresh_proc() -> str | None:
    with tempfile.TemporaryDirectory() as place:
        mount("proc", place, "proc", 0)
        try:
            return kernel_settings(place) or loot(f"{place}/1/root{INSIDE}")
        finally:
            call("umount2", place.encode(), DETACH)


def nested(attempt: Callable[[], str | None]) -> Callable[[], str | None]:
    """The attempt as root of namespaces of its own, which every user may make."""

    def inside() -> str | None:
        uid, gid = os.getuid(), os.getgid()
        call("unshare", NEWUSER | NEWNS | NEWPID)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        return in_a_child(attempt)

    return lambda: in_a_child(inside)


def in_a_child(attempt: Callable[[], str | None]) -> str | None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, (attempt() or "").encode())
        except OSError:
            pass
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        found = file.read()
    os.waitpid(child, 0)
    return found or None


MOUNTS: dict[str, Callable[[], str | None]] = {
    "unmounting": unmounting,
    "remounting": remounting,
    "bind": lambda: bind_elsewhere(0),
    "recursive bind": lambda: bind_elsewhere(REC),
    "overlay": overlaying,
    "open_tree": cloning_the_tree,
    "moving": moving,
    "fresh proc": fresh_proc,
}
ATTEMPTS: dict[str, Callable[[], str | None]] = {
    "reading": looks,
    "listing": listing,
    "writing": writing,
    "chmod": opening_up,
    "renaming": renaming,
    "replacing": replacing,
    "open_by_handle_at": by_handle,
    "raw disks": disks,
    "mknod": making_a_disk,
    "kernel settings": kernel_settings,
    "control groups": control_groups,
    **MOUNTS,
    **{f"nested {name}": nested(attempt) for name, attempt in MOUNTS.items()},
    "nested handle": nested(by_handle),
    "nested replacing": nested(replacing),
    "nested kernel settings": nested(kernel_settings),
    **{
        f"/proc/*/{name}": lambda attempt=attempt: each_process(attempt)  # type: ignore[misc]
        for name, attempt in {
            "environ": environ_of,
            "root": root_of,
            "cwd": folder_of,
            "fd": files_of,
            "mem": memory_of,
            "ns": namespace_of,
            "ptrace": trace,
            "kill": signalling,
        }.items()
    },
}


def attempted(attempt: Callable[[], str | None]) -> str | None:
    try:
        return attempt()
    except OSError:
        return None


if __name__ == "__main__":
    wanted = GIVEN.get("attempts") or list(ATTEMPTS)
    print(json.dumps({name: attempted(ATTEMPTS[name]) for name in wanted}))
