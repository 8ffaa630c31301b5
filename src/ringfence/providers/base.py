"""What a provider is: it knows one cloud, opens stores on it, and issues credentials for grants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ringfence.layout import BucketRole, Prefix
from ringfence.scope import Area, Grant, Grants
from ringfence.secret import Secret

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Clock = Callable[[], datetime]
"""Returns the time now, aware, in UTC."""


@dataclass(frozen=True, slots=True)
class Enforcement:
    """How exactly a cloud holds an area to its grant.

    ``exact`` means prefix and permissions, no more and no less. Otherwise ``coarser`` says in a
    sentence what the cloud allows beyond the grant; it is never another tenant's data unless the
    operator opted in.
    """

    area: Area
    coarser: str | None = None

    @property
    def exact(self) -> bool:
        return self.coarser is None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a provider issued: the grants it covers, the secret parts, its end, how it is enforced.

    ``fields`` are the parts in the words of obstore's credential provider for that cloud
    (``access_key_id``, ``secret_access_key``, ``token`` on S3), each a :class:`Secret` but for
    those that are names only.
    """

    grants: Grants
    fields: Mapping[str, Secret]
    issued_at: datetime
    expires_at: datetime
    enforcement: tuple[Enforcement, ...]

    def covers(self, area: Area) -> bool:
        """Whether one of the grants is on this area."""
        return any(grant.area is area for grant in self.grants)


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """The native document that fences some grants, for a person to read."""

    grants: Grants
    language: str
    text: str
    enforcement: tuple[Enforcement, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """A credential, and until when to use it before asking for it again."""

    credential: Credential
    until: datetime


CredentialSource = Callable[[], Lease]


class Provider(Protocol):
    """One cloud.

    ``issue`` blocks: every cloud's own credential code does. The vendor calls it on its worker
    threads, so it must bound its own time, and may be called from several threads at once.
    """

    name: str

    def plan(self, grants: Grants) -> tuple[PolicyDocument, ...]:
        """The documents that would fence these grants, one for each credential. No network.

        Raises:
            GrantNotEnforceable: this cloud, as configured, cannot fence one of them.
        """
        ...

    def issue(self, grants: Grants, *, session: str) -> tuple[Credential, ...]:
        """Issues the credentials that together cover ``grants``. Blocking, bounded in time.

        All or nothing: a failure after the first of several leaves the caller with none.

        Args:
            session: who it is for, to be seen in the cloud's audit log. Any text; made legal here.

        Raises:
            GrantNotEnforceable: this cloud, as configured, cannot fence one of them.
            IssueRefused: the cloud says no; the message names what is missing.
            StorageUnreachable: no usable answer in time.
        """
        ...

    def open(self, grant: Grant, lease: CredentialSource) -> ObjectStore:
        """A store rooted at the grant's prefix, asking ``lease`` whenever its own copy runs out.

        ``lease`` is cheap while the credential is fresh and may block to renew it.
        """
        ...

    def open_bucket(self, role: BucketRole, prefix: Prefix | None = None) -> ObjectStore:
        """A store on a whole bucket with the installation's own credentials."""
        ...

    def environment(self, credential: Credential) -> dict[str, str]:
        """The variables by which this cloud's own SDKs and tools find ``credential``."""
        ...

    def refreshing_environment(self, url: str, token: Secret) -> dict[str, str]:
        """As :meth:`environment`, for SDKs that fetch and renew their credential at ``url``."""
        ...

    def address(self) -> Mapping[str, str | bool | None]:
        """What a store in another process needs besides bucket, prefix and credential."""
        ...

    def url(self, grant: Grant) -> str:
        """The place of a grant as this cloud's tools write it: ``s3://bucket/prefix/``."""
        ...

    def close(self) -> None:
        """Closes connections. Idempotent."""
        ...
