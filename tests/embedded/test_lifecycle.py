"""Starting, stopping and being killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from ringfence import embedded
from ringfence.embedded import (
    Port,
    command,
    configfiles,
    ports,
    process,
    statedir,
)
from ringfence.embedded import engine as engine_module
from ringfence.embedded.ports import grpc_sockets
from ringfence.errors import EngineError, UsageError
from tests.embedded.support import (
    CONTENT,
    OWN,
    START_SECONDS,
    RunningEngine,
    fenced,
    read_env,
    s3,
    signed,
    sts,
)
from tests.ports import free_port

pytestmark = pytest.mark.engine


def up(folder: Path) -> RunningEngine:
    status = embedded.up(folder, timeout=START_SECONDS)
    return RunningEngine(status, read_env(status.env_file))


def cli(*arguments: str | Path) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("ringfence"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=2 * START_SECONDS)
    return child.returncode, out, err


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_ups_at_once_are_one_engine(folder: Path) -> None:
    children = [cli("up", "--dir", folder, "--json", "--timeout", "90") for _ in range(3)]
    answers: list[dict[str, Any]] = []
    for child in children:
        code, out, err = finish(child)
        assert code == 0, err
        answers.append(json.loads(out))
    assert len({answer["pid"] for answer in answers}) == 1
    assert sorted(answer["started"] for answer in answers) == [False, False, True]
    again = embedded.up(folder, timeout=START_SECONDS)
    assert (again.pid, again.started) == (answers[0]["pid"], False)


def test_it_restarts_on_its_data_ports_and_keys(folder: Path) -> None:
    first = up(folder)
    assert first.status.started
    for bucket in embedded.BUCKETS.values():
        assert s3(first).list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3(first).put_object(Bucket=CONTENT, Key="kept/x", Body=b"kept")
    session = fenced(first)
    assert signed(first, session, "PUT", f"/{CONTENT}/{OWN}x", body=b"1").status == 200
    assert embedded.down(folder, timeout=START_SECONDS)
    stopped = embedded.status(folder)
    assert stopped is not None
    assert (stopped.running, stopped.ready, stopped.pid) == (False, False, None)
    assert not any(path.exists() for path in grpc_sockets(stopped.ports).values())
    second = up(folder)
    assert second.env == first.env
    assert second.status.ports == first.status.ports
    assert second.status.pid != first.status.pid
    assert signed(second, session, "GET", f"/{CONTENT}/{OWN}x").body == b"1"
    assert s3(second).get_object(Bucket=CONTENT, Key="kept/x")["Body"].read() == b"kept"


def test_what_was_acknowledged_survives_a_kill(folder: Path) -> None:
    engine = up(folder)
    acknowledged: list[int] = []
    writer = threading.Thread(target=_write, args=(engine, acknowledged))
    writer.start()
    wait_for(lambda: len(acknowledged) > 80)
    assert engine.status.pid is not None
    os.kill(engine.status.pid, signal.SIGKILL)
    writer.join()
    wait_for(lambda: (found := embedded.status(folder)) is not None and not found.running)
    again = up(folder)
    assert again.env == engine.env
    client = s3(again)
    for number in acknowledged:
        body = client.get_object(Bucket=CONTENT, Key=f"kill/{number}")["Body"].read()
        assert body == _body(number)


def _write(engine: RunningEngine, acknowledged: list[int]) -> None:
    client = s3(engine)
    number = 0
    while True:
        try:
            client.put_object(Bucket=CONTENT, Key=f"kill/{number}", Body=_body(number))
        except (BotoCoreError, ClientError):
            return
        acknowledged.append(number)
        number += 1


def _body(number: int) -> bytes:
    return f"object {number} ".encode() * (number % 500 + 1)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with anything."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield child
    child.kill()
    child.wait()


def test_a_stale_process_id_is_no_trap(folder: Path, bystander: subprocess.Popen[bytes]) -> None:
    """The number that a dead engine left may be somebody else's by now."""
    engine = up(folder)
    assert engine.status.pid is not None
    os.kill(engine.status.pid, signal.SIGKILL)
    wait_for(lambda: not process.is_alive(statedir.locate(folder)))
    state = statedir.locate(folder)
    state.pid.write_text(f"{bystander.pid}\n")
    found = embedded.status(folder)
    assert found is not None
    assert (found.running, found.pid) == (False, None)
    assert embedded.down(folder) is False
    process.stop(state, is_quiet=lambda: True, timeout=0)
    assert bystander.poll() is None
    assert up(folder).status.pid not in {bystander.pid, engine.status.pid}
    assert bystander.poll() is None


