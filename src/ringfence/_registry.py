"""Providers and state stores by name, imported when asked for.

A backend whose packages are missing says which extra to install.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ringfence.config import AwsSettings, ProviderName, Settings, StateBackend
from ringfence.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from ringfence.providers.base import Clock, Provider
    from ringfence.state.base import StateStore


def open_provider(settings: Settings, clock: Clock) -> Provider:
    """The provider of the configured cloud.

    Raises:
        UsageError: this version has no provider for that cloud.
        MissingExtra: its package is not installed.
    """
    if not isinstance(settings.cloud, AwsSettings):
        raise UsageError(
            f"STORAGE_PROVIDER is {settings.provider.value!r}, which this version cannot open yet.",
            hint="It opens aws, which includes MinIO, SeaweedFS and any S3 with STS.",
        )
    _need("botocore", ProviderName.AWS, "aws")
    from ringfence.providers.aws import AwsProvider

    ttl: timedelta = settings.credential_ttl
    return AwsProvider(settings.cloud, settings.buckets, credential_ttl=ttl, clock=clock)


def open_state(settings: Settings, meta: ObjectStore) -> StateStore:
    """The configured state store. ``meta`` is opened on the root of the meta bucket.

    Raises:
        UsageError: this version has no such store.
    """
    if settings.state_backend is not StateBackend.S3:
        raise UsageError(
            f"EXECUTION_STATE_BACKEND is {settings.state_backend.value!r}, "
            "which this version does not have yet.",
            hint="Set EXECUTION_STATE_BACKEND=s3 to keep run records in the meta bucket.",
        )
    from ringfence.state.s3 import S3StateStore

    return S3StateStore(meta, id_case=settings.id_case, bucket=settings.buckets.meta)


def _need(module: str, name: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise MissingExtra(
            f"The provider {name} needs the package {module}, which is not installed.",
            hint=f'Install it: pip install "ringfence[{extra}]".',
        )
