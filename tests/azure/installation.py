"""An installation on the front, with the account's key or as a principal of Entra ID."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ringfence.config import AzureSettings, Buckets, Settings
from ringfence.layout import IdCase
from ringfence.providers.azure.keys import Token
from ringfence.providers.azure.provider import AzureProvider
from ringfence.providers.base import Clock, Credential, Lease
from ringfence.scope import Grants, Scope, grants
from tests.azure.front import Front, Principal
from tests.azure.wire import Owner, Tenant, owner_of, tenant_of

BUCKETS: Final = Buckets("ringfence-meta", "ringfence-content", "ringfence-logs")
PRINCIPAL: Final = Principal("a-token-of-the-installation")
TTL: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Installation:
    """What the tests need of one."""

    front: Front
    provider: AzureProvider
    env: dict[str, str]
    case: IdCase = IdCase.EXACT
    buckets: Buckets = BUCKETS

    @property
    def owner(self) -> Owner:
        return owner_of(self.front, BUCKETS)

    def issue(self, held: Grants) -> tuple[Credential, ...]:
        return self.provider.issue(held, session="azure")

    def of(self, scope: Scope) -> tuple[Credential, ...]:
        return self.issue(grants(scope, self.case))

    def tenant(self, scope: Scope) -> Tenant:
        return tenant_of(self.front, BUCKETS, self.of(scope))


def lease_of(credential: Credential) -> Callable[[], Lease]:
    """A lease that goes on with one credential to its end."""
    return lambda: Lease(credential, credential.expires_at)


def environment(front: Front, *, key: bool) -> dict[str, str]:
    """The variables of an installation, as its operator sets them."""
    return {
        "STORAGE_PROVIDER": "azure",
        "AZURE_STORAGE_ACCOUNT_NAME": front.azurite.account,
        "AZURE_STORAGE_ENDPOINT": front.endpoint,
        "META_BUCKET": BUCKETS.meta,
        "CONTENT_BUCKET": BUCKETS.content,
        "LOG_BUCKET": BUCKETS.log,
        "EXECUTION_STATE_BACKEND": "s3",
        **({"AZURE_STORAGE_ACCOUNT_KEY": front.azurite.key} if key else {}),
    }


def provider_of(front: Front, *, key: bool, **parts: Any) -> AzureProvider:
    """A provider by those variables."""
    settings = Settings.from_env(environment(front, key=key))
    assert isinstance(settings.cloud, AzureSettings)
    ttl = parts.pop("credential_ttl", TTL)
    return AzureProvider(settings.cloud, settings.buckets, credential_ttl=ttl, **parts)


def by_key(front: Front, **parts: Any) -> Installation:
    return Installation(front, provider_of(front, key=True, **parts), environment(front, key=True))


def by_principal(front: Front, principal: Principal = PRINCIPAL, **parts: Any) -> Installation:
    front.rules.principals[principal.token] = principal
    parts.setdefault("tokens", tokens_of(principal))
    return Installation(
        front, provider_of(front, key=False, **parts), environment(front, key=False)
    )


def tokens_of(
    principal: Principal, clock: Clock = lambda: datetime.now(UTC)
) -> Callable[[], Token]:
    """What azure-identity would give that principal."""
    return lambda: Token(principal.token, clock() + timedelta(hours=1))
