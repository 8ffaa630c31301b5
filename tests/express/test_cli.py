"""The command line on S3 Express: processes of their own, which reach AWS by way of the double."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ringfence.scope import Scope
from tests.e2e.cli import ringfence
from tests.express.installation import Express
from tests.express.local_aws import EXPRESS, STANDARD

pytestmark = pytest.mark.engine

Make = Callable[..., Express]

CHILD = """
import json, os, boto3
import ringfence
from obstore.store import S3Store

with ringfence.attach() as run:
    run.app.put("from-attach.txt", b"attached")
    print("attached", bytes(run.app.get("from-attach.txt").bytes()).decode())
    print("listed", [row["path"] for page in run.app.list() for row in page])
    run.log.info("logged")

s3 = boto3.client("s3")
bucket, prefix = os.environ["RINGFENCE_APP_BUCKET"], os.environ["RINGFENCE_APP_PREFIX"]
print("read", s3.get_object(Bucket=bucket, Key=prefix + "from-attach.txt")["Body"].read().decode())
for name, key in ((os.environ["BUCKET"], prefix + "from-attach.txt"), (bucket, "apps/other/x")):
    try:
        s3.get_object(Bucket=name, Key=key)
    except Exception as error:
        print("refused", name == bucket, error.response["Error"]["Code"])
"""


def where(installation: Express) -> dict[str, str]:
    return {**installation.env, **installation.aws.proxied()}


def passed(installation: Express) -> tuple[str, ...]:
    """A child inherits no proxy: their URLs may hold passwords. The certificates it does."""
    return (
        *("--env", f"HTTPS_PROXY={installation.aws.url}"),
        *("--env", f"AWS_CA_BUNDLE={installation.aws.ca}"),
        *("--env", f"BUCKET={EXPRESS.content}"),
    )


def test_a_run_on_access_points(express: Make, scope: Scope, tmp_path: Path) -> None:
    installation = express("meta content", access_points=True)
    who = ("--app", scope.app_id, "--user", scope.user_id)
    command = ("--", sys.executable, "-c", CHILD)
    done = ringfence(
        where(installation), "run", *who, *passed(installation), *command, cwd=tmp_path
    )
    assert done.code == 0, done.text
    assert "attached attached" in done.out
    assert "listed ['from-attach.txt']" in done.out
    assert "read attached" in done.out
    assert "refused False AccessDenied" in done.out, "the bucket itself"
    assert "refused True AccessDenied" in done.out, "a neighbour through the access point"
    runs = ringfence(
        where(installation), "runs", "list", "--app", scope.app_id, "--json", cwd=tmp_path
    )
    (row,) = runs.json["runs"]
    log = ringfence(where(installation), "logs", row["id"], cwd=tmp_path)
    assert "logged" in log.out, log.text


def test_explain_says_what_express_fences(express: Make, scope: Scope, tmp_path: Path) -> None:
    who = ("--app", scope.app_id, "--user", scope.user_id)
    points = express("meta content", access_points=True)
    told = ringfence(where(points), "grants", *who, "--explain", "--json", cwd=tmp_path)
    (row,) = told.json["credentials"]
    assert set(row["enforcement"].values()) == {"exact"}
    assert ":accesspoint/" in json.dumps(row["policy"])
    assert EXPRESS.content not in json.dumps(row["policy"])
    shared = express("content", shared=True)
    told = ringfence(where(shared), "grants", *who, "--explain", cwd=tmp_path)
    assert f"app: bucket-wide: all objects of {EXPRESS.content}" in told.out
    assert "logs: enforced exactly" in told.out
    refused = ringfence(where(express("content")), "grants", *who, "--explain", cwd=tmp_path)
    assert refused.code == 3
    assert "S3 Express One Zone, whose fence is the whole bucket" in refused.err


def test_creds_on_express(express: Make, scope: Scope, tmp_path: Path) -> None:
    installation = express("meta content", access_points=True)
    who = ("--app", scope.app_id, "--user", scope.user_id)
    told = ringfence(where(installation), "creds", *who, "--format", "json", cwd=tmp_path)
    (row,) = told.json
    assert row["urls"]["app"].startswith("s3://rf")
    assert "--xa-s3/apps/" in row["urls"]["app"]
    assert row["urls"]["logs"].startswith(f"s3://{STANDARD.log}/")
    assert "AWS_S3_EXPRESS" not in row["environment"], "it would not hold for the logs"
    assert "AWS_ENDPOINT" not in row["environment"]
    edit = (*who, "--mode", "edit_app")
    told = ringfence(
        where(installation), "creds", *edit, "--format", "storage-options", cwd=tmp_path
    )
    assert told.json["aws_s3_express"] == "true"
    duckdb = ringfence(where(installation), "creds", *edit, "--format", "duckdb", cwd=tmp_path)
    assert duckdb.code == 2
    assert "DuckDB cannot open" in duckdb.err
    process = ringfence(
        where(installation), "creds", *who, "--format", "credential-process", cwd=tmp_path
    )
    assert process.json["SessionToken"]
