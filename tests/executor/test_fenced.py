"""The variables of an execution whose cloud needed several credentials."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from ringfence.config import AwsSettings, Buckets
from ringfence.executor.fenced import fenced_environment
from ringfence.layout import BucketRole
from ringfence.providers.aws.provider import AwsProvider
from ringfence.providers.base import Credential, Enforcement
from ringfence.scope import Area, Grant, Scope, grants
from ringfence.secret import Secret

NOW = datetime.now(UTC)
SCOPE = Scope("app1", "user", "run1")
BUCKETS = Buckets("meta-bucket", "content-bucket", "log-bucket")


@dataclass(frozen=True)
class Service:
    url: str = "http://127.0.0.1:4711"
    token: Secret = field(default_factory=lambda: Secret("run-token"))


def credential(*held: Grant, name: str) -> Credential:
    fields = {
        "access_key_id": Secret(f"ASIA{name}"),
        "secret_access_key": Secret(f"secret-{name}"),
        "token": Secret(f"token-{name}"),
    }
    exact = tuple(Enforcement(grant.area) for grant in held)
    return Credential(held, fields, NOW, NOW + timedelta(hours=1), exact)


def by_bucket() -> tuple[Credential, ...]:
    held = grants(SCOPE)
    content = [grant for grant in held if grant.bucket is BucketRole.CONTENT]
    logs = [grant for grant in held if grant.area is Area.LOGS]
    return credential(*content, name="content"), credential(*logs, name="logs")


@pytest.fixture
def provider() -> AwsProvider:
    settings = AwsSettings(endpoint="http://127.0.0.1:1", use_path_style=True)
    return AwsProvider(settings, BUCKETS, credential_ttl=timedelta(hours=1))


def test_each_area_has_its_own_credential_by_name(provider: AwsProvider, tmp_path: Path) -> None:
    env = fenced_environment(provider, by_bucket(), SCOPE, Service(), folder=tmp_path)
    assert env["AWS_ACCESS_KEY_ID"] == "ASIAcontent"
    assert env["RINGFENCE_LOGS_AWS_ACCESS_KEY_ID"] == "ASIAlogs"
    assert env["RINGFENCE_LOGS_AWS_SECRET_ACCESS_KEY"] == "secret-logs"
    assert env["RINGFENCE_LOGS_AWS_SESSION_TOKEN"] == "token-logs"
    assert "RINGFENCE_LOGS_AWS_REGION" not in env, "what they share is said once"
    assert not [name for name in env if name.startswith("RINGFENCE_APP_AWS_")]
    areas = json.loads(env["RINGFENCE_WORKSPACE"])["areas"]
    assert {area: row["credential"] for area, row in areas.items()} == {
        "app": 0,
        "user": 0,
        "tmp": 0,
        "logs": 1,
    }
    assert areas["logs"]["address"]["bucket"] == env["RINGFENCE_LOGS_BUCKET"] == "log-bucket"


def test_credentials_that_renew_themselves_are_told_apart_too(
    provider: AwsProvider, tmp_path: Path
) -> None:
    env = fenced_environment(
        provider, by_bucket(), SCOPE, Service(), folder=tmp_path, refreshing=True
    )
    uri = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    assert env[uri] == "http://127.0.0.1:4711/container/0"
    assert env[f"RINGFENCE_LOGS_{uri}"] == "http://127.0.0.1:4711/container/1"


def test_profiles_stand_in_a_file_that_holds_no_secret(
    provider: AwsProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = fenced_environment(provider, by_bucket(), SCOPE, Service(), folder=tmp_path)
    file = Path(env["AWS_CONFIG_FILE"])
    assert file.parent == tmp_path
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    assert not [secret for secret in ("secret-", "token-", "run-token") if secret in text]
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert boto3.Session().available_profiles == ["app", "user", "tmp", "logs"]
    for profile, key in {"app": "ASIAcontent", "tmp": "ASIAcontent", "logs": "ASIAlogs"}.items():
        session = boto3.Session(profile_name=profile)
        found = session.get_credentials()
        assert found is not None
        assert found.get_frozen_credentials().access_key == key
        assert session.client("s3").meta.endpoint_url == "http://127.0.0.1:1"


def test_one_credential_needs_no_profiles(provider: AwsProvider, tmp_path: Path) -> None:
    whole = (credential(*grants(SCOPE), name="all"),)
    env = fenced_environment(provider, whole, SCOPE, Service(), folder=tmp_path)
    assert env["AWS_CONFIG_FILE"] == "/dev/null"
    assert list(tmp_path.iterdir()) == []
