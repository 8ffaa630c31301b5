"""AWS S3, and every engine that speaks S3 and STS: MinIO, SeaweedFS, Ceph and kin.

The fence is ``AssumeRole`` with an inline session policy that says exactly the grants: a session's
rights are those of the role *and* of the session policy (IAM User Guide, "Session policies").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from ringfence.config import AwsSettings, Buckets
from ringfence.errors import GrantNotEnforceable, UsageError
from ringfence.layout import BucketRole, Prefix
from ringfence.providers import s3_tools
from ringfence.providers.aws_keys import MasterCredentials, StaticKeys, default_chain
from ringfence.providers.aws_policy import SessionPolicy, partition_of, split
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
from ringfence.providers.connecting import open_client
from ringfence.providers.s3_store import (
    RECORD_TIMEOUT,
    REQUEST_TIMEOUT,
    LeasedCredentials,
    S3Address,
    aws_endpoint,
    open_s3,
)
from ringfence.providers.sts import SigningKeys, StsClient, session_name
from ringfence.providers.sts_refusals import PolicyTooLarge
from ringfence.scope import Grant, Grants
from ringfence.secret import Secret

if TYPE_CHECKING:
    import httpx
    from obstore.store import S3Store


class AwsProvider:
    """Opens stores on S3 and issues session credentials through STS."""

    name = "aws"

    def __init__(
        self,
        settings: AwsSettings,
        buckets: Buckets,
        *,
        credential_ttl: timedelta,
        clock: Clock = lambda: datetime.now(UTC),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings = settings
        self._buckets = buckets
        self._ttl = credential_ttl
        self._clock = clock
        self._transport = transport

    # --- fencing ---------------------------------------------------------------------------

    def plan(self, grants: Grants) -> tuple[PolicyDocument, ...]:
        """The session policies, one for each credential. See :class:`base.Provider`."""
        role = self._role()
        return tuple(_document(policy) for policy in self._split(grants, role))

    def issue(self, grants: Grants, *, session: str) -> tuple[Credential, ...]:
        """Assumes the role once for each policy. See :class:`base.Provider`."""
        role = self._role()
        return tuple(
            credential
            for policy in self._split(grants, role)
            for credential in self._assume(policy, role, session)
        )

    def _role(self) -> str:
        role = self._settings.runtime_role_arn
        if role is None:
            raise GrantNotEnforceable(
                "RUNTIME_ROLE_ARN is not set, and without a role to assume S3 cannot fence an "
                "execution: nothing was issued.",
                hint=(
                    "Set it to a role whose trust policy names this installation's principal; "
                    "`ringfence up` makes one for the embedded engine."
                ),
            )
        if self._settings.express:
            flagged = ", ".join(sorted(role.value for role in self._settings.express))
            raise GrantNotEnforceable(
                f"S3 Express One Zone can fence a whole bucket only, and it holds: {flagged}.",
                hint="Fencing with S3 Express is not part of this version; use standard buckets.",
            )
        return role

    def _split(self, grants: Grants, role: str) -> tuple[SessionPolicy, ...]:
        return split(grants, self._buckets.of, partition=partition_of(role))

    def _assume(self, policy: SessionPolicy, role: str, session: str) -> tuple[Credential, ...]:
        issued_at = self._clock()
        try:
            answer = self._sts.assume_role(
                role_arn=role,
                session_name=session_name(session),
                policy=policy.text,
                duration=self._ttl,
            )
        except PolicyTooLarge:
            # STS packs the policy in a form whose size cannot be computed here. Halves pack better.
            if len(policy.grants) == 1:
                raise
            middle = len(policy.grants) // 2
            halves = (policy.grants[:middle], policy.grants[middle:])
            return tuple(
                credential
                for half in halves
                for part in self._split(half, role)
                for credential in self._assume(part, role, session)
            )
        fields = {
            "access_key_id": Secret(answer.access_key_id),
            "secret_access_key": answer.secret_access_key,
            "token": answer.session_token,
        }
        enforcement = _document(policy).enforcement
        return (Credential(policy.grants, fields, issued_at, answer.expires_at, enforcement),)

    # --- stores ----------------------------------------------------------------------------

    def open(self, grant: Grant, lease: CredentialSource) -> S3Store:
        """A store rooted at the grant's prefix. See :class:`base.Provider`."""
        return open_s3(
            self._address(grant.bucket),
            grant.prefix,
            LeasedCredentials(lease),
        )

    def open_bucket(self, role: BucketRole, prefix: Prefix | None = None) -> S3Store:
        """A store on a whole bucket with the installation's own credentials."""
        # Of the meta bucket, this side reads and writes records alone, which are small.
        timeout = RECORD_TIMEOUT if role is BucketRole.META else REQUEST_TIMEOUT
        credentials = MasterCredentials(self._keys)
        return open_s3(self._address(role), prefix, credentials, timeout=timeout)

    def _address(self, role: BucketRole) -> S3Address:
        settings, bucket = self._settings, self._buckets.of(role)
        if role in settings.express:
            raise UsageError(
                f"The bucket {bucket} is on S3 Express One Zone, which this version cannot open "
                "yet.",
                hint="Use a standard bucket.",
            )
        return S3Address(bucket, settings.region, settings.endpoint, settings.use_path_style)

    def sign(self, grant: Grant, path: str, method: Method, expires_in: timedelta) -> str:
        """A URL presigned with the installation's own keys. See :class:`base.Provider`."""
        store = self.open_bucket(grant.bucket, grant.prefix)
        return s3_tools.sign(store, path, method, expires_in)

    # --- for other processes and tools -------------------------------------------------------

    def address(self, grant: Grant) -> Address:
        """Bucket, region, endpoint and style: see :class:`s3_store.S3Address`."""
        return asdict(self._address(grant.bucket))

    def url(self, grant: Grant) -> str:
        """``s3://bucket/prefix/``."""
        return s3_tools.s3_url(grant, self._address(grant.bucket))

    def environment(self, credential: Credential) -> dict[str, str]:
        """The names that AWS SDKs, obstore, DuckDB and kin read by themselves."""
        return s3_tools.environment(credential, self._first_address(credential))

    def refreshing_environment(self, credential: Credential, at: Renewal) -> dict[str, str]:
        """Container credentials, which AWS SDKs renew by themselves."""
        return s3_tools.refreshing_environment(at, self._first_address(credential))

    def tool_files(self, credentials: Sequence[Credential], at: Renewal) -> tuple[ToolFile, ...]:
        """AWS profiles, one for each area. See :func:`s3_tools.profiles`."""
        del at  # the process of a profile finds the runner by the execution's variables
        return s3_tools.profiles(credentials, self._addresses(*credentials))

    def export(self, credential: Credential, form: Form) -> str:
        """Every form. See :class:`base.Provider`."""
        return s3_tools.export(credential, form, self._addresses(credential))

    def _addresses(self, *credentials: Credential) -> dict[str, S3Address]:
        return {
            grant.area.value: self._address(grant.bucket)
            for credential in credentials
            for grant in credential.grants
        }

    def _first_address(self, credential: Credential) -> S3Address:
        return s3_tools.address_of(credential, self._addresses(credential))

    def close(self) -> None:
        """Closes the connections to STS, if there were any. Idempotent."""
        if "_sts" in self.__dict__:
            self._sts.http.close()

    # --- the installation's own keys ---------------------------------------------------------

    @cached_property
    def _sts(self) -> StsClient:
        settings = self._settings
        endpoint, where = _sts_endpoint(settings)
        return StsClient(
            http=open_client(endpoint, self._transport),
            endpoint=endpoint,
            where=where,
            region=settings.region,
            keys=self._keys,
            now=self._clock,
        )

    def _keys(self) -> SigningKeys:
        """The configured keys, or the default chain of the SDK: profile, web identity, role."""
        return self._static_keys or self._default_chain()

    @cached_property
    def _static_keys(self) -> StaticKeys | None:
        settings = self._settings
        if settings.access_key_id is None or settings.secret_access_key is None:
            return None
        return StaticKeys(
            settings.access_key_id, settings.secret_access_key, settings.session_token
        )

    @cached_property
    def _default_chain(self) -> Callable[[], SigningKeys]:
        return default_chain()


def _document(policy: SessionPolicy) -> PolicyDocument:
    exact = tuple(Enforcement(grant.area) for grant in policy.grants)
    return PolicyDocument(policy.grants, "AWS IAM session policy", policy.text, exact)


def _sts_endpoint(settings: AwsSettings) -> tuple[str, str]:
    """Where STS is, and the variable that says so. The regional endpoint is AWS's advice."""
    if settings.sts_endpoint is not None:
        named = settings.sts_endpoint != settings.endpoint
        return settings.sts_endpoint, "AWS_STS_ENDPOINT" if named else "AWS_ENDPOINT"
    return aws_endpoint("sts", settings.region), "AWS_REGION"
