"""Providers and state stores by name, imported when asked for.

A backend whose packages are missing says which extra to install.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ringfence.config import AwsSettings, ProviderName, Settings, StateBackend
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
        UsageError: this version has no provider for that cloud.
        MissingExtra: its package is not installed.
    """
    ttl: timedelta = settings.credential_ttl
    match settings.cloud:
        case AwsSettings() as aws:
            _need("botocore", f"provider {ProviderName.AWS}", "aws")
            from ringfence.providers.aws import AwsProvider

            return AwsProvider(aws, settings.buckets, credential_ttl=ttl, clock=clock)
        case _:
            raise UsageError(
                f"STORAGE_PROVIDER is {settings.provider.value!r}, which this version cannot open "
                "yet.",
                hint="It opens aws, which includes MinIO, SeaweedFS and any S3 with STS.",
            )


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
            from ringfence.providers.s3_store import open_elsewhere as on_s3

            return on_s3(address, prefix, lease)
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
                bucket=settings.buckets.meta,
                ordered=not _is_express(settings, BucketRole.META),
                clock=clock,
            )


def _is_express(settings: Settings, role: BucketRole) -> bool:
    """Whether a bucket is one of S3 Express, which lists in no order and has no start-after."""
    return isinstance(settings.cloud, AwsSettings) and role in settings.cloud.express


def _url(url: Secret | None, variable: str, example: str) -> Secret:
    if url is None:
        hint = "Or set EXECUTION_STATE_BACKEND=s3, which keeps run records in the meta bucket."
        raise ConfigError((Problem(variable, None, f"a URL like {example}", hint),))
    return url


def _need(module: str, what: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingExtra(
            f"The {what} needs the package {module}, which is not installed.",
            hint=f'Install it: pip install "ringfence[{extra}]".',
        )
