"""``ringfence run``, ``creds`` and ``grants`` on Azure, as their users see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.azure.front import Front
from tests.azure.identity import HEADER, managed_identity
from tests.azure.installation import PRINCIPAL, environment
from tests.e2e.cli import Result, python, ringfence

SCOPE = ("--app", "billing", "--user", "auth0|42")

CHILD = """
import os, sys, json, obstore
from obstore.store import AzureStore
from azure.storage.blob import ContainerClient
import ringfence

assert "AZURE_STORAGE_ACCOUNT_KEY" not in os.environ
fenced = {"allow_http": True}
store = AzureStore(prefix=os.environ["RINGFENCE_APP_PREFIX"], client_options=fenced)
store.put("by the SDK's own variables", b"x")
for area in ("APP", "USER", "TMP", "LOGS"):
    url = os.environ[f"RINGFENCE_{area}_SAS_URL"]
    base, _, sas = url.partition("?")
    bucket = os.environ[f"RINGFENCE_{area}_BUCKET"]
    at = base[: base.index(bucket)] + bucket + "?" + sas
    with ContainerClient.from_container_url(at) as container:
        name = os.environ[f"RINGFENCE_{area}_PREFIX"] + "by URL"
        container.upload_blob(name, b"x", overwrite=True)
logs = os.environ["RINGFENCE_LOGS_AZURE_STORAGE_SAS_TOKEN"]
assert logs != os.environ["AZURE_STORAGE_SAS_TOKEN"]
assert "sp=cw&" in logs
with ringfence.attach() as run:
    run.app.put("attached", b"1")
    run.app.rename("attached", "renamed")
    run.user.put("attached", b"2")
    run.tmp.put("gone", b"3")
    run.tmp.delete("gone")
    url = run.sign("app", "renamed")
    assert "sr=b" in url
    print(json.dumps(sorted(f["path"] for c in run.app.list() for f in c)))
try:
    AzureStore(prefix="apps/other", client_options=fenced).get("x")
except Exception as error:
    assert "403" in str(error), error
else:
    sys.exit("not fenced")
"""


@pytest.fixture
def env(front: Front) -> dict[str, str]:
    return environment(front, key=True)


def done(result: Result) -> Result:
    assert result.code == 0, result.text
    return result


def test_a_run_with_the_tools_of_the_cloud(env: dict[str, str], tmp_path: Path) -> None:
    ran = done(ringfence(env, "run", *SCOPE, "--run-id", "az1", "--", *python(CHILD), cwd=tmp_path))
    names = ["by URL", "by the SDK's own variables", "renamed"]
    assert json.loads(ran.out.splitlines()[-1]) == names
    log = done(ringfence(env, "logs", "az1", cwd=tmp_path))
    assert "renamed" in log.out
    record = done(ringfence(env, "runs", "show", "az1", "--json", cwd=tmp_path)).json
    assert record["status"] == "COMPLETED"
    for text in (ran.text, log.text):
        assert env["AZURE_STORAGE_ACCOUNT_KEY"] not in text
        assert "sig=" not in text


def test_grants_explained(env: dict[str, str], tmp_path: Path) -> None:
    shown = done(ringfence(env, "grants", *SCOPE, "--run", "r", "--explain", cwd=tmp_path))
    assert shown.out.count("Azure directory SAS") == 4
    assert '"sp": "cw"' in shown.out
    assert "logs: enforced exactly" in shown.out
    rows = done(ringfence(env, "grants", *SCOPE, "--explain", "--json", cwd=tmp_path)).json
    said = {row["areas"][0]: row["policy"]["sp"] for row in rows["credentials"]}
    assert said == {"app": "rcwdl", "user": "rcwdl", "tmp": "rcwdl", "logs": "cw"}


def test_credentials_for_use_elsewhere(env: dict[str, str], tmp_path: Path) -> None:
    rows = done(ringfence(env, "creds", *SCOPE, "--format", "json", cwd=tmp_path)).json
    assert [row["areas"] for row in rows] == [["app"], ["user"], ["tmp"], ["logs"]]
    assert all(row["enforcement"][row["areas"][0]] == "exact" for row in rows)
    app = ("creds", *SCOPE, "--area", "app", "--format")
    assert "export AZURE_STORAGE_SAS_TOKEN=" in done(ringfence(env, *app, "env", cwd=tmp_path)).out
    duckdb = done(ringfence(env, *app, "duckdb", cwd=tmp_path)).out
    assert "TYPE azure" in duckdb
    options = done(ringfence(env, *app, "storage-options", cwd=tmp_path)).json
    assert options["azure_storage_account_name"] == env["AZURE_STORAGE_ACCOUNT_NAME"]
    none = ringfence(env, *app, "credential-process", cwd=tmp_path)
    assert (none.code, none.out) == (2, "")
    assert "storage-options" in none.err


def test_a_wrong_key_ends_with_a_sentence(env: dict[str, str], tmp_path: Path) -> None:
    wrong = env | {"AZURE_STORAGE_ACCOUNT_KEY": "QUFBQUFBQUFBQUFB"}
    ended = ringfence(wrong, "creds", *SCOPE, "--format", "json", cwd=tmp_path)
    assert ended.code == 2
    assert "AZURE_STORAGE_ACCOUNT_KEY" in ended.err
    assert "QUFB" not in ended.text


def test_an_account_out_of_reach_ends_with_a_sentence(env: dict[str, str], tmp_path: Path) -> None:
    away = env | {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/ringfence"}
    ended = ringfence(away, "creds", *SCOPE, "--format", "json", cwd=tmp_path)
    assert ended.code == 4
    assert "AZURE_STORAGE_ENDPOINT" in ended.err


def test_a_missing_container_ends_with_a_sentence(env: dict[str, str], tmp_path: Path) -> None:
    missing = env | {"META_BUCKET": "not-there"}
    ended = ringfence(missing, "creds", *SCOPE, "--format", "json", cwd=tmp_path)
    assert ended.code == 2
    assert "not-there does not exist" in ended.err


def test_a_run_of_a_machine_with_an_identity_and_no_key(front: Front, tmp_path: Path) -> None:
    """azure-identity's own chain, a delegation key, and SAS of it; the child has no identity."""
    front.rules.principals[PRINCIPAL.token] = PRINCIPAL
    with managed_identity(PRINCIPAL.token) as (variables, asked):
        env = environment(front, key=False) | variables
        code = CHILD + "\nassert not [n for n in os.environ if n.startswith(('IDENTITY', 'MSI'))]"
        ran = done(
            ringfence(env, "run", *SCOPE, "--run-id", "az2", "--", *python(code), cwd=tmp_path)
        )
        passed = ringfence(
            env, "run", *SCOPE, "--env", "IDENTITY_HEADER", "--", "true", cwd=tmp_path
        )
    assert "https://storage.azure.com" in asked
    assert json.loads(ran.out.splitlines()[-1])
    assert passed.code == 2
    for text in (ran.text, passed.text):
        assert PRINCIPAL.token not in text
        assert HEADER not in text


def test_a_machine_without_an_identity_ends_with_a_sentence(front: Front, tmp_path: Path) -> None:
    env = environment(front, key=False) | {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}
    ended = ringfence(env, "creds", *SCOPE, "--format", "json", cwd=tmp_path)
    assert ended.code == 3
    assert "AZURE_STORAGE_ACCOUNT_KEY is not set" in ended.err
