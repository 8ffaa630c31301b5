"""The variables of a fenced execution: its credentials, its places, and how to renew.

``RINGFENCE_WORKSPACE`` is the contract between a runner and :func:`ringfence.attach`; the variables
beside it say the same to a shell script, and the cloud's own names to its SDKs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Protocol

from ringfence.executor.native import by_area
from ringfence.executor.service import as_json
from ringfence.providers.base import Credential, Provider, Renewal
from ringfence.scope import Scope
from ringfence.secret import Secret
from ringfence.vending import Credentials

WORKSPACE_VERSION: Final = 2


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
    folder: Path,
    refreshing: bool = False,
) -> dict[str, str]:
    """Everything that a fenced child gets beyond its harmless variables.

    The cloud's own names hold the first credential, which covers every area unless the cloud needed
    several. Where it did, each other area has the names that are its own behind its name, such as
    ``RINGFENCE_LOGS_AWS_ACCESS_KEY_ID``, and ``RINGFENCE_CREDENTIALS`` holds all of them.

    Args:
        folder: the run's own, for the files that tools read.
    """
    return {
        **_native(provider, credentials, service, refreshing=refreshing),
        **_written(provider, credentials, service, folder),
        "RINGFENCE_APP_ID": scope.app_id,
        "RINGFENCE_USER_ID": scope.user_id,
        "RINGFENCE_RUN_ID": scope.run_id or "",
        "RINGFENCE_MODE": scope.mode.value,
        "RINGFENCE_WORKSPACE": json.dumps(_workspace(provider, credentials, scope, service)),
        "RINGFENCE_CREDENTIALS": json.dumps([as_json(credential) for credential in credentials]),
        "RINGFENCE_CREDENTIALS_TOKEN": service.token.reveal(),
        **_places(provider, credentials),
    }


def _native(
    provider: Provider, credentials: Credentials, service: Service, *, refreshing: bool
) -> dict[str, str]:
    """In the cloud's own names, the first credential's plain and the others' by area."""

    def of(index: int, credential: Credential) -> dict[str, str]:
        if not refreshing:
            return provider.environment(credential)
        at = Renewal(f"{service.url}/container/{index}", service.token)
        return provider.refreshing_environment(credential, at)

    return by_area(credentials, [of(index, each) for index, each in enumerate(credentials)])


def _written(
    provider: Provider, credentials: Credentials, service: Service, folder: Path
) -> dict[str, str]:
    """Writes the files that tools read, and names them in their variables."""
    named: dict[str, str] = {}
    for file in provider.tool_files(credentials, Renewal(service.url, service.token)):
        path = folder / file.name
        path.touch(mode=0o600)
        path.write_text(file.text)
        named[file.variable] = str(path)
    return named


def _places(provider: Provider, credentials: Credentials) -> dict[str, str]:
    """``RINGFENCE_APP_BUCKET``, ``..._PREFIX``, ``..._URL`` and so on for each area."""
    places: dict[str, str] = {}
    for credential in credentials:
        for grant in credential.grants:
            name = f"RINGFENCE_{grant.area.name}"
            places[f"{name}_BUCKET"] = str(provider.address(grant)["bucket"])
            places[f"{name}_PREFIX"] = grant.prefix
            places[f"{name}_URL"] = provider.url(grant)
    return places


def _workspace(
    provider: Provider,
    credentials: Credentials,
    scope: Scope,
    service: Service,
) -> dict[str, Any]:
    return {
        "v": WORKSPACE_VERSION,
        "provider": provider.name,
        "app": scope.app_id,
        "user": scope.user_id,
        "run": scope.run_id,
        "mode": scope.mode.value,
        "service": service.url,
        "areas": {
            grant.area.value: {
                "address": dict(provider.address(grant)),
                "role": grant.bucket.value,
                "prefix": grant.prefix,
                "permissions": sorted(grant.permissions),
                "credential": index,
            }
            for index, credential in enumerate(credentials)
            for grant in credential.grants
        },
    }
