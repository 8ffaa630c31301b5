"""``ringfence run``, ``creds`` and ``grants`` on R2, where a scope needs several credentials."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

import pytest

from ringfence.layout import BucketRole
from ringfence.scope import AccessMode
from tests.e2e.cli import Result, environment, python, ringfence
from tests.isolation.wire import Keys
from tests.r2.installation import API_TOKEN, PARENT_KEY, PARENT_SECRET, R2Installation, Tls

pytestmark = pytest.mark.engine

mints = pytest.mark.parametrize("installation", ["local", "by_api"], indirect=True)

WORK: Final = """
import os, boto3, ringfence
from botocore.exceptions import ClientError

def place(area):
    return os.environ[f"RINGFENCE_{area}_BUCKET"], os.environ[f"RINGFENCE_{area}_PREFIX"]

def refused(call, **more):
    try:
        call(**more)
    except ClientError as error:
        return error.response["Error"]["Code"] == "AccessDenied"

bucket, prefix = place("APP")
own = boto3.client("s3")
own.put_object(Bucket=bucket, Key=prefix + "plain", Body=b"by the usual variables")
log_bucket, log_prefix = place("LOGS")
assert refused(own.put_object, Bucket=log_bucket, Key=log_prefix + "x", Body=b"x")
assert refused(own.get_object, Bucket=bucket, Key=prefix[:-1] + "0/canary")

for area in ("app", "user", "tmp"):
    at, below = place(area.upper())
    s3 = boto3.Session(profile_name=area).client("s3")
    s3.put_object(Bucket=at, Key=below + "by-profile", Body=b"x")
    assert s3.list_objects_v2(Bucket=at, Prefix=below)["KeyCount"] > 0
logs = boto3.Session(profile_name="logs").client("s3")
logs.put_object(Bucket=log_bucket, Key=log_prefix + "by-profile", Body=b"x")

