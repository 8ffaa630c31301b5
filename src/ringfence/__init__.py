"""Storage for multi-tenant workflow engines: every execution fenced to its own prefixes.

The public names, and nothing else. Each is imported when it is first asked for, so that
``import ringfence`` costs next to nothing and loads no cloud SDK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringfence.attached import Attached, attach
    from ringfence.config import Settings
    from ringfence.errors import (
        AccessDenied,
        BucketMissing,
        ConfigError,
        CredentialExpired,
        EngineError,
        GrantNotEnforceable,
        InvalidId,
        IssueRefused,
        LayoutMismatch,
        MissingExtra,
        Problem,
        Refused,
        RegionMismatch,
        RingfenceError,
        RunCancelled,
        RunExists,
        RunNotFound,
        StateConflict,
        StorageUnreachable,
        UsageError,
    )
    from ringfence.layout import BucketRole, IdCase, encode_id
    from ringfence.providers.base import Credential, Enforcement
    from ringfence.running import Run
    from ringfence.scope import AccessMode, Area, Grant, Permission, Scope, grants
    from ringfence.secret import Secret
    from ringfence.state.record import RunRecord, RunStatus
    from ringfence.storage import Storage
    from ringfence.workspace import Workspace

_HOME = {
    "ringfence.attached": ("Attached", "attach"),
    "ringfence.config": ("Settings",),
    "ringfence.errors": (
        "AccessDenied",
        "BucketMissing",
        "ConfigError",
        "CredentialExpired",
        "EngineError",
        "GrantNotEnforceable",
        "InvalidId",
        "IssueRefused",
        "LayoutMismatch",
        "MissingExtra",
        "Problem",
        "Refused",
        "RegionMismatch",
        "RingfenceError",
        "RunCancelled",
        "RunExists",
        "RunNotFound",
        "StateConflict",
        "StorageUnreachable",
        "UsageError",
    ),
    "ringfence.layout": ("BucketRole", "IdCase", "encode_id"),
    "ringfence.providers.base": ("Credential", "Enforcement"),
    "ringfence.running": ("Run",),
    "ringfence.scope": ("AccessMode", "Area", "Grant", "Permission", "Scope", "grants"),
    "ringfence.secret": ("Secret",),
    "ringfence.state.record": ("RunRecord", "RunStatus"),
    "ringfence.storage": ("Storage",),
    "ringfence.workspace": ("Workspace",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AccessDenied",
    "AccessMode",
    "Area",
    "Attached",
    "BucketMissing",
    "BucketRole",
    "ConfigError",
    "Credential",
    "CredentialExpired",
    "Enforcement",
    "EngineError",
    "Grant",
    "GrantNotEnforceable",
    "IdCase",
    "InvalidId",
    "IssueRefused",
    "LayoutMismatch",
    "MissingExtra",
    "Permission",
    "Problem",
    "Refused",
    "RegionMismatch",
    "RingfenceError",
    "Run",
    "RunCancelled",
    "RunExists",
    "RunNotFound",
    "RunRecord",
    "RunStatus",
    "Scope",
    "Secret",
    "Settings",
    "StateConflict",
    "Storage",
    "StorageUnreachable",
    "UsageError",
    "Workspace",
    "attach",
    "encode_id",
    "grants",
]


def __getattr__(name: str) -> Any:
    try:
        module = _MODULE_OF[name]
    except KeyError:
        raise AttributeError(f"module 'ringfence' has no attribute {name!r}") from None
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
