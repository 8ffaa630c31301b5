"""Providers and state stores by name, imported when asked for.

A backend whose packages are missing says which extra to install.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

from ringfence.config import (
    AwsSettings,
    AzureSettings,
    GcpSettings,
    ProviderName,
    R2Settings,
    Settings,
    StateBackend,
)
from ringfence.errors import ConfigError, MissingExtra, Problem, UsageError
from ringfence.layout import BucketRole

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import ObjectStore

    from ringfence.providers.base import Address, Clock, CredentialSource, Provider
    from ringfence.secret import Secret
    from ringfence.state.base import StateStore


def open_provider(settings: Settings, clock: Clock) -> Provider:
    """The provider of the configured cloud.

    Raises:
        MissingExtra: its package is not installed.
    """
    ttl: timedelta = settings.credential_ttl
    match settings.cloud:
        case AwsSettings() as aws:
            _need("botocore", f"provider {ProviderName.AWS}", "aws")
            from ringfence.providers.aws.provider import AwsProvider

            return AwsProvider(aws, settings.buckets, credential_ttl=ttl, clock=clock)
        case R2Settings() as r2:
            from ringfence.providers.r2.provider import R2Provider

            return R2Provider(r2, settings.buckets, credential_ttl=ttl, clock=clock)
        case GcpSettings() as gcp:
            _need("google.auth", f"provider {ProviderName.GCP}", "gcp")
            from ringfence.providers.gcp.provider import GcpProvider

            return GcpProvider(gcp, settings.buckets, clock=clock)
        case AzureSettings() as azure:
            _need("azure.storage.filedatalake", f"provider {ProviderName.AZURE}", "azure")
            from ringfence.providers.azure.provider import AzureProvider

            return AzureProvider(azure, settings.buckets, credential_ttl=ttl, clock=clock)
    assert_never(settings.cloud)


def open_elsewhere(
    provider: str, address: Address, prefix: str, lease: CredentialSource
) -> ObjectStore:
    """A store on an area as an execution finds it: by its runner's words alone, no settings.

    Args:
        provider: its name.
        address: what :meth:`ringfence.providers.base.Provider.address` said there.
        prefix: the area's.
        lease: where its credential comes from.

    Raises:
        UsageError: this version does not know that provider.
    """
    match provider:
        case "aws":
            from ringfence.providers.s3.store import open_elsewhere as on_s3

            return on_s3(address, prefix, lease)
        case "r2":
            from ringfence.providers.r2.store import open_elsewhere as on_r2

            return on_r2(address, prefix, lease)
        case "gcp":
            from ringfence.providers.gcp.store import open_elsewhere as on_gcs

            return on_gcs(address, prefix, lease)
        case "azure":
            from ringfence.providers.azure.store import open_elsewhere as on_azure

            return on_azure(address, prefix, lease)
        case _:
            raise UsageError(f"This version cannot attach to the provider {provider!r}.")


def open_state(settings: Settings, meta: Callable[[], ObjectStore], clock: Clock) -> StateStore:
    """The configured state store. It connects when it is first used.

    Args:
        settings: Which one, and where.
        meta: Opens the root of the meta bucket, for the store that lives there.
        clock: The time now, in UTC.

    Raises:
        ConfigError: the URL of the database is missing.
        MissingExtra: its package is not installed.
    """
    match settings.state_backend:
        case StateBackend.POSTGRES:
            url = _url(settings.database_url, "DATABASE_URL", "postgresql://user@host/db")
            _need("asyncpg", "state store postgres", "postgres")
            from ringfence.state.postgres.store import PostgresStateStore

            return PostgresStateStore(url, id_case=settings.id_case, clock=clock)
        case StateBackend.REDIS:
            url = _url(settings.redis_url, "REDIS_URL", "redis://host:6379/0")
            _need("redis", "state store redis", "redis")
            from ringfence.state.redis.store import RedisStateStore

            return RedisStateStore(url, id_case=settings.id_case, clock=clock)
        case StateBackend.S3:
            from ringfence.state.s3 import S3StateStore

            return S3StateStore(
                meta(),
                id_case=settings.id_case,
                bucket=settings.buckets.named(BucketRole.META),
                ordered=_lists_in_order(settings, BucketRole.META),
                clock=clock,
            )


def _lists_in_order(settings: Settings, role: BucketRole) -> bool:
    """Whether a bucket's keys are listed in order, and after one of them where that is asked for.

    S3 Express has neither. On Azure a hierarchical namespace lists directory by directory, and
    object_store asks with ``startFrom``, which not every version of the service reads.
    """
    match settings.cloud:
        case AzureSettings():
            return False
        case AwsSettings() as aws:
            return role not in aws.express
        case _:
            return True


def _url(url: Secret | None, variable: str, example: str) -> Secret:
    if url is None:
        hint = "Or set EXECUTION_STATE_BACKEND=s3, which keeps run records in the meta bucket."
        raise ConfigError((Problem(variable, None, f"a URL like {example}", hint),))
    return url


def _need(module: str, what: str, extra: str) -> None:
    from importlib.util import find_spec

    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it is in
        found = False
    if not found:
        raise MissingExtra(
            f"The {what} needs the package {module}, which is not installed.",
            hint=f'Install it: pip install "ringfence[{extra}]".',
        )
