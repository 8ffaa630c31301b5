"""The fence of the embedded engine, tried through the SDKs that executions really use."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from ringfence._registry import open_provider
from ringfence.config import AwsSettings, Settings
from ringfence.scope import Scope, grants
from ringfence.testing.isolation import Client, Expected, attack, neighbours_of, probes
from tests.clients.aio import aio_tenant
from tests.clients.boto import boto_tenant
from tests.clients.obstore_client import ObstoreTenant
from tests.clients.site import Site, is_in_one_bucket, is_plain
from tests.isolation.installation import keys_of
from tests.isolation.s3 import RawOwner
from tests.isolation.wire import Keys, Wire

pytestmark = pytest.mark.engine

Opened = AbstractContextManager[Client]

TENANTS: Final[dict[str, Callable[[Site], Opened]]] = {
    "boto3": boto_tenant,
    "aiobotocore": aio_tenant,
    "obstore": lambda site: nullcontext(ObstoreTenant(site)),
}
LEAST_PROBES: Final = 100


@pytest.mark.parametrize("sdk", TENANTS)
def test_the_sdk_meets_the_fence(engine: Any, sdk: str) -> None:
    settings = Settings.from_env(engine.env)
    assert isinstance(settings.cloud, AwsSettings)
    tag = secrets.token_hex(3)
    scope = Scope(f"{tag}-app1", f"{tag}-user", f"{tag}-run1")
    held = grants(scope, settings.id_case)
    provider = open_provider(settings, lambda: datetime.now(UTC))
    (credential,) = provider.issue(held, session="clients")
    provider.close()
    master = Keys(engine.env["AWS_ACCESS_KEY_ID"], engine.env["AWS_SECRET_ACCESS_KEY"])
    owner = RawOwner(Wire(engine.endpoint, master), settings.buckets)
    site = Site(engine.endpoint, settings.cloud.region, keys_of(credential), settings.buckets)
    near = [each for each in neighbours_of(scope) if each.kind == "app, longer"]
    wanted = [p for p in probes(scope, near, settings.id_case) if is_plain(p)]
    if sdk == "obstore":
        wanted = [p for p in wanted if is_in_one_bucket(p)]
    with TENANTS[sdk](site) as tenant:
        report = attack(tenant, owner, wanted, held)
    report.check()
    assert report.probes >= LEAST_PROBES
    assert report.counts[Expected.ALLOWED]
