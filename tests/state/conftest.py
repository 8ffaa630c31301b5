"""Stores to test on: in memory, on obstore's memory, in no order, and on the real engine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from obstore.store import S3Store

OpenMeta = Callable[..., "S3Store"]


@pytest.fixture(scope="session")
def open_meta(engine: Any) -> OpenMeta:
    """Opens the engine's meta bucket, directly or through another endpoint."""
    from obstore.store import S3Store

    env = engine.env

    def open_bucket(
        endpoint: str | None = None, bucket: str | None = None, prefix: str | None = None
    ) -> S3Store:
        return S3Store(
            bucket or env["META_BUCKET"],
            prefix=prefix,
            endpoint=endpoint or env["AWS_ENDPOINT"],
            region=env.get("AWS_REGION", "us-east-1"),
            access_key_id=env["AWS_ACCESS_KEY_ID"],
            secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True, "timeout": timedelta(seconds=60)},
            retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=30)},
        )

    return open_bucket
