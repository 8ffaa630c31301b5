"""The Storage Providers page's environments, unchanged: from a file, and as Docker passes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ringfence.config import (
    AwsSettings,
    AzureSettings,
    Buckets,
    GcpSettings,
    ProviderName,
    R2Mint,
    R2Settings,
    Settings,
    StateBackend,
    load_environment,
)
from ringfence.layout import BucketRole
from tests.config import examples
from tests.config.problems import problem

Load = Callable[[str], Mapping[str, str]]

BUCKETS = Buckets("flow-like-meta", "flow-like-content", "flow-like-logs")


def as_docker_passes_it(text: str) -> dict[str, str]:
    """`docker run --env-file`: a line is a comment if it begins with #, and all else is value."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture(params=["file", "docker"])
def load(request: pytest.FixtureRequest, tmp_path: Path) -> Load:
    def from_file(text: str) -> Mapping[str, str]:
        path = tmp_path / "page.env"
        path.write_text(text)
        return load_environment([path], environ={})

    return from_file if request.param == "file" else as_docker_passes_it


def test_aws(load: Load) -> None:
    settings = Settings.from_env(load(examples.PAGE_AWS + examples.PAGE_ROLE))
    assert settings.provider is ProviderName.AWS
    assert settings.buckets == BUCKETS
    assert isinstance(settings.cloud, AwsSettings)
    assert settings.cloud.endpoint is None
    assert settings.cloud.sts_endpoint is None
    assert settings.cloud.access_key_id == "AKIAIOSFODNN7EXAMPLE"
    assert settings.cloud.secret_access_key is not None
    assert settings.cloud.secret_access_key.reveal() == "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert settings.cloud.runtime_role_arn == "arn:aws:iam::123456789012:role/FlowLikeRuntimeRole"
    assert settings.state_backend is StateBackend.POSTGRES
    assert settings.database_url is None


def test_aws_with_express(load: Load) -> None:
    settings = Settings.from_env(load(examples.PAGE_AWS + examples.PAGE_EXPRESS))
    assert settings.buckets.meta == "flow-like-meta--usw2-az1--x-s3"
    assert isinstance(settings.cloud, AwsSettings)
    assert settings.cloud.express == {BucketRole.META}


def test_minio(load: Load) -> None:
    settings = Settings.from_env(load(examples.PAGE_MINIO))
    assert isinstance(settings.cloud, AwsSettings)
    assert settings.cloud.endpoint == settings.cloud.sts_endpoint == "http://minio:9000"
    assert settings.cloud.use_path_style
    assert settings.cloud.runtime_role_arn == "arn:minio:iam:::role/FlowLikeRuntimeRole"


def test_r2_once_the_endpoint_has_an_account(load: Load) -> None:
    text = examples.PAGE_R2.replace("<account-id>", examples.ACCOUNT)
    settings = Settings.from_env(load(text))
    assert settings.buckets == BUCKETS
    assert isinstance(settings.cloud, R2Settings)
    assert settings.cloud.access_key_id == "your-r2-access-key-id"
    assert settings.cloud.mint is R2Mint.API


def test_r2_says_that_its_endpoint_is_still_a_placeholder(load: Load) -> None:
    found = problem(load(examples.PAGE_R2))
    assert found.variable == "R2_ENDPOINT"
    assert "between < and >" in str(found.hint)


def test_azure(load: Load) -> None:
    settings = Settings.from_env(load(examples.PAGE_AZURE))
    assert settings.buckets == BUCKETS
    assert isinstance(settings.cloud, AzureSettings)
    assert settings.cloud.account_name == "yourstorageaccount"
    assert settings.cloud.account_key is not None
    assert settings.cloud.account_key.reveal() == "your-access-key"


def test_gcp_once_the_service_account_is_a_whole_one(load: Load) -> None:
    text = examples.PAGE_GCP.replace(
        '{"type":"service_account","project_id":"..."}', examples.SERVICE_ACCOUNT_JSON
    )
    settings = Settings.from_env(load(text))
    assert settings.buckets == BUCKETS
    assert isinstance(settings.cloud, GcpSettings)
    assert settings.cloud.project_id == "your-project-id"
    assert settings.cloud.service_account_json is not None


def test_gcp_names_what_the_abridged_service_account_lacks(load: Load) -> None:
    found = problem(load(examples.PAGE_GCP))
    assert found.variable == "GOOGLE_APPLICATION_CREDENTIALS_JSON"
    assert found.hint == "Missing: private_key, client_email, token_uri."