named = {name: os.environ["RINGFENCE_LOGS_AWS_" + name]
         for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")}
by_name = boto3.client("s3", aws_access_key_id=named["ACCESS_KEY_ID"],
                       aws_secret_access_key=named["SECRET_ACCESS_KEY"],
                       aws_session_token=named["SESSION_TOKEN"])
by_name.put_object(Bucket=log_bucket, Key=log_prefix + "by-name", Body=b"x")
assert refused(by_name.put_object, Bucket=bucket, Key=prefix + "x", Body=b"x")

with ringfence.attach() as here:
    here.app.put("attached", b"x")
    here.logs.put("attached", b"x")
    here.log.info("worked", areas=sorted(area.value for area in here.areas))
    assert "security-token" not in here.sign("app", "attached").lower()
    assert len(here.app.list().collect()) == 3
print("done")
"""


RENEWING: Final = """
import os, boto3
assert "AWS_SESSION_TOKEN" not in os.environ

def put(area):
    place = {"Bucket": os.environ[f"RINGFENCE_{area}_BUCKET"]}
    place["Key"] = os.environ[f"RINGFENCE_{area}_PREFIX"] + "renewing"
    boto3.Session().client("s3").put_object(**place, Body=b"x")

source = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
put("APP")
os.environ[source] = os.environ["RINGFENCE_LOGS_" + source]
put("LOGS")
print("done")
"""


def on(installation: R2Installation, *args: str, cwd: Path, **more: str) -> Result:
    return ringfence(installation.env | more, *args, cwd=cwd)


@mints
def test_a_command_uses_each_areas_credential_in_every_way(
    installation: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-app", "--user", "auth0|42")
    command = python(WORK)
    done = on(installation, "run", *scope, "--run-id", f"{tag}-1", "--", *command, cwd=tmp_path)
    assert (done.code, done.out) == (0, "done\n"), done.err
    log = on(installation, "logs", f"{tag}-1", "--json", cwd=tmp_path)
    lines = [json.loads(line) for line in log.out.splitlines()]
    assert {line["text"] for line in lines} == {"worked", "done"}
    keys = installation.owner.under(BucketRole.LOG, f"runs/{tag}-app/{tag}-1/")
    names = {key.rpartition("/")[2] for key in keys}
    assert {"by-profile", "by-name", "attached"} <= names


@mints
def test_a_command_renews_each_credential(
    installation: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-app", "--user", "u", "--credentials", "refreshing", "--quiet")
    done = on(installation, "run", *scope, "--", *python(RENEWING), cwd=tmp_path)
    assert (done.code, done.out) == (0, "done\n"), done.err


def test_a_command_works_over_tls(
    api_over_tls: R2Installation, tls: Tls, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-app", "--user", "auth0|42", "--quiet")
    trusted = {"SSL_CERT_FILE": str(tls.ca), "REQUESTS_CA_BUNDLE": str(tls.ca)}
    done = on(api_over_tls, "run", *scope, "--", *python(WORK), cwd=tmp_path, **trusted)
    assert (done.code, done.out) == (0, "done\n"), done.err


@mints
def test_a_command_sees_nothing_of_the_installations(
    installation: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-app", "--user", "u")
    done = on(installation, "run", *scope, "--", "env", cwd=tmp_path)
    assert done.code == 0
    assert PARENT_SECRET not in done.text
    assert API_TOKEN not in done.text
    # Signed here, a session has its parent's id; of the API, an id of its own.
    assert (PARENT_KEY in done.out) == (installation.env["RINGFENCE_R2_MINT"] == "local")
    names = {line.partition("=")[0] for line in done.out.splitlines()}
    assert not {name for name in names if name.startswith("R2_")}
    assert {"AWS_SESSION_TOKEN", "RINGFENCE_LOGS_AWS_SESSION_TOKEN"} <= names
    assert {"RINGFENCE_LOGS_AWS_ACCESS_KEY_ID", "RINGFENCE_LOGS_AWS_SECRET_ACCESS_KEY"} <= names


def test_two_credentials_on_one_bucket_have_names_of_their_own(
    local: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-app", "--user", "u", "--mode", "invoke_read")
    done = on(local, "run", *scope, "--", "env", cwd=tmp_path)
    names = {line.partition("=")[0] for line in done.out.splitlines()}
    for area in ("USER", "TMP", "LOGS"):
        assert f"RINGFENCE_{area}_AWS_SESSION_TOKEN" in names
    assert "RINGFENCE_APP_AWS_SESSION_TOKEN" not in names, "the first one is in the usual names"


# --- creds -----------------------------------------------------------------------------------


def sourced(text: str) -> dict[str, str]:
    """The variables that a shell has after ``eval``."""
    script = f"{text}\nenv -0"
    done = subprocess.run(
        ["/bin/sh", "-c", script], env=environment({}), capture_output=True, check=True, timeout=30
    )
    pairs = (part.partition(b"=") for part in done.stdout.split(b"\0") if part)
    return {name.decode(): value.decode() for name, _, value in pairs}


def keys_in(env: dict[str, str], before: str = "") -> Keys:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return Keys(*(env[f"{before}{name}"] for name in names))


def put(installation: R2Installation, keys: Keys, bucket: str, key: str) -> int:
    return installation.wire(keys).send("PUT", f"/{bucket}/{key}", b"x").status


@mints
def test_creds_for_a_shell_have_all_areas(
    installation: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u", "--run", "r")
    env = sourced(on(installation, "creds", *scope, cwd=tmp_path).out)
    content, logs = keys_in(env), keys_in(env, "RINGFENCE_LOGS_")
    buckets = installation.buckets
    assert put(installation, content, buckets.content, f"apps/{tag}-a/x") == 200
    assert put(installation, logs, buckets.log, f"runs/{tag}-a/r/x") == 200
    assert put(installation, content, buckets.log, f"runs/{tag}-a/r/x") == 403
    assert put(installation, logs, buckets.content, f"apps/{tag}-a/x") == 403
    assert put(installation, content, buckets.content, f"apps/{tag}-a0/x") == 403


def test_creds_for_one_area_are_in_the_usual_names(
    local: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u", "--run", "r")
    env = sourced(on(local, "creds", *scope, "--area", "logs", cwd=tmp_path).out)
    assert put(local, keys_in(env), local.buckets.log, f"runs/{tag}-a/r/x") == 200
    assert not any(name.startswith("RINGFENCE_") for name in env)
    beyond = on(local, "creds", *scope, "--area", "meta", cwd=tmp_path)
    assert beyond.code == 2
    assert "app, user, tmp, logs" in beyond.err
    assert on(local, "creds", *scope, "--area", "attic", cwd=tmp_path).code == 2


def test_creds_for_duckdb_have_a_secret_for_each_area(
    by_api: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u", "--run", "r")
    lines = on(by_api, "creds", *scope, "--format", "duckdb", cwd=tmp_path).out.splitlines()
    assert [line.split()[4] for line in lines] == [
        f"ringfence_{area}" for area in ("app", "user", "tmp", "logs")
    ]
    content, log = by_api.buckets.content, by_api.buckets.log
    places = (f"{content}/apps", f"{content}/users", f"{content}/tmp", f"{log}/runs")
    for line, place in zip(lines, places, strict=True):
        assert f"SCOPE 's3://{place}/" in line
    tokens = {line.split("SESSION_TOKEN ")[1].split(",")[0] for line in lines}
    assert len(tokens) == 2


@pytest.mark.parametrize("form", ["storage-options", "credential-process"])
def test_creds_that_hold_one_credential_ask_which(
    local: R2Installation, tag: str, tmp_path: Path, form: str
) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u", "--format", form)
    asked = on(local, "creds", *scope, cwd=tmp_path)
    assert asked.code == 2
    assert "needs 2" in asked.err
    assert "--area" in asked.err
    assert asked.out == ""
    given = on(local, "creds", *scope, "--area", "user", cwd=tmp_path).json
    token = given.get("SessionToken") or given["aws_session_token"]
    assert token
    if form == "storage-options":
        assert given["aws_endpoint"] == local.front.endpoint
        assert given["aws_region"] == "auto"


def test_creds_as_json_say_how_exactly_each_is_held(
    by_api: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u", "--run", "r", "--json")
    content, logs = on(by_api, "creds", *scope, cwd=tmp_path).json
    assert content["areas"] == ["app", "user", "tmp"]
    assert set(content["enforcement"].values()) == {"exact"}
    assert "may also read, delete and list" in logs["enforcement"]["logs"]


# --- grants ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", AccessMode)
def test_grants_explain_without_the_network(
    by_api: R2Installation, local: R2Installation, tag: str, tmp_path: Path, mode: AccessMode
) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u", "--mode", mode, "--explain", "--json")
    before = len(by_api.api.calls)
    plans = {
        at.env["RINGFENCE_R2_MINT"]: on(at, "grants", *scope, cwd=tmp_path).json["credentials"]
        for at in (local, by_api)
    }
    assert len(by_api.api.calls) == before
    for claims, request in zip(plans["local"], plans["api"], strict=True):
        assert claims["areas"] == request["areas"]
        assert claims["policy"]["paths"]["prefixPaths"] == request["policy"]["prefixes"]
        assert claims["policy"]["bucket"] == request["policy"]["bucket"]
        assert set(claims["enforcement"].values()) == {"exact"}
        assert request["policy"]["permission"] in {"object-read-only", "object-read-write"}


def test_grants_explain_for_a_person(by_api: R2Installation, tag: str, tmp_path: Path) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u", "--explain")
    shown = on(by_api, "grants", *scope, cwd=tmp_path)
    assert "Credential 1 of 2, for app, user, tmp: Cloudflare R2" in shown.out
    assert '"permission": "object-read-write"' in shown.out
    assert "app: enforced exactly" in shown.out
    assert "logs: Cloudflare's API has no permissions but" in shown.out
    assert "RINGFENCE_STRICT" not in shown.out
    assert PARENT_SECRET not in shown.text


def test_grants_explain_says_what_strict_refuses(
    by_api: R2Installation, local: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u")
    explain = ("grants", *scope, "--explain")
    strict = {"RINGFENCE_STRICT": "true"}
    shown = on(by_api, *explain, cwd=tmp_path, **strict)
    assert shown.code == 0
    assert (
        "RINGFENCE_STRICT is set: no credential is issued for this scope, since logs" in shown.out
    )
    assert "logs" in on(by_api, *explain, "--json", cwd=tmp_path, **strict).json["refused"]
    assert on(local, *explain, "--json", cwd=tmp_path, **strict).json["refused"] is None
    refused = on(by_api, "creds", *scope, cwd=tmp_path, **strict)
    assert refused.code == 3
    assert "RINGFENCE_STRICT is set" in refused.err


def test_what_is_wrong_with_the_api_is_said(
    by_api: R2Installation, tag: str, tmp_path: Path
) -> None:
    scope = ("--app", f"{tag}-a", "--user", "u")
    done = on(by_api, "creds", *scope, cwd=tmp_path, R2_API_TOKEN="nobodys")
    assert done.code == 3
    assert "R2_API_TOKEN" in done.err
    assert "nobodys" not in done.text
