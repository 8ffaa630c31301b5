"""A tenant through boto3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from ringfence.testing.isolation import Answer, Ground, Operation, Probe
from tests.clients import calls
from tests.clients.site import TIMEOUT_SECONDS, Site

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class BotoTenant:
    """A fenced session. boto3's clients are thread-safe."""

    def __init__(
        self,
        client: S3Client,
        site: Site,
        operations: frozenset[Operation] = frozenset(Operation),
    ) -> None:
        self.name = "boto3"
        self.operations = operations
        self._client = client
        self._site = site

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        method, params = calls.call(probe, ground, self._site.bucket)
        try:
            response: Any = getattr(self._client, method)(**params)
            body = response["Body"].read() if "Body" in response else b""
        except ClientError as error:
            return calls.raised(probe, error)
        return calls.done(probe, response, body)


def config(site: Site, **more: Any) -> dict[str, Any]:
    """botocore's settings for a site: nothing tried again, so that a probe is one request."""
    style = "path" if site.path_style else "virtual"
    return {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": TIMEOUT_SECONDS,
        "read_timeout": TIMEOUT_SECONDS,
        "max_pool_connections": 16,
        "s3": {"addressing_style": style, **site.s3_options},
        "proxies": {},
        **more,
    }


def client_arguments(site: Site) -> dict[str, Any]:
    """What a client of botocore takes besides its configuration."""
    return {
        "endpoint_url": site.endpoint,
        "region_name": site.region,
        "aws_access_key_id": site.keys.access,
        "aws_secret_access_key": site.keys.secret,
        "aws_session_token": site.keys.token,
        "verify": str(site.ca) if site.ca else None,
    }


@contextmanager
def boto_client(site: Site) -> Iterator[S3Client]:
    """A client with the keys of a site."""
    client: S3Client = boto3.client("s3", config=Config(**config(site)), **client_arguments(site))
    try:
        yield client
    finally:
        client.close()


@contextmanager
def boto_tenant(
    site: Site, operations: frozenset[Operation] = frozenset(Operation)
) -> Iterator[BotoTenant]:
    """A tenant with the keys of a site."""
    with boto_client(site) as client:
        yield BotoTenant(client, site, operations)
