"""How commands end, and that nothing is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest

from ringfence.errors import UsageError
from ringfence.executor.output import Line, Stream
from ringfence.executor.process import Confine, Ending

from .support import (
    PYTHON,
    Engine,
    linux_only,
    processes_with,
    run,
    run_python,
    wait_until,
)

ALL = [Confine.AUTO, Confine.OFF]

# Leaves a child in its group, one in a session of its own, and a daemon that was forked twice; all
# of them ignore what can be ignored.
LEAVES = """
import os, signal, subprocess, sys, time
marker = sys.argv[1]
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
nap = [sys.executable, "-c", "import time; time.sleep(600)", marker]
subprocess.Popen(nap)
subprocess.Popen(nap, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        os.execv(nap[0], nap)
    os._exit(0)
os.wait()
print("ready", flush=True)
"""
STAYS = LEAVES + "time.sleep(600)\n"
"""The same, and then does not end either."""


@pytest.fixture
def marker() -> str:
    return f"marker-{uuid.uuid4()}"


@pytest.mark.parametrize("confine", ALL)
@pytest.mark.parametrize("code", [0, 1, 3, 124, 255])
async def test_the_exit_code_is_the_commands(code: int, confine: Confine) -> None:
    ending = (await run(["sh", "-c", f"exit {code}"], confine=confine)).ending
    assert (ending.exit_code, ending.signal, ending.timed_out, ending.stopped) == (
        code,
        None,
        False,
        False,
    )


@pytest.mark.parametrize("confine", ALL)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
async def test_a_signals_exit_code_is_a_shells(number: int, confine: Confine) -> None:
    source = f"import os; os.kill(os.getpid(), {int(number)})"
    ending = (await run_python(source, confine=confine)).ending
    assert (ending.exit_code, ending.signal) == (128 + number, number)


@pytest.mark.parametrize("name", ["no-such-command-anywhere", "/no/such/file", "/etc/passwd/x"])
async def test_a_command_that_is_not_there(name: str) -> None:
    result = await run([name])
    assert result.ending == Ending(127)
    assert result.text(Stream.STDERR)[0].startswith(f"ringfence: {name}: command not found")


async def test_a_command_that_is_not_executable(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo hello\n")
    await _is_not_executable(plain, "not executable")
    await _is_not_executable(tmp_path, "or a folder")
    plain.chmod(0o755)
    await _is_not_executable(plain, "without a #! line")


async def _is_not_executable(path: Path, said: str) -> None:
    result = await run([str(path)])
    assert result.ending == Ending(126)
    assert said in result.text(Stream.STDERR)[0]


async def test_a_script_whose_interpreter_is_missing(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    result = await run([str(script)])
    assert result.ending == Ending(127)
    assert "interpreter" in result.text(Stream.STDERR)[0]


async def test_arguments_that_are_too_long() -> None:
    result = await run(["echo", "x" * 4_000_000])
    assert result.ending == Ending(126)
    assert "too long" in result.text(Stream.STDERR)[0]


async def test_the_path_is_the_commands_own(tmp_path: Path) -> None:
    tool = tmp_path / "my-tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    result = await run(["my-tool"], environment={"PATH": f"/nowhere:{tmp_path}"})
    assert result.text() == ["found"]


@pytest.mark.parametrize("confine", ALL)
async def test_arguments_variables_and_folder_arrive_unchanged(
    tmp_path: Path, confine: Confine
) -> None:
    odd = "a b\t'\"$HOME`*\\ \n\u20ac\udcff"
    source = """
import os, sys
print(ascii(sys.argv[1:]), ascii(sorted(os.environ.items())), os.getcwd(), sep="\\n")
"""
    environment = {"PATH": os.environ["PATH"], "ODD": odd, "PWD": "/old", "LC_CTYPE": "C.UTF-8"}
    folder = tmp_path / "spaced folder"
    folder.mkdir()
    result = await run_python(
        source, odd, "", "--", environment=environment, cwd=folder, confine=confine
    )
    expected = sorted((environment | {"PWD": str(folder)}).items())
    assert result.text() == [ascii([odd, "", "--"]), ascii(expected), str(folder)]


async def test_an_empty_environment_stays_empty() -> None:
    result = await run(["/usr/bin/env"], environment={})
    assert result.text() == []


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ([], {}, "no command"),
        ([""], {}, "no command"),
        ("true", {}, "no command"),
        (["echo", "a\0b"], {}, "NUL"),
        (["true"], {"environment": {"A": "\0"}}, "NUL"),
        (["true"], {"environment": {"A=B": "c"}}, "'='"),
        (["true"], {"cwd": Path("/no/such/folder")}, "not there"),
        (["true"], {"cwd": Path("/etc/passwd")}, "no folder"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    command: list[str], options: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        await run(command, **options)


async def test_the_command_gets_no_file_but_the_standard_three() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    try:
        source = "import os; print(sorted(os.listdir('/proc/self/fd')))"
        result = await run_python(source)
        # The fourth is the listing's own.
        assert result.text() == ["['0', '1', '2', '3']"]
    finally:
        os.close(reading)
        os.close(writing)


async def test_the_command_has_a_session_and_default_signals_of_its_own() -> None:
    source = """
import os, signal
print(os.getsid(0) == os.getpid() == os.getpgrp())
print([n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN])
print(signal.pthread_sigmask(0, []))
"""
    result = await run_python(source)
    # Python itself ignores SIGPIPE (13) and SIGXFSZ (25) when it starts.
    assert result.text() == ["True", "[13, 25]", "set()"]


@pytest.mark.parametrize("confine", ALL)
async def test_the_time_limit_ends_everything(confine: Confine, marker: str) -> None:
    result = await run_python(STAYS, marker, timeout=1.5, grace=0.2, confine=confine)
    assert result.ending.timed_out
    assert result.ending.exit_code == 124
    assert result.ending.signal == signal.SIGKILL
    assert not processes_with(marker)


async def test_the_time_limit_asks_first() -> None:
    source = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("saved"), sys.exit(0)))
print("ready")
time.sleep(600)
"""
    result = await run_python(source, timeout=2, grace=30)
    assert result.text() == ["ready", "saved"]
    assert (result.ending.exit_code, result.ending.timed_out) == (124, True)


@pytest.mark.parametrize("confine", ALL)
async def test_stop_ends_everything(confine: Confine, marker: str) -> None:
    stop = asyncio.Event()

    async def stop_when_ready(_line: Line) -> None:
        stop.set()

    result = await run_python(
        STAYS, marker, stop=stop, grace=0.2, on_output=stop_when_ready, confine=confine
    )
    assert result.ending.stopped
    assert (result.ending.exit_code, result.ending.timed_out) == (137, False)
    assert not processes_with(marker)


async def test_a_run_that_is_stopped_already_does_not_start(tmp_path: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    result = await run(["touch", str(tmp_path / "started")], stop=stop)
    assert result.ending == Ending(143, signal.SIGTERM, stopped=True)
    assert not (tmp_path / "started").exists()


async def test_a_command_that_stopped_itself_is_ended() -> None:
    source = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    result = await run_python(source, timeout=1.5, grace=10)
    assert (result.ending.exit_code, result.ending.signal) == (124, signal.SIGTERM)


@linux_only
@pytest.mark.parametrize("confine", ALL)
async def test_what_a_command_leaves_behind_is_ended(confine: Confine, marker: str) -> None:
    result = await run_python(LEAVES, marker, confine=confine)
    assert (result.text(), result.ending.exit_code) == (["ready"], 0)
    assert not processes_with(marker)


FORKS = """
import os, sys, time
print("ready", flush=True)
while os.getppid():
    if os.fork():
        os._exit(0)
    os.setsid()
"""


@pytest.mark.usefixtures("namespaces")
@linux_only
async def test_a_process_that_forks_without_end_does_not_get_away(marker: str) -> None:
    """No list of processes ever holds it: its namespace does."""
    result = await run_python(FORKS, marker, confine=Confine.REQUIRED)
    assert result.ending.exit_code == 0
    assert not processes_with(marker)


@linux_only
@pytest.mark.parametrize("confine", ALL)
async def test_cancelling_leaves_nothing_behind(confine: Confine, marker: str) -> None:
    ready = asyncio.Event()

    async def on_output(_line: Line) -> None:
        ready.set()

    before = _traces()
    task = asyncio.create_task(
        run_python(STAYS, marker, on_output=on_output, confine=confine, grace=600)
    )
    await asyncio.wait_for(ready.wait(), 30)
    assert processes_with(marker)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not processes_with(marker)
    assert _traces() <= before


@linux_only
async def test_cancelling_at_any_moment_leaves_nothing_behind(marker: str) -> None:
    await run(["true"])
    before = _traces()
    for delay in range(0, 60, 4):
        task = asyncio.create_task(run_python(STAYS, marker, passthrough=False))
        await asyncio.sleep(delay / 1000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not processes_with(marker)
        assert _traces() <= before


@linux_only
async def test_runs_leave_no_file_thread_child_or_handler() -> None:
    await run(["true"])
    before = _traces()
    for confine in Confine:
        if confine is not Confine.REQUIRED:
            await asyncio.gather(
                *(run(["sh", "-c", "echo x; exit 1"], confine=confine) for _ in range(8)),
                run(["no-such-command"], confine=confine),
                run(["sleep", "600"], timeout=0.5, confine=confine),
            )
    with pytest.raises(ZeroDivisionError):
        await run(["echo"], on_output=_fail)
    assert _traces() <= before


async def _fail(_line: Line) -> None:
    raise ZeroDivisionError


def _traces() -> set[tuple[str, object]]:
    """What a run could leave behind in this process, where servers of other tests may live too."""
    tasks = Path("/proc/self/task").iterdir()
    children = {pid for task in tasks for pid in (task / "children").read_text().split()}
    return {
        *(("child", pid) for pid in children),
        *(("file", path.name) for path in Path("/proc/self/fd").iterdir()),
        *(("thread", thread.ident) for thread in threading.enumerate()),
        *(("handler", (number, signal.getsignal(number))) for number in range(1, 32)),
    }


@linux_only
@pytest.mark.parametrize("confine", ALL)
def test_killing_the_engine_ends_everything(engine: Engine, confine: Confine, marker: str) -> None:
    job = engine.start([PYTHON, "-c", STAYS, marker], confine=confine)
    job.ready()
    assert len(processes_with(marker)) >= 3
    job.process.kill()
    job.process.wait()
    wait_until(lambda: not processes_with(marker), "the end of the run's processes")


@linux_only
def test_killing_the_engine_ends_everything_while_a_fork_of_it_lives(
    engine: Engine, marker: str
) -> None:
    """A fork holds a copy of the engine's socket, so its end does not show; the parent's does."""
    job = engine.start([PYTHON, "-c", STAYS, marker], confine=Confine.OFF, fork=True)
    job.ready()
    job.process.kill()
    job.process.wait()
    wait_until(lambda: not processes_with(marker), "the end of the run's processes")


@pytest.mark.usefixtures("namespaces")
@linux_only
async def test_a_launcher_that_is_killed_takes_everything_along(marker: str) -> None:
    async def kill_the_launcher(_line: Line) -> None:
        for pid in _children(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    started = time.monotonic()
    result = await run_python(STAYS, marker, on_output=kill_the_launcher)
    assert (result.ending.exit_code, result.ending.signal) == (137, signal.SIGKILL)
    # The kernel ends the rest; nobody is left to wait for it.
    wait_until(lambda: not processes_with(marker), "the end of the run's processes")
    assert time.monotonic() - started < 60


def _children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_bytes()
        except OSError:
            continue
        if int(stat.rpartition(b")")[2].split()[1]) == pid:
            found.append(int(folder.name))
    return found
