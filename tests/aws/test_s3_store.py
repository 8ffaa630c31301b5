"""Where a store's requests go."""

from __future__ import annotations

import pytest

from ringfence.providers.s3.store import S3Address, open_s3


def address(region: str, endpoint: str | None = None, *, path_style: bool = False) -> S3Address:
    return S3Address("bucket", region, endpoint, path_style)


@pytest.mark.parametrize(
    ("where", "endpoint"),
    [
        (address("eu-central-1"), "https://bucket.s3.eu-central-1.amazonaws.com"),
        (address("cn-north-1"), "https://bucket.s3.cn-north-1.amazonaws.com.cn"),
        (address("us-east-1", path_style=True), "https://s3.us-east-1.amazonaws.com"),
        (address("x", "https://minio:9000", path_style=True), "https://minio:9000"),
        (address("x", "https://store.example"), "https://bucket.store.example"),
    ],
)
def test_no_endpoint_of_the_environment_is_taken(
    monkeypatch: pytest.MonkeyPatch, where: S3Address, endpoint: str
) -> None:
    """What is signed for AWS goes to AWS, whatever other tools are told."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:7")
    store = open_s3(where, None, lambda: pytest.fail("asked"))
    assert store.config["endpoint"] == endpoint