def test_a_second_installation_is_no_conflict(engine: RunningEngine, folder: Path) -> None:
    other = up(folder)
    assert not set(other.status.ports.values()) & set(engine.status.ports.values())
    assert other.env["AWS_ACCESS_KEY_ID"] != engine.env["AWS_ACCESS_KEY_ID"]
    assert other.env["AWS_SECRET_ACCESS_KEY"] != engine.env["AWS_SECRET_ACCESS_KEY"]
    stranger = sts(engine, other.master, Action="GetCallerIdentity")
    assert stranger.status == 403
    assert sts(other, other.master, Action="GetCallerIdentity").status == 200
    embedded.down(folder, timeout=START_SECONDS)
    assert sts(engine, engine.master, Action="GetCallerIdentity").status == 200


def test_a_taken_s3_port_is_an_error_and_other_ports_are_chosen_anew(folder: Path) -> None:
    first = up(folder)
    s3(first).put_object(Bucket=CONTENT, Key="kept/x", Body=b"kept")
    embedded.down(folder, timeout=START_SECONDS)
    its = first.status.ports
    with listener(its[Port.S3]), pytest.raises(EngineError) as refused:
        embedded.up(folder, timeout=START_SECONDS)
    assert str(its[Port.S3]) in str(refused.value)
    assert "ports.json" in str(refused.value)
    assert not process.is_alive(statedir.locate(folder))
    with listener(its[Port.MASTER]), listener(its[Port.VOLUME]), listener(its[Port.FILER]):
        second = up(folder)
        assert second.env == first.env
        moved = {port for port in Port if second.status.ports[port] != its[port]}
        assert moved == {Port.MASTER, Port.VOLUME, Port.FILER}
        client = s3(second)
        assert client.get_object(Bucket=CONTENT, Key="kept/x")["Body"].read() == b"kept"
        client.put_object(Bucket=CONTENT, Key="kept/y", Body=b"new")
        assert client.list_objects_v2(Bucket=CONTENT, Prefix="kept/")["KeyCount"] == 2


@pytest.mark.parametrize("port", [Port.VOLUME, Port.FILER_GRPC])
def test_an_inner_port_that_is_taken_at_the_last_moment_is_chosen_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, port: Port
) -> None:
    first = up(folder)
    embedded.down(folder, timeout=START_SECONDS)
    number = first.status.ports[port]
    looked = False

    def is_free(asked: int) -> bool:
        nonlocal looked
        before, looked = looked, looked or asked == number
        return really_free(asked) or (asked == number and not before)

    really_free = ports.is_free
    monkeypatch.setattr(ports, "is_free", is_free)
    with listener(number):
        second = up(folder)
    assert second.env == first.env
    assert {each for each in Port if second.status.ports[each] != first.status.ports[each]} == {
        port
    }


def listener(port: int) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


def test_an_up_that_was_killed_half_way_is_finished_by_the_next(folder: Path) -> None:
    child = cli("up", "--dir", folder)
    state = statedir.locate(folder)
    wait_for(lambda: process.is_alive(state) and process.pid_of(state) is not None)
    child.kill()
    finish(child)
    pid = process.pid_of(state)
    assert not state.env.exists()
    engine = up(folder)
    assert (engine.status.pid, engine.status.started) == (pid, False)
    s3(engine).put_object(Bucket=CONTENT, Key="x", Body=b"x")


def test_an_interrupted_up_leaves_nothing_running(folder: Path) -> None:
    child = cli("up", "--dir", folder)
    state = statedir.locate(folder)
    wait_for(lambda: process.is_alive(state) and process.pid_of(state) is not None)
    child.send_signal(signal.SIGINT)
    code, _, err = finish(child)
    assert code == 130
    assert "Traceback" not in err
    assert not process.is_alive(state)


def test_the_engine_is_apart_from_its_caller(engine: RunningEngine) -> None:
    """Ctrl-C in the terminal goes to the caller's group; the engine is in a session of its own."""
    pid = engine.status.pid
    assert pid is not None
    assert os.getsid(pid) != os.getsid(0)
    assert os.getpgid(pid) != os.getpgid(0)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[4]) == 0  # no controlling terminal
    links = [str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in range(3)]
    assert links == ["/dev/null", str(engine.status.log_file), str(engine.status.log_file)]


