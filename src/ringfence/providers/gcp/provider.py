"""Google Cloud Storage. The fence is a token downscoped by a Credential Access Boundary.

What such a token may do is what the installation's own account may *and* what a rule of the
boundary allows (IAM, "Credential Access Boundaries"). It is exact: prefix, permissions and
listings. A write-only area can be added to and nothing in it replaced, since replacing an object
takes the permission to delete it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from ringfence.config import Buckets, GcpSettings
from ringfence.layout import BucketRole, Prefix
from ringfence.providers.base import (
    Address,
    Clock,
    Credential,
    CredentialSource,
    Enforcement,
    Form,
    Method,
    PolicyDocument,
    Renewal,
    ToolFile,
)
from ringfence.providers.gcp import tools as gcp_tools
from ringfence.providers.gcp.boundary import Boundary, split
from ringfence.providers.gcp.store import ENDPOINT, GcsAddress, OwnToken, leased, open_gcs
from ringfence.providers.stores import timeout_of
from ringfence.scope import Grant, Grants, Permission

if TYPE_CHECKING:
    import httpx
    from obstore.store import GCSStore

    from ringfence.providers.gcp.buckets import BucketLooks
    from ringfence.providers.gcp.exchange import Exchange
    from ringfence.providers.gcp.source import SourceTokens, Token
    from ringfence.providers.gcp.transport import Answer, HttpRequest
    from ringfence.secret import Secret

STS_ENDPOINT: Final = "https://sts.googleapis.com"


class GcpProvider:
    """Opens stores on Cloud Storage and issues downscoped tokens."""

    name = "gcp"

    def __init__(
        self,
        settings: GcpSettings,
        buckets: Buckets,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._buckets = buckets
        self._clock = clock
        self._transport = transport
        self._sleep = sleep
        self._opened: _Google | None = None
        self._lock = Lock()

    # --- fencing ---------------------------------------------------------------------------

    def plan(self, grants: Grants) -> tuple[PolicyDocument, ...]:
        """The boundaries, one for each token. See :class:`base.Provider`."""
        return tuple(_document(boundary) for boundary in split(grants, self._buckets.of))

    def issue(self, grants: Grants, *, session: str) -> tuple[Credential, ...]:
        """Exchanges the source token once for each boundary. See :class:`base.Provider`.

        Google's audit log names the source's account: a token has no room for ``session``.
        """
        del session
        boundaries = split(grants, self._buckets.of)
        google = self._google
        source = google.source.token()
        for grant in grants:
            bucket = self._buckets.of(grant.bucket)
            google.buckets.check(bucket, source)
            if Permission.WRITE in grant.permissions:
                google.buckets.make_folders(bucket, grant.prefix, source)
        return tuple(self._downscoped(source, boundary) for boundary in boundaries)

    def _downscoped(self, source: Token, boundary: Boundary) -> Credential:
        issued_at = self._clock()
        token = self._google.exchange.downscope(source, boundary)
        return Credential(
            boundary.grants,
            {"token": token.secret},
            issued_at,
            token.expires_at,
            _document(boundary).enforcement,
        )

    # --- stores ----------------------------------------------------------------------------

    def open(self, grant: Grant, lease: CredentialSource) -> GCSStore:
        """A store rooted at the grant's prefix. See :class:`base.Provider`."""
        return open_gcs(self._address(grant.bucket), grant.prefix, leased(lease))

    def open_bucket(self, role: BucketRole, prefix: Prefix | None = None) -> GCSStore:
        """A store on a whole bucket with the installation's own credentials."""
        own = OwnToken(self._own_token)
        return open_gcs(self._address(role), prefix, own, timeout=timeout_of(role))

    def _own_token(self) -> tuple[Secret, datetime]:
        from ringfence.providers.gcp.source import ASK_SOURCE_AGAIN, LEAST_LIFE

        token = self._google.source.token()
        # The source is renewed when it has the least life left, so the store asks again then.
        until = max(token.expires_at - LEAST_LIFE, self._clock() + ASK_SOURCE_AGAIN)
        return token.secret, until

    def _address(self, role: BucketRole) -> GcsAddress:
        return GcsAddress(self._buckets.of(role), self._settings.endpoint)

    def sign(self, grant: Grant, path: str, method: Method, expires_in: timedelta) -> str:
        """A V4 signed URL by the installation's own account. See :class:`base.Provider`."""
        from ringfence.providers.gcp.exchange import patiently
        from ringfence.providers.gcp.signing import signed_by_iam, signed_url, signer_of

        google, address = self._google, self._address(grant.bucket)
        token = google.source.token()  # with it a machine's account tells its name

        def ask(*args: Any, **kwargs: Any) -> Answer:
            return patiently(lambda: google.request(*args, **kwargs), self._sleep)

        return signed_url(
            signer_of(google.source.credentials, partial(signed_by_iam, ask, token)),
            endpoint=address.base_url,
            bucket=address.bucket,
            key=f"{grant.prefix}{path}",
            method=method,
            now=self._clock(),
            expires_in=expires_in,
        )

    # --- for other processes and tools -------------------------------------------------------

    def address(self, grant: Grant) -> Address:
        """Bucket and endpoint: see :class:`store.GcsAddress`."""
        return asdict(self._address(grant.bucket))

    def url(self, grant: Grant) -> str:
        """``gs://bucket/prefix/``."""
        return gcp_tools.gs_url(grant, self._address(grant.bucket))

    def environment(self, credential: Credential) -> dict[str, str]:
        """The token, project and endpoint, in the names of object_store and of Google's tools."""
        address = self._address(credential.grants[0].bucket)
        return gcp_tools.environment(credential, address, self._settings.project_id)

    def refreshing_environment(self, credential: Credential, at: Renewal) -> dict[str, str]:
        """Project and endpoint alone: :meth:`tool_files` names the file that renews itself."""
        del at
        address = self._address(credential.grants[0].bucket)
        return gcp_tools.place(address, self._settings.project_id)

    def tool_files(self, credentials: Sequence[Credential], at: Renewal) -> tuple[ToolFile, ...]:
        """Credential files that renew themselves. See :func:`gcp_tools.files`."""
        return gcp_tools.files(credentials, at)

    def export(self, credential: Credential, form: Form) -> str:
        """``storage-options`` and ``duckdb``. See :class:`base.Provider`."""
        addresses = {g.area.value: self._address(g.bucket) for g in credential.grants}
        return gcp_tools.export(credential, form, addresses)

    def close(self) -> None:
        """Closes the connections to Google's token endpoints, if there were any. Idempotent."""
        with self._lock:
            if self._opened is not None:
                self._opened.request.close()

    # --- the installation's own account ------------------------------------------------------

    @property
    def _google(self) -> _Google:
        """What speaks to Google's token endpoints: made once, when it is first needed."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open_google()
            return self._opened

    def _open_google(self) -> _Google:
        from ringfence.providers.gcp.buckets import BucketLooks
        from ringfence.providers.gcp.exchange import Exchange
        from ringfence.providers.gcp.source import SourceTokens, load_credentials
        from ringfence.providers.gcp.transport import HttpRequest

        given, request = self._settings.service_account_json, HttpRequest(self._transport)
        sts = self._settings.sts_endpoint or STS_ENDPOINT
        return _Google(
            request,
            SourceTokens(lambda: load_credentials(given, request), request, self._clock),
            Exchange(sts, request, self._clock, self._sleep),
            BucketLooks(self._settings.endpoint or ENDPOINT, request, self._clock, self._sleep),
        )


@dataclass(frozen=True, slots=True)
class _Google:
    request: HttpRequest
    source: SourceTokens
    exchange: Exchange
    buckets: BucketLooks


def _document(boundary: Boundary) -> PolicyDocument:
    exact = tuple(Enforcement(grant.area) for grant in boundary.grants)
    return PolicyDocument(
        boundary.grants, "Google Credential Access Boundary", boundary.text, exact
    )
