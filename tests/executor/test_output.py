"""The output of real commands: order, size, speed of the reader, a screen that is gone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta

from ringfence.executor.output import LINE_LIMIT, Line, Stream
from ringfence.executor.process import Confine

from .support import PYTHON, Engine, run, run_python


async def test_lines_come_in_order_with_time_and_stream() -> None:
    before = datetime.now(UTC)
    source = "import sys\nfor i in range(500):\n print(i)\n print(-i, file=sys.stderr)"
    result = await run_python(source)
    assert result.text() == [str(i) for i in range(500)]
    assert result.text(Stream.STDERR) == [str(-i) for i in range(500)]
    times = [line.at for line in result.lines]
    assert times == sorted(times)
    assert before <= times[0] <= times[-1] <= datetime.now(UTC) + timedelta(seconds=1)


async def test_the_last_line_needs_no_line_break() -> None:
    result = await run(["printf", "one\\ntwo"])
    assert result.text() == ["one", "two"]


async def test_a_line_is_handed_on_while_the_command_still_runs() -> None:
    first = asyncio.Event()

    async def seen(_line: Line) -> None:
        first.set()

    source = "import time; print('working'); time.sleep(600)"
    stop = asyncio.Event()
    running = asyncio.create_task(run_python(source, on_output=seen, stop=stop))
    await asyncio.wait_for(first.wait(), 30)
    stop.set()
    assert (await running).ending.stopped


async def test_binary_output_and_no_output() -> None:
    source = "import os; os.write(1, bytes(range(256)))"
    result = await run_python(source)
    whole = bytes(range(256)).replace(b"\n", b"|").decode("utf-8", "backslashreplace")
    assert "|".join(result.text()) == whole
    assert (await run(["true"])).lines == []


async def test_output_closed_early_does_not_end_the_run() -> None:
    result = await run_python("import os; print('x'); os.close(1); os.close(2); os._exit(5)")
    assert (result.text(), result.ending.exit_code) == (["x"], 5)


async def test_a_long_line_comes_in_pieces() -> None:
    result = await run_python("print('z' * 200_000)")
    assert [line.partial for line in result.lines] == [True, True, True, False]
    assert "".join(result.text()) == "z" * 200_000
    assert max(len(text) for text in result.text()) == LINE_LIMIT


async def test_a_slow_reader_slows_the_command_down() -> None:
    """The command can be ahead by what the pipe, one chunk and the screen hold, and no more."""
    source = """
import os, sys, time
os.set_blocking(1, False)
line, written, stuck = b"x" * 1023 + b"\\n", 0, 0
while stuck < 200:
    try:
        written += os.write(1, line)
        stuck = 0
    except BlockingIOError:
        stuck += 1
        time.sleep(0.01)
print(written, file=sys.stderr)
"""
    ahead: list[int] = []
    gate = asyncio.Event()

    async def slow(line: Line) -> None:
        if line.stream is Stream.STDOUT:
            await gate.wait()
        else:
            ahead.append(int(line.text))

    running = asyncio.create_task(run_python(source, on_output=slow))
    await asyncio.sleep(5)
    gate.set()
    result = await running
    assert result.ending.exit_code == 0
    assert 0 < ahead[0] < 1_000_000


def test_huge_output_runs_in_flat_memory(engine: Engine) -> None:
    small = engine.run(["true"], keep=False)["max_rss_kib"]
    lines = engine.run(["seq", "1000000"], keep=False)
    assert lines["lines"] == 1_000_000
    source = "import os\nfor _ in range(4096): os.write(1, b'w' * 65536)"
    line = engine.run([engine.python, "-c", source], keep=False)
    assert line["characters"] == 4096 * 65536
    for result in (lines, line):
        assert result["exit_code"] == 0
        assert result["max_rss_kib"] - small < 16 * 1024


def test_output_is_shown_unchanged_on_both_streams(engine: Engine) -> None:
    source = "import os; os.write(1, b'out\\xff\\r'); os.write(2, b'err\\n')"
    command = [engine.python, "-c", source]
    job = engine.start(command, passthrough=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert job.process.communicate() == (b"out\xff\r", b"err\n")
    assert job.result()["exit_code"] == 0


def test_output_can_be_shown_on_standard_error_alone(engine: Engine) -> None:
    job = engine.start(
        ["sh", "-c", "echo out; sleep 0.2; echo err >&2"],
        passthrough=True,
        output_to_stderr=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert job.process.communicate() == (b"", b"out\nerr\n")


def test_output_is_shown_before_its_line_ends(engine: Engine) -> None:
    source = "import os, time; os.write(1, b'50%'); time.sleep(600)"
    job = engine.start(
        [engine.python, "-c", source], passthrough=True, timeout=3, stdout=subprocess.PIPE
    )
    assert job.process.stdout is not None
    assert os.read(job.process.stdout.fileno(), 100) == b"50%"
    assert job.process.poll() is None
    job.process.stdout.close()
    assert job.result()["output"] == [["stdout", "50%", False]]


def test_a_closed_screen_only_ends_the_showing(engine: Engine) -> None:
    reading, writing = os.pipe()
    job = engine.start(["seq", "50000"], passthrough=True, stdout=writing)
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    result = job.result()
    assert (result["exit_code"], result["lines"]) == (0, 50_000)


def test_a_screen_that_was_never_open(engine: Engine) -> None:
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh"]
    shell = Engine(engine.folder, python=engine.python)
    file = engine.folder / "closed"
    given = {"command": ["seq", "1000"], "result": str(file), "passthrough": True}
    done = subprocess.run(
        [*command, shell.python, "-B", str(engine.folder / "engine.py"), json.dumps(given)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(engine.folder)},
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(file.read_text())["lines"] == 1000


def test_a_screen_that_stands_still_does_not_hold_up_the_end(engine: Engine) -> None:
    reading, writing = os.pipe()
    job = engine.start(["yes"], passthrough=True, stdout=writing, timeout=2, keep=False)
    os.close(writing)
    result = job.result()
    os.close(reading)
    assert result["timed_out"]
    assert 0 < result["lines"] < 1_000_000


def test_a_screen_that_stands_still_holds_the_command_up(engine: Engine) -> None:
    reading, writing = os.pipe()
    job = engine.start(["seq", "300000"], passthrough=True, stdout=writing, keep=False)
    os.close(writing)
    read = 0
    while piece := os.read(reading, 1 << 16):
        read += piece.count(b"\n")
    os.close(reading)
    assert read == 300_000
    assert job.result()["lines"] == 300_000


async def test_a_failing_reader_ends_the_command_and_is_told() -> None:
    class Full(Exception):
        pass

    async def fail(_line: Line) -> None:
        raise Full

    try:
        await run([PYTHON, "-c", "while True: print('x')"], on_output=fail)
    except Full:
        return
    raise AssertionError("the reader's error was lost")


async def test_a_process_elsewhere_that_holds_the_pipe_does_not_hold_up_the_end() -> None:
    """As if one had escaped: here the test itself opens the command's standard output."""
    taken: list[int] = []

    async def take(line: Line) -> None:
        if line.text.isdigit():
            taken.append(os.open(f"/proc/{line.text}/fd/1", os.O_WRONLY))

    source = "import os, time; print(os.getpid()); time.sleep(1); print('last')"
    try:
        result = await run_python(source, on_output=take, confine=Confine.OFF)
        assert result.ending.exit_code == 0
    finally:
        for descriptor in taken:
            os.close(descriptor)
    assert len(taken) == 1
