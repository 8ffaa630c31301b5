"""Signals that the engine gets while a command runs."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time

import pytest

from ringfence.executor.forwarding import FORWARDED
from ringfence.executor.output import Line
from ringfence.executor.process import Confine

from .support import Engine, run, run_python

TELLS = """
import signal, sys, time
def tell(number, _frame):
    print(signal.Signals(number).name)
    if number == signal.SIGTERM:
        sys.exit(7)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), tell)
print("ready")
while True:
    time.sleep(600)
"""
NAMES = [signal.Signals(number).name for number in FORWARDED]


@pytest.mark.parametrize("confine", [Confine.AUTO, Confine.OFF])
def test_each_signal_is_passed_on_once(engine: Engine, confine: Confine) -> None:
    job = engine.start([engine.python, "-c", TELLS, *NAMES], confine=confine)
    job.ready()
    others = [number for number in FORWARDED if number != signal.SIGTERM]
    for number in others:
        job.process.send_signal(number)
        time.sleep(0.3)
    job.process.send_signal(signal.SIGTERM)
    result = job.result()
    names = [signal.Signals(number).name for number in others]
    assert [text for _, text, _ in result["output"]] == ["ready", *names, "SIGTERM"]
    assert result["forwarded"] == [*others, signal.SIGTERM]
    assert (result["exit_code"], result["stopped"]) == (7, False)


def test_a_signal_reaches_the_whole_group(engine: Engine) -> None:
    command = ["sh", "-c", "trap 'echo shell' INT; python3 -c \"$1\" SIGINT SIGTERM; exit 4", "sh"]
    command[2] = command[2].replace("python3", engine.python)
    job = engine.start([*command, TELLS])
    job.ready()
    job.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    job.process.send_signal(signal.SIGTERM)
    result = job.result()
    assert ["stdout", "SIGINT", False] in result["output"]
    # A shell that was ended by the signal itself has its code; one that outlived it says more.
    assert result["exit_code"] in {4, 143}


def test_a_command_that_minds_no_signal_is_killed_by_the_third_interrupt(engine: Engine) -> None:
    source = """
import signal, time
signal.signal(signal.SIGINT, lambda *_: print("no"))
print("ready")
while True: time.sleep(600)
"""
    job = engine.start([engine.python, "-c", source])
    job.ready()
    for _ in range(3):
        assert job.process.poll() is None
        job.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    result = job.result()
    assert (result["exit_code"], result["signal"], result["stopped"]) == (137, 9, True)
    assert [text for _, text, _ in result["output"]][:3] == ["ready", "no", "no"]


def test_a_terminals_interrupt_reaches_the_command_once(engine: Engine) -> None:
    ours, theirs = os.openpty()
    source = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    leader = engine.folder / "leader"
    start = f"os.execv({engine.python!r}, [{engine.python!r}, *sys.argv[1:]])"
    leader.write_text(f"#!{engine.python}\n{source}; {start}\n")
    leader.chmod(0o755)
    engine.python, python = str(leader), engine.python
    job = engine.start([python, "-c", TELLS, "SIGINT", "SIGTERM"], stdin=theirs, stdout=theirs)
    os.close(theirs)
    job.ready()
    os.write(ours, b"\x03")
    time.sleep(0.5)
    job.process.send_signal(signal.SIGTERM)
    result = job.result()
    os.close(ours)
    assert [text for _, text, _ in result["output"]] == ["ready", "SIGINT", "SIGTERM"]


def test_a_signal_that_is_ignored_stays_ignored(engine: Engine) -> None:
    nohup = engine.folder / "nohup"
    nohup.write_text(f'#!/bin/sh\ntrap "" HUP\nexec {engine.python} "$@"\n')
    nohup.chmod(0o755)
    source = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    quiet = Engine(engine.folder, python=str(nohup))
    result = quiet.run([engine.python, "-c", source])
    assert result["output"] == [["stdout", "True", False]]


def test_signals_to_every_process_of_a_service_leave_the_end_to_the_engine(engine: Engine) -> None:
    """As systemd stops a service: launcher and command get SIGTERM too, at the same time."""
    source = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), print("saved"), sys.exit(0)))
print("ready")
while True: time.sleep(600)
"""
    job = engine.start([engine.python, "-c", source])
    job.ready()
    for pid in _family(job.process.pid):
        os.kill(pid, signal.SIGTERM)
    result = job.result()
    assert result["output"][-1][1] == "saved"
    assert result["exit_code"] == 0


def _family(root: int) -> list[int]:
    table = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    pairs = [tuple(map(int, line.split())) for line in table.stdout.splitlines()]
    found = [root]
    for pid in found:
        found += [child for child, parent in pairs if parent == pid]
    return found


async def test_handlers_are_put_back_also_when_runs_overlap() -> None:
    def mine(_number: int, _frame: object) -> None: ...

    previous = signal.signal(signal.SIGUSR1, mine)
    try:
        first = asyncio.create_task(run(["sleep", "0.5"]))
        second = asyncio.create_task(run(["sleep", "1"]))
        await first
        assert signal.getsignal(signal.SIGUSR1) is not mine
        await second
        assert signal.getsignal(signal.SIGUSR1) is mine
    finally:
        signal.signal(signal.SIGUSR1, previous)


async def test_runs_at_the_same_time_all_get_the_signal() -> None:
    ready = asyncio.Semaphore(0)
    texts: list[str] = []

    async def on_output(line: Line) -> None:
        texts.append(line.text)
        ready.release()

    runs = [
        asyncio.create_task(run_python(TELLS, "SIGUSR1", "SIGTERM", on_output=on_output))
        for _ in range(3)
    ]
    for number in (None, signal.SIGUSR1):
        if number is not None:
            os.kill(os.getpid(), number)
        for _ in runs:
            await asyncio.wait_for(ready.acquire(), 30)
    os.kill(os.getpid(), signal.SIGTERM)
    results = await asyncio.gather(*runs)
    assert texts == ["ready"] * 3 + ["SIGUSR1"] * 3 + ["SIGTERM"] * 3
    assert [result.ending.exit_code for result in results] == [7, 7, 7]


async def test_a_loop_in_another_thread_runs_commands_without_handlers() -> None:
    codes: list[int] = []
    handler = signal.getsignal(signal.SIGINT)

    def work() -> None:
        codes.append(asyncio.run(run(["sh", "-c", "exit 3"])).ending.exit_code)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        assert signal.getsignal(signal.SIGINT) is handler
        await asyncio.sleep(0.01)
    assert codes == [3]


async def test_the_commands_terminal_is_not_its_own() -> None:
    """It has no controlling terminal, so it cannot type into ours (TIOCSTI)."""
    result = await run_python("open('/dev/tty')")
    assert result.ending.exit_code == 1
    assert any("/dev/tty" in line.text for line in result.lines)
