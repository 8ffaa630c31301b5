"""What a hostile command reaches of the engine, its keys and its machine, at each level."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import subprocess
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringfence.errors import UsageError
from ringfence.executor import confine
from ringfence.executor._launch import linux
from ringfence.executor.confine import Confine, Confinement, Refusal
from ringfence.executor.output import Stream

from .support import Engine, Result, linux_only, need_namespaces, run, run_python

pytestmark = linux_only

ROOT_OF_THE_MACHINE = (
    os.geteuid() == 0
    and linux.has_sys_admin()
    and "4294967295" in Path("/proc/self/uid_map").read_text()
)
"""Not of a container, which lacks capabilities, or of a user namespace, where they mean little."""


class Keys:
    """A folder and a file to hide, and a marker in both and in the engine's environment."""

    def __init__(self, engine: Engine) -> None:
        self.marker = f"secret-{uuid.uuid4().hex}"
        self.home = engine.folder / "home"
        self.folder = self.home / ".ringfence"
        self.inside = self.folder / "keys" / "master"
        self.file = self.home / "engine.env"
        self.inside.parent.mkdir(parents=True)
        self.inside.write_text(f"key {self.marker}\n")
        self.file.write_text(f"AWS_SECRET_ACCESS_KEY={self.marker}\n")
        if engine.user is not None:
            for path in (self.home, *self.home.rglob("*")):
                os.chown(path, engine.user, engine.user)
        engine.environment["AWS_SECRET_ACCESS_KEY"] = self.marker
        engine.environment["ODD_NAME"] = f"x{self.marker}x"

    @property
    def hide(self) -> list[str]:
        return [str(self.folder), str(self.file)]

    def attack(self, engine: Engine, **more: Any) -> list[str]:
        given = {
            "folder": str(self.folder),
            "file": str(self.file),
            "inside": str(self.inside),
            "marker": self.marker,
            "handle": _handle(self.inside),
            "last": os.getpid(),
        }
        program = str(engine.folder / "attack.py")
        return [engine.python, "-B", program, json.dumps(given | more)]


def _handle(path: Path) -> str:
    """The file handle by which a process with CAP_DAC_READ_SEARCH opens a file without its name."""
    handle = (ctypes.c_uint32 * 34)(128)
    mount = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.name_to_handle_at(-100, bytes(path), handle, ctypes.byref(mount), 0) == 0
    return bytes(handle).hex()


def _loot(result: dict[str, Any]) -> dict[str, str]:
    """What the attacker found, by attempt."""
    assert result["exit_code"] == 0, result["output"]
    found = json.loads(result["output"][-1][1])
    assert len(found) >= 8
    return {name: loot for name, loot in found.items() if loot is not None}


def test_a_confined_command_finds_nothing(any_engine: Engine) -> None:
    need_namespaces(any_engine.user)
    keys = Keys(any_engine)
    result = any_engine.run(keys.attack(any_engine), hide=keys.hide, confine="required")
    assert result["own_files"]
    assert result["own_processes"]
    assert result["user_namespace"] == (any_engine.user is not None or os.geteuid() != 0)
    assert result["exposed"] == result["sentences"] == []
    assert _loot(result) == {}
    assert keys.inside.read_text().strip().endswith(keys.marker)
    assert [path.name for path in keys.folder.iterdir()] == ["keys"]


def test_the_attacker_would_find_it_all_without_confinement(any_engine: Engine) -> None:
    """Else the test above would show nothing."""
    keys = Keys(any_engine)
    result = any_engine.run(keys.attack(any_engine), hide=keys.hide, confine="off")
    found = _loot(result).keys()
    assert {"reading", "listing", "writing", "chmod", "renaming", "replacing"} <= found
    assert "/proc/*/root" in found
    if any_engine.user is None and ROOT_OF_THE_MACHINE:
        assert found >= {"open_by_handle_at", "mknod", "kernel settings", "bind", "fresh proc"}
        assert found >= {"/proc/*/environ", "/proc/*/mem", "/proc/*/ptrace", "/proc/*/ns"}


@pytest.mark.usefixtures("namespaces")
@pytest.mark.skipif(not ROOT_OF_THE_MACHINE, reason="needs root to keep its privileges")
def test_the_attacker_would_lift_the_covers_with_privileges(engine: Engine) -> None:
    """What dropping the capabilities is good for: the same covers, and an attacker with them."""
    keys = Keys(engine)
    names = ["unmounting", "bind", "open_tree", "overlay", "moving"]
    command = keys.attack(engine, attempts=[*names, "reading", "listing", "nested unmounting"])
    program = "\n".join(
        [
            "import os, sys",
            "from ringfence.executor._launch import linux",
            "linux.separate(user=False, processes=False)",
            f"for path in {keys.hide!r}: linux.cover(path.encode())",
            "os.execv(sys.argv[1], sys.argv[1:])",
        ]
    )
    done = subprocess.run(
        [engine.python, "-B", "-c", program, *command],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(engine.folder)},
        capture_output=True,
        check=True,
    )
    found = {name for name, loot in json.loads(done.stdout).items() if loot}
    assert found >= {"unmounting", "bind", "open_tree"}


