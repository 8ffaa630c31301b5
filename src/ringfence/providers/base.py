"""What a provider is: it knows one cloud, opens stores on it, and issues credentials for grants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol

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

Address = Mapping[str, str | bool | None]
"""What a store in another process needs besides prefix and credential, as JSON can hold it."""


Method = Literal["GET", "HEAD", "PUT", "DELETE"]
"""What a URL can be signed for."""


class Form(StrEnum):
    """The forms in which tools take a credential, beside the variables of their environment."""

    PROCESS = "credential-process"
    """What the AWS SDKs' ``credential_process`` reads."""
    OPTIONS = "storage-options"
    """The keys of object_store, which Polars, delta-rs, Lance and DataFusion pass on."""
    DUCKDB = "duckdb"
    """``CREATE SECRET`` statements."""


@dataclass(frozen=True, slots=True)
class ToolFile:
    """A file that tools of the cloud read, and the variable by which they find it."""

    name: str
    variable: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Renewal:
    """Where a process fetches and renews the credentials that it was given, by their number."""

    url: str
    token: Secret


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

    def sign(self, grant: Grant, path: str, method: Method, expires_in: timedelta) -> str:
        """A URL for one request on one object, without any other credential. Blocking.

        Never made with a fenced credential, since on some clouds the URL would hold all of it: it
        is signed with the installation's own. The caller has checked it against the grant, see
        :mod:`ringfence.presigning`.

        Raises:
            GrantNotEnforceable: this cloud, as configured, has no such URL.
        """
        ...

    def environment(self, credential: Credential) -> dict[str, str]:
        """The variables by which this cloud's own SDKs and tools find ``credential``."""
        ...

    def refreshing_environment(self, credential: Credential, at: Renewal) -> dict[str, str]:
        """As :meth:`environment`, for SDKs that fetch and renew their credential by themselves.

        The same as :meth:`environment` where the cloud's SDKs know no such way.
        """
        ...

    def tool_files(self, credentials: Sequence[Credential], at: Renewal) -> tuple[ToolFile, ...]:
        """Files by which tools find each of several credentials; they hold no lasting secret.

        The credential numbered ``i`` is renewed at ``{at.url}/.../{i}``, see
        :mod:`ringfence.executor.service`.
        """
        ...

    def export(self, credential: Credential, form: Form) -> str:
        """``credential`` as tools elsewhere take it.

        Raises:
            UsageError: this cloud has no such form; the message names one that it has.
        """
        ...

    def address(self, grant: Grant) -> Address:
        """Where a grant's bucket is, ``bucket`` included. :func:`ringfence.attach` opens it."""
        ...

    def url(self, grant: Grant) -> str:
        """The place of a grant as this cloud's tools write it: ``s3://bucket/prefix/``."""
        ...

    def close(self) -> None:
        """Closes connections. Idempotent."""
        ...
