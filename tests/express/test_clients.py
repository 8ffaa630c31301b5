"""The fence through the SDKs that executions use, which make their sessions by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Final

import boto3
import pytest
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.config import Config

from ringfence.layout import BucketRole
from ringfence.scope import Scope
from ringfence.testing.isolation import (
    Answer,
    Client,
    Expected,
    Ground,
    Outcome,
    Probe,
    attack,
    neighbours_of,
    probes,
)
from tests.clients.aio import AioTenant, running_loop
from tests.clients.boto import BotoTenant
from tests.clients.obstore_client import ObstoreTenant
from tests.clients.site import Site, is_in_one_bucket, is_plain
from tests.express.installation import Express
from tests.express.local_aws import REGION, LocalAws, zonal_host
from tests.express.tenant import OPERATIONS, is_asked_for
from tests.isolation.installation import keys_of
from tests.isolation.wire import Keys

pytestmark = pytest.mark.engine

Make = Callable[..., Express]
Doors = dict[BucketRole, str]
TIMEOUT: Final = 20
_NO_SESSION: Final = re.compile(
    rb"CreateSession request: .*403 Forbidden.*<Code>AccessDenied</Code>", re.DOTALL
)


def arguments(keys: Keys, aws: LocalAws, *, tls: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a client of botocore takes: over TLS nothing but keys, a region and the proxy."""
    config = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": TIMEOUT,
        "read_timeout": TIMEOUT,
        "proxies": {"http": aws.url, "https": aws.url},
    }
    made: dict[str, Any] = {
        "region_name": REGION,
        "aws_access_key_id": keys.access,
        "aws_secret_access_key": keys.secret,
        "aws_session_token": keys.token,
        "verify": str(aws.ca),
    }
    if not tls:
        made["use_ssl"] = False
    return config, made


@contextmanager
def by_boto3(keys: Keys, aws: LocalAws, site: Site, *, tls: bool) -> Iterator[Client]:
    config, made = arguments(keys, aws, tls=tls)
    client = boto3.client("s3", config=Config(**config), **made)
    try:
        yield BotoTenant(client, site, OPERATIONS)
    finally:
        client.close()


@contextmanager
def by_aiobotocore(keys: Keys, aws: LocalAws, site: Site, *, tls: bool) -> Iterator[Client]:
    import asyncio

    config, made = arguments(keys, aws, tls=tls)
    with running_loop() as loop:
        context = get_session().create_client("s3", config=AioConfig(**config), **made)

        def wait(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(TIMEOUT)

        client = wait(context.__aenter__())
        try:
            yield AioTenant(client, site, loop, OPERATIONS)
        finally:
            wait(context.__aexit__(None, None, None))


SDKS: Final[dict[str, Callable[..., AbstractContextManager[Client]]]] = {
    "boto3": by_boto3,
    "aiobotocore": by_aiobotocore,
}


def attack_by(
    installation: Express,
    scope: Scope,
    open_client: Callable[..., Any],
    *,
    one_bucket: bool = False,
) -> None:
    credential = installation.credential(scope)
    near = [each for each in neighbours_of(scope) if each.kind == "app, longer"]
    tried = 0
    _, *through = installation.doors(credential)
    for doors, held in through:
        wanted = probes(scope, near, installation.settings.id_case, held=held)
        asked = [p for p in wanted if is_plain(p) and is_asked_for(p)]
        asked = [p for p in asked if is_in_one_bucket(p)] if one_bucket else asked
        with open_client(keys_of(credential), doors) as client:
            report = attack(client, installation.owner, asked, held)
        report.check()
        tried += report.counts[Expected.ALLOWED]
    assert tried > 20


@pytest.mark.parametrize(
    ("sdk", "tls"),
    [
        pytest.param("boto3", True, id="boto3-https"),
        pytest.param("boto3", False, id="boto3-http", marks=pytest.mark.soak),
        pytest.param("aiobotocore", True, id="aiobotocore-https", marks=pytest.mark.soak),
        pytest.param("aiobotocore", False, id="aiobotocore-http"),
    ],
)
def test_sdks_of_aws_meet_the_fence(
    express: Make, scope: Scope, aws: LocalAws, sdk: str, tls: bool
) -> None:
    installation = express("meta content", access_points=True)

    def opened(keys: Keys, doors: Doors) -> AbstractContextManager[Client]:
        return SDKS[sdk](keys, aws, _site(keys, doors), tls=tls)

    attack_by(installation, scope, opened)


def _site(keys: Keys, doors: Doors) -> Site:
    from ringfence.config import Buckets

    buckets = Buckets(*(doors[role] for role in BucketRole))
    return Site("", REGION, keys, buckets, path_style=False)


def test_obstore_meets_the_fence(express: Make, scope: Scope, aws: LocalAws) -> None:
    """The workspaces' own engine: as production opens it, over TLS."""
    installation = express("meta content", access_points=True)

    @contextmanager
    def opened(keys: Keys, doors: Doors) -> Iterator[Client]:
        yield _Obstore(keys, doors, aws)

    attack_by(installation, scope, opened, one_bucket=True)


class _Obstore(ObstoreTenant):
    """With a store for each door, since an Express bucket and a standard one are opened unlike."""

    def __init__(self, keys: Keys, doors: Doors, aws: LocalAws) -> None:
        super().__init__(_site(keys, doors), OPERATIONS)
        self._store = self._opened(keys, doors, aws).__getitem__  # type: ignore[assignment]

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        answer = super().attempt(probe, ground)
        # A HEAD may be refused by the session that comes before it, which has a body.
        if answer.outcome is Outcome.FAILED and _NO_SESSION.search(answer.body):
            return replace(answer, outcome=Outcome.REFUSED)
        return answer

    def _opened(self, keys: Keys, doors: Doors, aws: LocalAws) -> dict[BucketRole, Any]:
        from obstore.store import S3Store

        common: dict[str, Any] = {
            "region": REGION,
            "access_key_id": keys.access,
            "secret_access_key": keys.secret,
            "session_token": keys.token,
            "virtual_hosted_style_request": True,
            "client_options": {"proxy_url": aws.url, "root_certificate": aws.ca.read_bytes()},
            "retry_config": {"max_retries": 0},
        }
        stores: dict[BucketRole, Any] = {}
        for role, name in doors.items():
            express = name.endswith("-s3") and "--" in name
            at = zonal_host(name) if express else f"{name}.s3.{REGION}.amazonaws.com"
            stores[role] = S3Store(name, endpoint=f"https://{at}", s3_express=express, **common)
        return stores