def test_without_namespaces_memory_and_environment_are_closed(any_engine: Engine) -> None:
    """As in an ordinary container. What is hidden is not, and the confinement says so."""
    keys = Keys(any_engine)
    any_engine.world = "bare"
    result = any_engine.run(keys.attack(any_engine), hide=keys.hide)
    assert not result["own_files"]
    assert not result["own_processes"]
    assert result["exposed"] == keys.hide
    assert any("new namespaces" in sentence for sentence in result["sentences"])
    assert any(keys.hide[0] in sentence for sentence in result["sentences"])
    if not result["landlock"]:
        pytest.skip("this kernel has no Landlock, which guards processes without namespaces")
    closed = {f"/proc/*/{name}" for name in ("environ", "mem", "fd", "root", "cwd", "ptrace", "ns")}
    assert not closed & _loot(result).keys()


def test_with_a_covered_proc_files_are_hidden_all_the_same(any_engine: Engine) -> None:
    keys = Keys(any_engine)
    any_engine.world = "covered"
    result = any_engine.run(keys.attack(any_engine), hide=keys.hide)
    assert result["own_files"]
    assert not result["own_processes"]
    assert result["exposed"] == []
    assert any("/proc" in sentence for sentence in result["sentences"])
    allowed = {"/proc/*/kill"} if not result["landlock"] else set()
    assert _loot(result).keys() <= allowed


@pytest.mark.parametrize("world", ["bare", "covered"])
def test_confinement_that_is_required_and_refused_starts_nothing(
    engine: Engine, world: str
) -> None:
    engine.world = world
    result = engine.run(["touch", str(engine.folder / "started")], confine="required")
    assert result["error"] == "ConfinementRefused"
    assert "The kernel refused" in result["message"]
    assert not (engine.folder / "started").exists()


SEARCH = """
import os, sys
from pathlib import Path
marker = sys.argv[1].encode()[::-1]
for file in ("environ", "cmdline"):
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            data = (folder / file).read_bytes()
        except OSError:
            continue
        if marker in data:
            print(folder / file)
print("searched")
"""


def test_no_process_in_reach_shows_the_engines_secrets(any_engine: Engine) -> None:
    need_namespaces(any_engine.user)
    keys = Keys(any_engine)
    command = [any_engine.python, "-c", SEARCH, keys.marker[::-1]]
    result = any_engine.run(command, environment={"PATH": os.environ["PATH"]})
    assert result["output"] == [["stdout", "searched", False]]


@pytest.mark.parametrize("world", [None, "bare"])
def test_the_commands_own_secrets_are_in_no_arguments(engine: Engine, world: str | None) -> None:
    engine.world = world
    secret = f"fenced-{uuid.uuid4().hex}"
    job = engine.start(
        [engine.python, "-c", "import time; print('ready', flush=True); time.sleep(600)"],
        environment={"PATH": os.environ["PATH"], "AWS_SESSION_TOKEN": secret},
        timeout=20,
    )
    job.ready()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        # Only this test's engine was told it so, in its own JSON argument.
        assert secret.encode() not in arguments or b"engine.py" in arguments


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("confine_by", [Confine.AUTO, Confine.REQUIRED])
async def test_killing_everyone_in_sight_ends_only_itself(confine_by: Confine) -> None:
    source = """
import os, signal
try:
    os.kill(-1, signal.SIGKILL)
except ProcessLookupError:
    print("nobody else is here")
"""
    result = await run([sys.executable, "-c", source], confine=confine_by)
    # kill(-1) spares its caller and the first process.
    assert (result.text(), result.ending.exit_code) == (["nobody else is here"], 0)


@pytest.mark.usefixtures("namespaces")
async def test_runs_cannot_see_each_other() -> None:
    source = """
import os, time
print(sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
time.sleep(1)
"""
    results: list[Result] = await asyncio.gather(*(run_python(source) for _ in range(3)))
    assert [result.text() for result in results] == [["[1, 2]"]] * 3


@pytest.mark.usefixtures("namespaces")
async def test_the_folder_of_the_command_may_not_be_a_hidden_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot enter its folder"):
        await run(["ls"], cwd=tmp_path, hide=[tmp_path])


@pytest.mark.usefixtures("namespaces")
async def test_a_hidden_path_by_another_name_is_hidden(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "key").write_text("secret")
    link = tmp_path / "link"
    link.symlink_to(real)
    result = await run(["cat", str(real / "key"), str(link / "key")], hide=[link])
    assert result.text() == []
    assert result.ending.confinement is not None
    assert result.ending.confinement.hidden == (real,)


