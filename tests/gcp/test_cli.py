"""The commands on Google Cloud Storage, and what a child's own tools make of its variables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.cli import python, ringfence
from tests.gcp.installation import Installation

GOOGLE_CLIENT = """
import json, os, warnings
warnings.simplefilter("ignore")
import google.auth
from google.api_core.exceptions import Forbidden
from google.cloud import storage

credentials, project = google.auth.default()
client = storage.Client()
bucket = client.bucket(os.environ["RINGFENCE_APP_BUCKET"])
prefix = os.environ["RINGFENCE_APP_PREFIX"]
bucket.blob(prefix + "by-google").upload_from_string(b"hello")
said = {
    "type": type(credentials).__module__,
    "project": project,
    "read": bucket.blob(prefix + "by-google").download_as_bytes().decode(),
    "listed": [blob.name for blob in client.list_blobs(bucket, prefix=prefix)],
}
for name, attempt in {
    "neighbour": lambda: bucket.blob(prefix[:-1] + "0/x").download_as_bytes(),
    "root": lambda: list(client.list_blobs(bucket)),
    "state": lambda: client.bucket(os.environ["META"]).blob("execution/layout.json").exists(),
}.items():
    try:
        said[name] = str(attempt())
    except Forbidden:
        said[name] = "refused"
    except Exception as error:
        said[name] = repr(error)
print(json.dumps(said))
"""

ATTACHED = """
import ringfence
with ringfence.attach() as run:
    run.app.put("by-ringfence", b"hello")
    print(sorted(meta["path"] for page in run.app.list() for meta in page))
    print(run.sign("app", "by-ringfence")[:40])
    try:
        run.logs.get("x")
    except Exception as error:
        print(type(error).__name__)
"""

BY_OBSTORE = """
import os
from obstore.store import GCSStore
store = GCSStore(os.environ["RINGFENCE_APP_BUCKET"], prefix=os.environ["RINGFENCE_APP_PREFIX"],
                 client_options={"allow_http": True})
store.put("by-obstore", b"hello")
print(bytes(store.get("by-obstore").bytes()).decode())
"""


def scope_of(tag: str) -> tuple[str, ...]:
    return ("--app", f"{tag}-app1", "--user", "auth0|42")


def test_googles_own_client_works_in_a_fenced_child(
    gcs: Installation, tag: str, tmp_path: Path
) -> None:
    meta = f"META={gcs.buckets.meta}"
    done = ringfence(
        gcs.env,
        *("run", *scope_of(tag), "-q", "--env", meta, "--", *python(GOOGLE_CLIENT)),
        cwd=tmp_path,
    )
    assert done.code == 0, done.text
    said = json.loads(done.out)
    assert said == {
        "type": "google.auth.identity_pool",
        "project": "acme-project",
        "read": "hello",
        "listed": [f"apps/{tag}-app1/by-google"],
        "neighbour": "refused",
        "root": "refused",
        "state": "refused",
    }
    assert done.err == "", "no remark about the audience, no warning"


@pytest.mark.parametrize("credentials", ["static", "refreshing"])
def test_a_child_attaches(gcs: Installation, tag: str, tmp_path: Path, credentials: str) -> None:
    command = ("run", *scope_of(tag), "-q", "--credentials", credentials)
    done = ringfence(gcs.env, *command, "--", *python(ATTACHED), cwd=tmp_path)
    assert done.code == 0, done.text
    listed, url, refused = done.out.splitlines()
    assert listed == "['by-ringfence']"
    assert url.startswith(gcs.front.url[:40])
    assert refused == "PermissionDeniedError"


def test_obstore_finds_the_token_by_itself(gcs: Installation, tag: str, tmp_path: Path) -> None:
    done = ringfence(gcs.env, "run", *scope_of(tag), "-q", "--", *python(BY_OBSTORE), cwd=tmp_path)
    assert (done.code, done.out) == (0, "hello\n"), done.text


REFRESHED = """
import warnings
from datetime import UTC, datetime, timedelta
warnings.simplefilter("ignore")
import google.auth, google.auth.transport.requests
credentials, _ = google.auth.default()
request = google.auth.transport.requests.Request()
seen = set()
for _ in range(3):
    credentials.refresh(request)
    seen.add(credentials.token)
    left = credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)
    assert credentials.valid and timedelta(minutes=29) < left <= timedelta(hours=1)
print(len(seen), all("downscoped" in token for token in seen))
"""


def test_google_auth_renews_by_itself(gcs: Installation, tag: str, tmp_path: Path) -> None:
    done = ringfence(gcs.env, "run", *scope_of(tag), "-q", "--", *python(REFRESHED), cwd=tmp_path)
    assert (done.code, done.out) == (0, "1 True\n"), done.text


HELD = """
import json, os
named = ("CREDENTIALS", "OVERRIDE")
files = [v for n, v in os.environ.items() if n.endswith(named) and v.startswith("/")]
held = {
    "env": dict(os.environ),
    "files": [open(file).read() for file in files],
    "modes": [oct(os.stat(file).st_mode & 0o777) for file in files],
}
print(json.dumps(held))
"""


def test_a_child_holds_nothing_of_the_installations(
    gcs: Installation, tag: str, tmp_path: Path
) -> None:
    done = ringfence(gcs.env, "run", *scope_of(tag), "-q", "--", *python(HELD), cwd=tmp_path)
    assert done.code == 0, done.text
    seen = json.loads(done.out)
    assert len(seen["files"]) == 2
    assert set(seen["modes"]) == {"0o600"}
    for secret in ("PRIVATE KEY", "ya29.source-", "client_email", gcs.own_token()):
        assert secret not in done.out
    assert "GOOGLE_APPLICATION_CREDENTIALS_JSON" not in seen["env"]
    assert "ya29." not in "".join(seen["files"]), "a file holds the run's token, and no other"


def test_grants_are_explained(gcs: Installation, tag: str, tmp_path: Path) -> None:
    shown = ringfence(gcs.env, "grants", *scope_of(tag), "--explain", cwd=tmp_path)
    assert shown.code == 0, shown.text
    assert "Credential Access Boundary" in shown.out
    assert "roles/storage.objectCreator" in shown.out
    rows = ringfence(gcs.env, "grants", *scope_of(tag), "--explain", "--json", cwd=tmp_path)
    assert rows.code == 0
    assert "exact" in rows.out


def test_credentials_come_in_the_forms_that_there_are(
    gcs: Installation, tag: str, tmp_path: Path
) -> None:
    def creds(form: str, *more: str) -> tuple[int, str, str]:
        done = ringfence(
            gcs.env, "creds", *scope_of(tag), "--run", "r1", "--format", form, *more, cwd=tmp_path
        )
        return done.code, done.out, done.err

    code, out, _ = creds("env")
    assert code == 0
    assert "export GOOGLE_OAUTH_ACCESS_TOKEN=" in out
    code, out, _ = creds("storage-options")
    options = json.loads(out)
    assert options["google_base_url"] == gcs.front.url
    assert options["google_bearer_token"].startswith("ya29.downscoped-")
    code, out, _ = creds("duckdb")
    assert code == 0
    assert out.count("TYPE http, BEARER_TOKEN") == 3, "of the areas that can be read"
    assert f"{gcs.front.url}/{gcs.buckets.content}/apps/{tag}-app1/" in out
    code, _, err = creds("credential-process")
    assert code == 2
    assert "storage-options" in err
    code, out, _ = creds("json")
    (row,) = json.loads(out)
    assert row["urls"]["app"] == f"gs://{gcs.buckets.content}/apps/{tag}-app1/"
    assert set(row["enforcement"].values()) == {"exact"}
