"""No secret anywhere it should not be: the real values are searched for, not their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringfence import Scope, Settings, Storage
from ringfence.config import secret_values
from tests.e2e.cli import python, ringfence, start, until

pytestmark = pytest.mark.engine

SCOPE = ("--app", "billing", "--user", "auth0|42")


@pytest.fixture
def master_secrets(engine: Any) -> frozenset[str]:
    secrets = secret_values(Settings.from_env(engine.env))
    assert engine.env["AWS_SECRET_ACCESS_KEY"] in secrets
    return secrets


COMMANDS = (
    ("config",),
    ("config", "--json"),
    ("grants", *SCOPE, "--explain"),
    ("grants", *SCOPE, "--explain", "--json"),
    ("runs", "list", "--app", "billing", "--json"),
    ("run", *SCOPE, "--", "env"),
    ("run", *SCOPE, "--json", "--", "true"),
    ("creds", *SCOPE, "--format", "json"),
    ("creds", *SCOPE, "--format", "env"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_no_command_prints_the_installations_secrets(
    engine: Any, tmp_path: Path, master_secrets: frozenset[str], command: tuple[str, ...]
) -> None:
    done = ringfence(engine.env, *command, cwd=tmp_path)
    assert done.code == 0
    assert not [secret for secret in master_secrets if secret in done.text]


@pytest.mark.parametrize(
    "change",
    [
        {"META_BUCKET": "no-such-bucket"},
        {"AWS_ENDPOINT": "http://127.0.0.1:1"},
        {"AWS_ACCESS_KEY_ID": "AKIANOSUCHKEY0000000"},
        {"RUNTIME_ROLE_ARN": "arn:aws:iam::111122223333:role/NoSuchRole"},
        {"RINGFENCE_ID_CASE": "exact"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_no_error_shows_a_secret(
    engine: Any, tmp_path: Path, master_secrets: frozenset[str], change: dict[str, str]
) -> None:
    env = {**engine.env, **change}
    for form in ((), ("--json",)):
        done = ringfence(env, "run", *SCOPE, *form, "--", "true", cwd=tmp_path)
        assert done.code != 0
        assert not [secret for secret in master_secrets if secret in done.text]


async def test_no_object_shows_a_secret(engine: Any, master_secrets: frozenset[str]) -> None:
    async with Storage.from_env(engine.env) as storage:
        credentials = await storage.vend(Scope("billing", "u", "r"))
        workspace = await storage.open(Scope("billing", "u", "r"))
        fenced = {
            part.reveal() for name, part in credentials[0].fields.items() if name != "access_key_id"
        }
        shown = "".join(
            f"{thing!r}{thing!s}"
            for thing in (
                storage,
                storage.settings,
                storage.provider,
                credentials,
                credentials[0].fields,
                workspace,
                workspace.app,
                vars(storage),
                vars(storage.provider),
            )
        )
    assert not [secret for secret in master_secrets | fenced if secret in shown]


def test_a_child_finds_no_secret_of_ours_on_its_machine(
    engine: Any, tmp_path: Path, master_secrets: frozenset[str]
) -> None:
    """Environment, arguments, and whatever /proc shows of every process there is."""
    code = (
        "import pathlib\n"
        "found = []\n"
        "for name in ('environ', 'cmdline', 'maps'):\n"
        "    for path in pathlib.Path('/proc').glob(f'[0-9]*/{name}'):\n"
        "        try: found.append(path.read_bytes().decode('latin-1'))\n"
        "        except OSError: pass\n"
        "print('\\n'.join(found))"
    )
    done = ringfence(engine.env, "run", *SCOPE, "-q", "--", *python(code), cwd=tmp_path)
    assert done.code == 0
    assert "RINGFENCE_RUN_ID" in done.out
    assert not [secret for secret in master_secrets if secret in done.out]


def test_what_holds_keys_is_hidden_or_it_is_said(engine: Any, tmp_path: Path) -> None:
    """The engine's folder whatever its name, other settings files, and the user's own keys."""
    state, home, beside = Path(engine.state_dir), tmp_path / "home", tmp_path / ".env"
    assert state.name != ".ringfence"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws" / "credentials").write_text("a key of the user's")
    beside.write_text("# AWS_SECRET_ACCESS_KEY=another\n")
    files = (state / "env", state / "conf" / "keys.json", home / ".aws/credentials", beside)
    code = (
        "import pathlib, sys\n"
        "for path in map(pathlib.Path, sys.argv[1:]):\n"
        "    try: print(path, len(path.read_bytes()))\n"
        "    except OSError as error: print(path, error.strerror)\n"
    )
    command = (*python(code), *map(str, files))
    done = ringfence(
        {"HOME": str(home)},
        *("run", "--env-file", str(state / "env"), *SCOPE, "--", *command),
        cwd=tmp_path,
    )
    assert done.code == 0
    hidden = "The command can reach what was to be hidden" not in done.err
    for path, found in zip(files, done.out.splitlines(), strict=True):
        size = found.removeprefix(f"{path} ")
        # A hidden file is empty; what is in a hidden folder cannot be opened.
        assert (size in {"0", "Permission denied", "No such file or directory"}) is hidden, found


def test_ps_shows_no_secret_of_a_run(
    engine: Any, tmp_path: Path, master_secrets: frozenset[str]
) -> None:
    running = start(engine.env, "run", *SCOPE, "--", "sleep", "30", cwd=tmp_path)
    try:
        until(lambda: _children(running.pid), "the command runs")
        pids = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
        arguments = b"".join(_read(pid, "cmdline") for pid in pids)
        assert b"sleep" in arguments
        text = arguments.decode("latin-1")
        assert not [secret for secret in master_secrets if secret in text]
    finally:
        running.terminate()
        running.communicate(timeout=60)


def test_no_file_that_others_can_read_holds_a_secret(
    engine: Any, tmp_path: Path, master_secrets: frozenset[str]
) -> None:
    ringfence(engine.env, "run", *SCOPE, "--", "true", cwd=tmp_path)
    looked = 0
    for root in (Path(engine.state_dir), tmp_path):
        for path in root.rglob("*"):
            if path.is_file() and path.stat().st_size < 10_000_000:
                looked += 1
                held = path.read_bytes().decode("latin-1")
                if any(secret in held for secret in master_secrets):
                    assert path.stat().st_mode & 0o077 == 0, path
    assert looked


def _children(pid: int) -> bytes:
    return _read(str(pid), f"task/{pid}/children")


def _read(pid: str, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
