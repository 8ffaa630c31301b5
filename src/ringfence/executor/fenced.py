"""The variables of a fenced execution: its credentials, its places, and how to renew.

``RINGFENCE_WORKSPACE`` is the contract between a runner and :func:`ringfence.attach`; the variables
beside it say the same to a shell script, and the cloud's own names to its SDKs.
"""

from __future__ import annotations

import json
from typing import Any, Final, Protocol

from ringfence.config import Buckets
from ringfence.executor.service import as_json
from ringfence.providers.base import Provider
from ringfence.scope import Scope
from ringfence.secret import Secret
from ringfence.vending import Credentials

WORKSPACE_VERSION: Final = 1


class Service(Protocol):
    """The run's service, as far as the environment names it."""

    @property
    def url(self) -> str: ...
    @property
    def token(self) -> Secret: ...


def fenced_environment(
    provider: Provider,
    credentials: Credentials,
    scope: Scope,
    service: Service,
    *,
    buckets: Buckets,
    refreshing: bool = False,
) -> dict[str, str]:
    """Everything that a fenced child gets beyond its harmless variables.

    The cloud's own names hold the first credential, which covers every area unless the cloud needed
    several; ``RINGFENCE_CREDENTIALS`` holds all of them.
    """
    first = credentials[0]
    native = provider.environment(first)
    if refreshing:
        native = provider.refreshing_environment(f"{service.url}/container/0", service.token)
    return {
        **native,
        "RINGFENCE_APP_ID": scope.app_id,
        "RINGFENCE_USER_ID": scope.user_id,
        "RINGFENCE_RUN_ID": scope.run_id or "",
        "RINGFENCE_MODE": scope.mode.value,
        "RINGFENCE_WORKSPACE": json.dumps(
            _workspace(provider, credentials, scope, service, buckets)
        ),
        "RINGFENCE_CREDENTIALS": json.dumps([as_json(credential) for credential in credentials]),
        "RINGFENCE_CREDENTIALS_TOKEN": service.token.reveal(),
        **_places(provider, credentials, buckets),
    }


def _places(provider: Provider, credentials: Credentials, buckets: Buckets) -> dict[str, str]:
    """``RINGFENCE_APP_BUCKET``, ``..._PREFIX``, ``..._URL`` and so on for each area."""
    places: dict[str, str] = {}
    for credential in credentials:
        for grant in credential.grants:
            name = f"RINGFENCE_{grant.area.name}"
            bucket = buckets.of(grant.bucket)
            places[f"{name}_BUCKET"] = bucket
            places[f"{name}_PREFIX"] = grant.prefix
            places[f"{name}_URL"] = provider.url(grant)
    return places


def _workspace(
    provider: Provider,
    credentials: Credentials,
    scope: Scope,
    service: Service,
    buckets: Buckets,
) -> dict[str, Any]:
    return {
        "v": WORKSPACE_VERSION,
        "provider": provider.name,
        "app": scope.app_id,
        "user": scope.user_id,
        "run": scope.run_id,
        "mode": scope.mode.value,
        "service": service.url,
        "address": dict(provider.address()),
        "areas": {
            grant.area.value: {
                "bucket": buckets.of(grant.bucket),
                "role": grant.bucket.value,
                "prefix": grant.prefix,
                "permissions": sorted(grant.permissions),
                "credential": index,
            }
            for index, credential in enumerate(credentials)
            for grant in credential.grants
        },
    }