def test_a_start_that_fails_says_why_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = command.command
    monkeypatch.setattr(command, "command", lambda *a: [*right(*a), "-s3.config=missing.json"])
    with pytest.raises(EngineError) as failed:
        embedded.up(folder, timeout=START_SECONDS)
    assert "missing.json" in str(failed.value)
    assert "engine.log" in str(failed.value)
    assert not process.is_alive(statedir.locate(folder))
    monkeypatch.undo()
    assert up(folder).status.ready


def test_an_engine_that_never_answers_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_answers(*_: object) -> list[str]:
        return ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"]

    monkeypatch.setattr(command, "command", never_answers)
    with pytest.raises(EngineError, match="did not answer in time"):
        embedded.up(folder, timeout=1)
    assert not process.is_alive(statedir.locate(folder))


def test_an_open_door_ends_the_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A master that serves TLS without asking for a certificate: S3 would work, and so would it."""
    right = configfiles.security

    def without_one_lock() -> str:
        lock = '[https.master]\ncert = "engine.crt"\nkey = "engine.key"\nca = "authority.crt"\n'
        assert lock in right()
        return right().replace(lock, lock.replace('ca = "authority.crt"\n', ""))

    monkeypatch.setattr(configfiles, "security", without_one_lock)
    with pytest.raises(EngineError, match=r"engine's master .* answers without keys"):
        embedded.up(folder, timeout=START_SECONDS)
    assert not process.is_alive(statedir.locate(folder))
    assert not (folder / "env").exists()


def test_an_unknown_port_ends_the_engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = free_port()
    right = command.command
    monkeypatch.setattr(command, "command", lambda *a: [*right(*a), f"-metricsPort={number}"])
    with pytest.raises(EngineError, match=f"listens where it should not .*127.0.0.1:{number}"):
        embedded.up(folder, timeout=START_SECONDS)
    assert not process.is_alive(statedir.locate(folder))


def test_little_room_is_refused_in_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "free_bytes", lambda _: 300 << 20)
    with pytest.raises(EngineError, match=r"has 300 MiB left, and the engine needs 512 MiB"):
        embedded.up(folder)
    assert not process.is_alive(statedir.locate(folder))


def test_a_full_disk_is_said(engine: RunningEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    found = embedded.status(engine.state_dir)
    assert found is not None
    assert not found.full
    monkeypatch.setattr(engine_module, "free_bytes", lambda _: 200 << 20)
    found = embedded.status(engine.state_dir)
    assert found is not None
    assert found.full


@pytest.mark.parametrize("there", ["file", "occupied", "below a file", "no such system folder"])
def test_a_folder_that_will_not_do_is_said(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "state"
    if there == "file":
        folder.write_text("x")
    elif there == "occupied":
        folder.mkdir()
        (folder / "thesis.tex").write_text("x")
    elif there == "below a file":
        folder.write_text("x")
        folder /= "state"
    else:
        folder = Path("/proc/ringfence")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((EngineError, UsageError), match="--dir"):
        embedded.up(folder)
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_there_is_no_error(tmp_path: Path) -> None:
    assert embedded.status(tmp_path / "state") is None
    assert embedded.down(tmp_path / "state") is False
    assert not (tmp_path / "state").exists()


def test_a_damaged_file_is_said(folder: Path) -> None:
    state = statedir.locate(folder)
    statedir.prepare(state)
    state.keys.write_text('{"master_id": "AKIA')
    with pytest.raises(EngineError, match=r"keys\.json is damaged"):
        embedded.up(folder)
    state.keys.unlink()
    state.ports.write_text("[]")
    with pytest.raises(EngineError, match=r"ports\.json is damaged"):
        embedded.up(folder)


def test_asking_is_not_in_the_way_of_starting(folder: Path) -> None:
    """`status` holds the engine's lock for a moment while it asks for it."""
    state = statedir.locate(folder)
    statedir.prepare(state)
    stop_asking = threading.Event()

    def ask() -> None:
        while not stop_asking.is_set():
            process.is_alive(state)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        with Path(os.devnull).open("wb") as log:
            for _ in range(5):
                process.spawn(state, ["/bin/sleep", "600"], {"PATH": "/bin"}, log.fileno())
                wait_for(lambda: process.pid_of(state) is not None)
                assert process.is_alive(state)
                process.stop(state, is_quiet=lambda: False, timeout=5)
                assert not process.is_alive(state)
    finally:
        stop_asking.set()
        for asker in askers:
            asker.join()


def test_only_one_command_at_a_time(folder: Path) -> None:
    state = statedir.locate(folder)
    statedir.prepare(state)
    with statedir.locked(state, 1), pytest.raises(EngineError, match="at work"):
        embedded.down(folder, timeout=0.1)