@pytest.mark.usefixtures("namespaces")
async def test_standard_input_that_is_a_folder_is_no_way_out(tmp_path: Path) -> None:
    """An open folder would lead to what lies under its covers."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "master").write_text("secret")
    ours, folder = os.dup(0), os.open(tmp_path, os.O_RDONLY)
    os.dup2(folder, 0)
    try:
        source = "import os; print(os.read(os.open('keys/master', os.O_RDONLY, dir_fd=0), 9))"
        result = await run_python(source, hide=[keys])
    finally:
        os.dup2(ours, 0)
        os.close(ours)
        os.close(folder)
    assert result.ending.exit_code == 1
    assert result.text() == []


@pytest.mark.usefixtures("namespaces")
async def test_hidden_paths_that_are_not_there_need_no_hiding(tmp_path: Path) -> None:
    result = await run(["true"], hide=[tmp_path / "missing"], confine=Confine.REQUIRED)
    assert result.ending.confinement is not None
    assert result.ending.confinement.hidden == ()
    assert result.ending.confinement.complete


@pytest.mark.usefixtures("namespaces")
async def test_ordinary_work_goes_on_as_ever(tmp_path: Path) -> None:
    source = """
import multiprocessing, os, subprocess, sys, tempfile
os.makedirs("a/b")
open("a/file", "w").write("x")
os.rename("a/file", "a/b/file")
with tempfile.NamedTemporaryFile() as file: file.write(b"x")
open("/dev/null", "w").write("x"); open("/dev/urandom", "rb").read(1)
subprocess.run(["sh", "-c", "sleep 0.01 & wait"], check=True)
lock = multiprocessing.Lock()
if os.fork() == 0: os._exit(3)
print(os.waitstatus_to_exitcode(os.wait()[1]), os.stat("a/b/file").st_uid == os.getuid())
print(os.path.exists(f"/proc/{os.getpid()}/status"), os.readlink("/proc/self") == str(os.getpid()))
"""
    result = await run_python(source, cwd=tmp_path, confine=Confine.REQUIRED)
    assert result.text() == ["3 True", "True True"]


async def test_landlock_before_version_6_bars_memory_and_allows_renames(tmp_path: Path) -> None:
    """The rules for older kernels work on every later one."""
    source = """
import os, sys
sys.path.append(sys.argv[1])
from _launch import linux
linux.drop_privileges()
if os.fork():
    os.wait()
    sys.exit()
parent = f"/proc/{os.getppid()}/environ"
print("open", len(open(parent).read()) > 2)
rules = linux._almost_nothing()
linux._syscall(linux._LANDLOCK_RESTRICT, rules, 0)
os.makedirs("a/b")
open("a/file", "w").write("x")
os.rename("a/file", "a/b/file")
try:
    open(parent).read()
except PermissionError:
    print("barred")
"""
    folder = str(Path(confine.__file__).parent)
    result = await run_python(source, folder, cwd=tmp_path, confine=Confine.OFF)
    assert result.text() == ["open True", "barred"], result.text(Stream.STDERR)


@pytest.mark.usefixtures("namespaces")
async def test_kernel_files_can_be_closed_before_linux_5_12() -> None:
    source = """
import os, sys
sys.path.append(sys.argv[1])
from _launch import linux
linux.separate(user=not linux.has_sys_admin(), processes=False)
linux._MOUNT_SETATTR = 4095  # no such call, as on older kernels
linux.make_read_only(b"/proc/sys")
print(bool(os.statvfs("/proc/sys").f_flag & os.ST_RDONLY), os.statvfs("/proc").f_flag & 1)
"""
    folder = str(Path(confine.__file__).parent)
    result = await run_python(source, folder, confine=Confine.OFF)
    assert result.text() == ["True 0"], result.text(Stream.STDERR)


@pytest.mark.usefixtures("namespaces")
async def test_the_confinement_is_told_when_the_command_starts(tmp_path: Path) -> None:
    told: list[Confinement] = []
    result = await run(["true"], hide=[tmp_path], on_confined=told.append)
    assert told == [result.ending.confinement]
    assert told[0].hidden == (tmp_path,)
    off = await run(["true"], hide=[tmp_path], confine=Confine.OFF)
    assert off.ending.confinement is not None
    assert off.ending.confinement.exposed == (tmp_path,)
    assert off.ending.confinement.sentences() == ()


async def test_a_system_without_linuxs_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confine, "ON_LINUX", False)
    result = await run(["sh", "-c", "exit 3"])
    assert result.ending.exit_code == 3
    assert result.ending.confinement is not None
    assert "needs Linux" in result.ending.confinement.sentences()[0]


def test_each_missing_step_is_a_sentence() -> None:
    nothing = Confinement(
        Confine.AUTO, exposed=(Path("/keys"),), refusals=(Refusal(3, "namespaces", 1),)
    )
    first, second, third = nothing.sentences()
    assert first == "The kernel refused new namespaces (Operation not permitted)."
    assert "Run executions under a user of their own" in second
    assert "/keys" in third
    guarded = replace(nothing, landlock=True).sentences()[1]
    assert "cannot read their memory" in guarded


async def test_this_process_is_undumpable_and_leaves_no_core() -> None:
    confine.protect_this_process()
    confine.protect_this_process()
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
