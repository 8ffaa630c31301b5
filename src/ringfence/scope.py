"""Who runs, and what they may touch: scopes, access modes, and the one table from modes to grants.

Every provider renders :class:`Grant` into its own language; none knows a mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from ringfence.errors import UsageError
from ringfence.layout import (
    BucketRole,
    EncodedId,
    IdCase,
    Prefix,
    app_prefix,
    encode_id,
    logs_prefix,
    tmp_prefix,
    user_prefix,
)


class Permission(StrEnum):
    """What a grant allows on the objects of its prefix."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    LIST = "list"


class Area(StrEnum):
    """A place in storage that a scope may touch."""

    META = "meta"
    APP = "app"
    USER = "user"
    TMP = "tmp"
    LOGS = "logs"


class AccessMode(StrEnum):
    """What an execution, or the engine on someone's behalf, is about to do."""

    INVOKE_WRITE = "invoke_write"
    INVOKE_READ = "invoke_read"
    INVOKE_NONE = "invoke_none"
    EDIT_APP = "edit_app"
    READ_APP = "read_app"
    READ_LOGS = "read_logs"


Permissions = frozenset[Permission]

_RWDL: Final = frozenset(Permission)
_RL: Final = frozenset({Permission.READ, Permission.LIST})
_W: Final = frozenset({Permission.WRITE})

MODES: Final[Mapping[AccessMode, Mapping[Area, Permissions]]] = MappingProxyType(
    {
        AccessMode.INVOKE_WRITE: MappingProxyType(
            {Area.APP: _RWDL, Area.USER: _RWDL, Area.TMP: _RWDL, Area.LOGS: _W}
        ),
        AccessMode.INVOKE_READ: MappingProxyType(
            {Area.APP: _RL, Area.USER: _RWDL, Area.TMP: _RWDL, Area.LOGS: _W}
        ),
        AccessMode.INVOKE_NONE: MappingProxyType(
            {Area.USER: _RWDL, Area.TMP: _RWDL, Area.LOGS: _W}
        ),
        AccessMode.EDIT_APP: MappingProxyType({Area.META: _RWDL, Area.APP: _RWDL}),
        AccessMode.READ_APP: MappingProxyType({Area.META: _RL, Area.APP: _RL}),
        AccessMode.READ_LOGS: MappingProxyType({Area.LOGS: _RL}),
    }
)
"""The one table of modes. An area that a mode does not name is out of its reach."""

_BUCKETS: Final[Mapping[Area, BucketRole]] = MappingProxyType(
    {
        Area.META: BucketRole.META,
        Area.APP: BucketRole.CONTENT,
        Area.USER: BucketRole.CONTENT,
        Area.TMP: BucketRole.CONTENT,
        Area.LOGS: BucketRole.LOG,
    }
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Who runs. Ids are as the identity provider gave them; they are encoded when used.

    Raises:
        InvalidId: an id is empty, not text, or too long to encode.
    """

    app_id: str
    user_id: str
    run_id: str | None = None
    mode: AccessMode = AccessMode.INVOKE_WRITE

    def __post_init__(self) -> None:
        # A str is accepted for the mode, as it comes from a command line or a queue.
        try:
            object.__setattr__(self, "mode", AccessMode(self.mode))
        except ValueError:
            modes = ", ".join(AccessMode)
            raise UsageError(f"{self.mode!r} is no access mode.", hint=f"Modes: {modes}.") from None
        encode_id(self.app_id, what="app id")
        encode_id(self.user_id, what="user id")
        if self.run_id is not None:
            encode_id(self.run_id, what="run id")


@dataclass(frozen=True, slots=True)
class Grant:
    """One area's bucket, prefix and permissions.

    A grant without permissions, or with a prefix that is not one of whole segments, cannot be made:
    some clouds read an empty list, or an empty prefix, as "everything".
    """

    area: Area
    bucket: BucketRole
    prefix: Prefix
    permissions: Permissions

    def __post_init__(self) -> None:
        if not self.prefix.endswith("/") or self.prefix.startswith("/"):
            raise ValueError(f"not a prefix of whole segments: {self.prefix!r}")
        if not self.permissions:
            raise ValueError(f"a grant on {self.prefix!r} without permissions")


Grants = tuple[Grant, ...]


def grants(scope: Scope, case: IdCase = IdCase.EXACT) -> Grants:
    """What a scope may touch, in the order of the table. Pure: the same scope, the same grants.

    Raises:
        InvalidId: an id is too long once encoded.
    """
    app = encode_id(scope.app_id, case, what="app id")
    user = encode_id(scope.user_id, case, what="user id")
    run = None if scope.run_id is None else encode_id(scope.run_id, case, what="run id")
    return tuple(
        Grant(area, _BUCKETS[area], _prefix(area, app, user, run), permissions)
        for area, permissions in MODES[scope.mode].items()
    )


def _prefix(area: Area, app: EncodedId, user: EncodedId, run: EncodedId | None) -> Prefix:
    match area:
        case Area.META | Area.APP:
            return app_prefix(app)
        case Area.USER:
            return user_prefix(user, app)
        case Area.TMP:
            return tmp_prefix(user, app)
        case Area.LOGS:
            return logs_prefix(app, run)
