"""The SAS of every mode for a fixed clock, kept byte for byte.

``python -m tests.azure.golden`` writes them anew, after a change that is meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from azure.storage.filedatalake import UserDelegationKey

from ringfence.config import AzureSettings, Buckets
from ringfence.providers.azure.keys import DelegationKeys
from ringfence.providers.azure.provider import AzureProvider
from ringfence.providers.azure.sas import SigningKey
from ringfence.scope import AccessMode, Scope, grants
from ringfence.secret import Secret

HERE: Final = Path(__file__).parent
NOW: Final = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
LIFE: Final = timedelta(hours=1)
BUCKETS: Final = Buckets("golden-meta", "golden-content", "golden-logs")
IDS: Final = ("auth0|app", "someone@example.com", "run 1")
# Of no account: 64 times "k".
KEY: Final = (
    "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2traw=="
)


def delegation_key() -> SigningKey:
    """A user delegation key of nobody."""
    make: Callable[[], UserDelegationKey] = UserDelegationKey
    key = make()
    key.signed_oid = "00000000-0000-4000-8000-000000000001"
    key.signed_tid = "00000000-0000-4000-8000-000000000002"
    key.signed_start, key.signed_expiry = "2026-01-02T02:59:05Z", "2026-01-03T03:04:05Z"
    key.signed_service, key.signed_version = "b", "2024-11-04"
    key.value = KEY
    return SigningKey(key, datetime(2026, 1, 3, 3, 4, 5, tzinfo=UTC))


def provider(*, delegated: bool) -> AzureProvider:
    """A provider whose clock stands still and whose keys are known."""
    made = AzureProvider(
        AzureSettings("goldenaccount", None if delegated else Secret(KEY)),
        BUCKETS,
        credential_ttl=LIFE,
        clock=lambda: NOW,
        fence=lambda: None,
    )
    if delegated:
        keys = DelegationKeys.__new__(DelegationKeys)
        keys.key = lambda until: delegation_key()  # type: ignore[method-assign]
        made.__dict__["_delegation_keys"] = keys
    return made


def document(mode: AccessMode) -> str:
    """Every SAS of a mode, with what it says."""
    app, user, run = IDS
    held = grants(Scope(app, user, run, mode))
    rows = []
    for delegated in (False, True):
        issuing = provider(delegated=delegated)
        for credential, said in zip(
            issuing.issue(held, session="golden"), issuing.plan(held), strict=True
        ):
            rows.append(
                {
                    "area": credential.grants[0].area.value,
                    "permissions": sorted(credential.grants[0].permissions),
                    "says": json.loads(said.text),
                    "sas": credential.fields["sas_token"].reveal().split("&"),
                    "expires_at": credential.expires_at.isoformat(),
                }
            )
    return json.dumps(rows, indent=2) + "\n"


def path(mode: AccessMode) -> Path:
    return HERE / f"{mode.value}.json"


def write() -> None:
    for mode in AccessMode:
        path(mode).write_text(document(mode))
