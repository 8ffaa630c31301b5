"""From grants to what an R2 credential can say: pure, no network.

A credential is bound to one bucket, and its operations hold for each of its prefixes alike (R2,
*Temporary credentials*). So there is one for each bucket and set of permissions, and what needs two
at once, a copy from one area to another, is refused where they are in two.

Operations
    Named one by one, so that what R2 adds later is not granted. A copy reads its source and writes
    its target, so it is granted to who may do both. ``ListMultipartUploads`` is not granted: how it
    is held to a prefix is not documented. ``GetBucketLocation`` means no permission.
Prefixes
    R2 reads a missing list of paths as the whole bucket, so the list is a type that is never empty.
    Prefixes are compared as plain text: there are no wildcards to escape.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole, Prefix
from ringfence.providers.base import Enforcement
from ringfence.scope import Grant, Grants, Permission, Permissions

Buckets = Callable[[BucketRole], str]
"""The bucket's name for its role."""

_READ, _WRITE, _DELETE, _LIST = (
    Permission.READ,
    Permission.WRITE,
    Permission.DELETE,
    Permission.LIST,
)

OPERATIONS: Final[tuple[tuple[str, Permissions], ...]] = (
    ("HeadObject", frozenset({_READ})),
    ("GetObject", frozenset({_READ})),
    ("ListObjectsV1", frozenset({_LIST})),
    ("ListObjectsV2", frozenset({_LIST})),
    ("ListParts", frozenset({_WRITE})),
    ("PutObject", frozenset({_WRITE})),
    ("DeleteObject", frozenset({_DELETE})),
    ("DeleteObjects", frozenset({_DELETE})),
    ("CopyObject", frozenset({_READ, _WRITE})),
    ("CreateMultipartUpload", frozenset({_WRITE})),
    ("UploadPart", frozenset({_WRITE})),
    ("UploadPartCopy", frozenset({_READ, _WRITE})),
    ("AbortMultipartUpload", frozenset({_WRITE})),
    ("CompleteMultipartUpload", frozenset({_WRITE})),
)
"""R2's operations and the permissions that each needs, in the order of R2's own table."""

_LISTS_PARTS: Final = "ListParts"
"""Shows the sizes of an unfinished upload, and none of its content."""

_PREFIX: Final = re.compile(r"(?:(?!\.{1,2}/)[A-Za-z0-9_.@:+=,%-]+/)+")


class ApiPermission(StrEnum):
    """What Cloudflare's API can grant on objects. Its ``admin-`` ones reach the bucket itself."""

    READ_ONLY = "object-read-only"
    READ_WRITE = "object-read-write"

    @property
    def allows(self) -> Permissions:
        """Both include listing (R2, *Temporary credentials*, "Scope")."""
        if self is ApiPermission.READ_ONLY:
            return frozenset({_READ, _LIST})
        return frozenset(Permission)


@dataclass(frozen=True, slots=True)
class NonEmptyPrefixes:
    """One prefix or more. None at all would open the whole bucket, so that cannot be written.

    Raises:
        GrantNotEnforceable: a prefix is not one of whole, encoded segments.
    """

    first: Prefix
    others: tuple[Prefix, ...] = ()

    def __post_init__(self) -> None:
        for prefix in self:
            if not _PREFIX.fullmatch(prefix):
                raise GrantNotEnforceable(
                    f"{prefix!r} is no prefix that a credential for R2 is made for.",
                    hint="Prefixes are made of encoded ids; see ringfence.layout.",
                )

    def __iter__(self) -> Iterator[Prefix]:
        yield self.first
        yield from self.others


@dataclass(frozen=True, slots=True)
class R2Fence:
    """What one credential is to cover: grants on one bucket with equal permissions."""

    grants: Grants
    bucket: str
    prefixes: NonEmptyPrefixes
    permissions: Permissions

    @property
    def operations(self) -> tuple[str, ...]:
        """Exactly the operations that the permissions mean; a locally signed token says these."""
        return tuple(name for name, needs in OPERATIONS if needs <= self.permissions)

    @property
    def api_permission(self) -> ApiPermission:
        """The least of the API's permissions that has all of these."""
        if self.permissions <= ApiPermission.READ_ONLY.allows:
            return ApiPermission.READ_ONLY
        return ApiPermission.READ_WRITE

    @property
    def exactly(self) -> tuple[Enforcement, ...]:
        """The enforcement of a token that names its operations."""
        return tuple(Enforcement(grant.area) for grant in self.grants)

    @property
    def by_api(self) -> tuple[Enforcement, ...]:
        """The enforcement of what the API makes: it knows reading and reading with writing."""
        beyond = self.api_permission.allows - self.permissions
        uploads = _LISTS_PARTS not in self.operations
        return tuple(
            Enforcement(grant.area, _coarser(grant, beyond, uploads=uploads))
            for grant in self.grants
        )


def fences(grants: Grants, buckets: Buckets) -> tuple[R2Fence, ...]:
    """One for each bucket and set of permissions, in the order of the grants.

    Raises:
        ValueError: there are no grants.
        GrantNotEnforceable: see :class:`NonEmptyPrefixes`.
    """
    if not grants:
        raise ValueError("no grants: there is no credential that allows nothing")
    parts: dict[tuple[BucketRole, Permissions], list[Grant]] = {}
    for grant in grants:
        parts.setdefault((grant.bucket, grant.permissions), []).append(grant)
    return tuple(
        R2Fence(
            tuple(part),
            buckets(role),
            NonEmptyPrefixes(part[0].prefix, tuple(grant.prefix for grant in part[1:])),
            permissions,
        )
        for (role, permissions), part in parts.items()
    )


def _coarser(grant: Grant, beyond: Permissions, *, uploads: bool) -> str | None:
    if beyond:
        *most, last = (permission.value for permission in Permission if permission in beyond)
        also = f"{', '.join(most)} and {last}" if most else last
        return (
            "Cloudflare's API has no permissions but read-only and read-write, both with listing: "
            f"this credential may also {also} under {grant.prefix}"
        )
    if uploads:
        return (
            "Cloudflare's read-only permission reaches uploads under way too: this credential may "
            f"also list the parts of those under {grant.prefix}"
        )
    return None
