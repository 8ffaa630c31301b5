"""Nothing secret where others could read it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ringfence import embedded
from ringfence.embedded import certs, keys, statedir
from ringfence.embedded.configfiles import security
from tests.embedded.support import RunningEngine

pytestmark = pytest.mark.engine


@pytest.fixture
def secrets(engine: RunningEngine) -> list[str]:
    """The real values, from the files that hold them."""
    conf = engine.state_dir / "conf"
    found = [v for k, v in json.loads((conf / "keys.json").read_text()).items() if "_id" not in k]
    lines = (conf / "security.toml").read_text().splitlines()
    found += [li[7:-1] for li in lines if li.startswith("key =") and "engine.key" not in li]
    found += [json.loads((conf / "iam.json").read_text())["sts"]["signingKey"]]
    found += (conf / "engine.key").read_text().splitlines()[1:-1]
    assert len(found) > 8
    assert engine.env["AWS_SECRET_ACCESS_KEY"] in found
    return found


def test_every_file_is_private(engine: RunningEngine) -> None:
    seen = 0
    for path in (engine.state_dir, *engine.state_dir.rglob("*")):
        mode = path.lstat()
        assert mode.st_uid == os.geteuid()
        if path.parent != engine.status.data_dir:  # volumes: the folder's own mode hides them
            assert stat.S_IMODE(mode.st_mode) & 0o077 == 0, path
        seen += 1
    assert seen > 30
    assert stat.S_IMODE(engine.status.env_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(engine.state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(engine.status.data_dir.stat().st_mode) == 0o700


def test_private_whatever_the_umask(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys; os.umask(0); "
        "from ringfence.embedded import statedir, keys, configfiles; "
        "state = statedir.locate(pathlib.Path(sys.argv[1])); statedir.prepare(state); "
        "configfiles.write(state, keys.load_or_make(state))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "state")], check=True)
    found = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    assert len(found) > 15
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_file_is_never_readable_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    synced = os.fsync

    def look(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        synced(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    before = os.umask(0)
    try:
        statedir.write_private(tmp_path / "secret", "x")
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_keys_do_not_get_into_a_repository(engine: RunningEngine) -> None:
    assert (engine.state_dir / ".gitignore").read_text() == "*\n"


def test_no_secret_on_a_command_line_or_in_the_engines_environment(
    engine: RunningEngine, secrets: list[str]
) -> None:
    process = Path(f"/proc/{engine.status.pid}")
    arguments = (process / "cmdline").read_text()
    variables = (process / "environ").read_text()
    assert "server" in arguments
    for secret in secrets:
        assert secret not in arguments
        assert secret not in variables
    names = {line.partition("=")[0] for line in variables.split("\0") if line}
    assert names == {"HOME", "PATH", "TMPDIR", "GOMEMLIMIT", "PWD"} - ({"PWD"} - names)


def test_no_secret_in_the_log(engine: RunningEngine, secrets: list[str]) -> None:
    log = engine.status.log_file.read_text()
    assert "S3 API Server" in log
    for secret in secrets:
        assert secret not in log


def test_no_secret_in_what_is_shown(engine: RunningEngine, secrets: list[str]) -> None:
    found = keys.load_or_make(statedir.locate(engine.state_dir))
    shown = [repr(engine.status), repr(embedded.doors(engine.status)), repr(found), str(found)]
    for options in (["status", "--doors"], ["status", "--json"], ["up", "--json"], ["up"]):
        done = subprocess.run(
            [Path(sys.executable).with_name("ringfence"), *options, "--dir", engine.state_dir],
            capture_output=True,
            text=True,
            check=True,
        )
        shown.append(done.stdout + done.stderr)
    for text in shown:
        for secret in secrets:
            assert secret not in text


def test_no_two_installations_share_a_secret(tmp_path: Path) -> None:
    values: list[str] = []
    for name in ("one", "two"):
        state = statedir.locate(tmp_path / name)
        statedir.prepare(state)
        keys.load_or_make(state)
        values += json.loads(state.keys.read_text()).values()
    assert len(set(values)) == len(values) == 10
    assert all(len(value) >= 20 for value in values)
    lines = [line for _ in range(2) for line in security().splitlines() if line.startswith("key")]
    tokens = [line for line in lines if "engine.key" not in line]
    assert len(set(tokens)) == len(tokens) == 8
    assert certs.make().key != certs.make().key


def test_the_authority_can_sign_nothing_more(engine: RunningEngine) -> None:
    """Its key was never written: of two private keys that a certificate takes, one is there."""
    keys_found = [
        path
        for path in engine.state_dir.rglob("*")
        if path.is_file() and path.stat().st_size < 1 << 20 and b"PRIVATE KEY" in path.read_bytes()
    ]
    assert keys_found == [engine.state_dir / "conf" / "engine.key"]
