"""The commands on each state backend, chosen by the environment alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import python, ringfence, start, until
from tests.state.postgres.server import PASSWORD, Server, running
from tests.state.redis.servers import Valkey

pytestmark = pytest.mark.engine

SCOPE = ("--app", "billing", "--user", "auth0|42")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"), password="s3cret-s3cret")
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(params=["postgres", "redis"])
def env(request: pytest.FixtureRequest, engine: Any) -> dict[str, str]:
    """The engine's environment, with its state elsewhere."""
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        return {
            **_without_backend(engine.env),  # postgres is the default
            "DATABASE_URL": server.tcp_url(),
        }
    valkey: Valkey = request.getfixturevalue("valkey")
    return {
        **engine.env,
        "EXECUTION_STATE_BACKEND": "redis",
        "REDIS_URL": valkey.url.reveal(),
    }


def _without_backend(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != "EXECUTION_STATE_BACKEND"}


def test_a_run_is_recorded_listed_watched_and_cancelled(
    env: dict[str, str], tmp_path: Path
) -> None:
    code = "import ringfence; ringfence.attach().emit({'n': 1}); print('out')"
    done = ringfence(env, "run", *SCOPE, "--run-id", "b-1", "--", *python(code), cwd=tmp_path)
    assert (done.code, done.out) == (0, "out\n"), done.err
    shown = ringfence(env, "runs", "show", "b-1", "--json", cwd=tmp_path).json
    assert (shown["status"], shown["user_id"]) == ("COMPLETED", "auth0|42")
    assert "b-1" in ringfence(env, "runs", "list", "--app", "billing", cwd=tmp_path).out
    assert '#1  {"n": 1}' in ringfence(env, "runs", "watch", "b-1", cwd=tmp_path).out
    running = start(env, "run", *SCOPE, "--run-id", "b-2", "--", "sleep", "60", cwd=tmp_path)
    until(
        lambda: (
            ringfence(env, "runs", "list", "--app", "billing", "--status", "running", cwd=tmp_path)
            .out.count("b-2")
        ),
        "it runs",
    )  # fmt: skip
    assert ringfence(env, "runs", "cancel", "b-2", cwd=tmp_path).code == 0
    running.communicate(timeout=60)
    assert running.returncode != 0
    shown = ringfence(env, "runs", "show", "b-2", "--json", cwd=tmp_path).json
    assert shown["status"] == "CANCELLED"
    assert ringfence(env, "runs", "reap", "--json", cwd=tmp_path).json["reaped"] == []


def test_no_password_is_shown_or_passed_on(env: dict[str, str], tmp_path: Path) -> None:
    for command in (("config",), ("run", *SCOPE, "--", "env"), ("config", "--json")):
        done = ringfence(env, *command, cwd=tmp_path)
        assert done.code == 0, done.err
        assert PASSWORD not in done.text
        assert "s3cret-s3cret" not in done.text
    name = "REDIS_URL" if "REDIS_URL" in env else "DATABASE_URL"
    wrong = {**env, name: env[name].replace(PASSWORD, "x").replace("s3cret-s3cret", "x")}
    done = ringfence(wrong, "runs", "list", "--app", "billing", cwd=tmp_path)
    assert done.code == 2
    assert name in done.err
    away = {**env, name: env[name].rpartition(":")[0] + ":1/0"}
    done = ringfence(away, "runs", "list", "--app", "billing", cwd=tmp_path)
    assert done.code == 4, done.err
    assert name in done.err
    assert PASSWORD not in done.text


def test_a_backend_without_its_url(engine: Any, tmp_path: Path) -> None:
    env = _without_backend(engine.env)
    done = ringfence(env, "runs", "list", "--app", "billing", cwd=tmp_path)
    assert done.code == 2
    assert "DATABASE_URL is not set" in done.err
    assert "EXECUTION_STATE_BACKEND=s3" in done.err
    # What needs no run records works without them.
    assert ringfence(env, "creds", *SCOPE, "--format", "json", cwd=tmp_path).code == 0
