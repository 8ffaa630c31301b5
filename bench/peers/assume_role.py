"""Assuming the role with boto3, as one would without Ringfence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from bench.context import S3Engine


class RoleAssumer:
    """One client for all threads: boto3's clients are thread-safe."""

    def __init__(self, engine: S3Engine, connections: int = 16) -> None:
        self._role = engine.role_arn
        self._client = boto3.client(
            "sts",
            endpoint_url=engine.sts_endpoint or engine.endpoint,
            region_name=engine.region,
            aws_access_key_id=engine.keys.access_key_id,
            aws_secret_access_key=engine.keys.secret_access_key,
            config=Config(max_pool_connections=connections),
        )

    def assume(self, policy: str) -> object:
        """A session narrowed by ``policy``."""
        answer = self._client.assume_role(
            RoleArn=self._role, RoleSessionName="bench", Policy=policy
        )
        return answer["Credentials"]

    def close(self) -> None:
        """Closes its connections."""
        self._client.close()
