"""AWS S3, and every engine that speaks S3 and STS: MinIO, SeaweedFS, Ceph and kin.

The fence is ``AssumeRole`` with an inline session policy that says exactly the grants: a session's
rights are those of the role *and* of the session policy (IAM User Guide, "Session policies").
Buckets on S3 Express stand beside standard ones: see :mod:`ringfence.providers.aws.express`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from ringfence.config import AwsSettings, Buckets
from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole
from ringfence.providers.aws.access_points import AccessPoints
from ringfence.providers.aws.express import ExpressFence
from ringfence.providers.aws.express_names import check_endpoint
from ringfence.providers.aws.policy import SessionPolicy, partition_of, split
from ringfence.providers.aws.s3_control import S3Control, control_endpoint
from ringfence.providers.aws.sts import SigningKeys, StsClient, session_name
from ringfence.providers.aws.sts_refusals import PolicyTooLarge
from ringfence.providers.base import Clock, Credential, Method, PolicyDocument
from ringfence.providers.connecting import open_client
from ringfence.providers.s3.keys import StaticKeys, default_chain
from ringfence.providers.s3.provider import S3Provider
from ringfence.providers.s3.store import S3Address, aws_endpoint
from ringfence.scope import Grant, Grants
from ringfence.secret import Secret

if TYPE_CHECKING:
    import httpx


class AwsProvider(S3Provider):
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
        """Asks nothing of the network.

        Raises:
            ConfigError: buckets on S3 Express, and the endpoint is another engine's.
        """
        check_endpoint(settings)
        self._settings = settings
        self._buckets = buckets
        self._ttl = credential_ttl
        self._clock = clock
        self._transport = transport

    # --- fencing ---------------------------------------------------------------------------

    def plan(self, grants: Grants) -> tuple[PolicyDocument, ...]:
        """The session policies, one for each credential. See :class:`base.Provider`."""
        role = self._role()
        return tuple(self._document(policy) for policy in self._split(grants, role))

    def issue(self, grants: Grants, *, session: str) -> tuple[Credential, ...]:
        """Assumes the role once for each policy. See :class:`base.Provider`.

        On S3 Express with access points, those that the policies name are made or found first.
        """
        role = self._role()
        policies = self._split(grants, role)
        self._make_access_points(grants)
        return tuple(
            credential for policy in policies for credential in self._assume(policy, role, session)
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
        return role

    def _split(self, grants: Grants, role: str) -> tuple[SessionPolicy, ...]:
        ways = self._fence.way
        return split(grants, self._buckets.of, partition=partition_of(role), ways=ways)

    @cached_property
    def _fence(self) -> ExpressFence:
        return ExpressFence(self._settings, self._buckets, self._role())

    def _make_access_points(self, grants: Grants) -> None:
        ways = [way for grant in grants if (way := self._fence.way(grant)) is not None]
        for point in dict.fromkeys(way.access_point for way in ways):
            if point is not None:
                self._access_points.ensure(point)

    def _document(self, policy: SessionPolicy) -> PolicyDocument:
        enforcement = self._fence.enforcement(policy.grants)
        return PolicyDocument(policy.grants, "AWS IAM session policy", policy.text, enforcement)

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
        enforcement = self._document(policy).enforcement
        return (Credential(policy.grants, fields, issued_at, answer.expires_at, enforcement),)

    # --- stores ----------------------------------------------------------------------------

    def _address(self, role: BucketRole) -> S3Address:
        bucket = self._buckets.of(role)
        if role in self._settings.express:
            return self._express_address(bucket)
        settings = self._settings
        return S3Address(bucket, settings.region, settings.endpoint, settings.use_path_style)

    def _address_of(self, grant: Grant) -> S3Address:
        """Where a fenced store finds a grant: on S3 Express that may be an access point."""
        if grant.bucket not in self._settings.express:
            return self._address(grant.bucket)
        way = self._fence.way(grant)
        return self._express_address(way.name if way else self._buckets.of(grant.bucket))

    def _express_address(self, name: str) -> S3Address:
        # Its endpoint is AWS's own, by its name: AWS_ENDPOINT is for the standard buckets.
        return S3Address(name, self._settings.region, None, path_style=False, express=True)

    def sign(self, grant: Grant, path: str, method: Method, expires_in: timedelta) -> str:
        """As :meth:`S3Provider.sign`.

        None on S3 Express: whether AWS accepts a URL that was signed without a session there is not
        documented, and one with a session would hold a token that opens the whole bucket.
        """
        if grant.bucket in self._settings.express:
            raise GrantNotEnforceable(
                f"{self._buckets.of(grant.bucket)} is on S3 Express One Zone, where there is no "
                "URL for one object alone: none was made.",
                hint="Pass the object through the engine, or keep it in a standard bucket.",
            )
        return super().sign(grant, path, method, expires_in)

    def close(self) -> None:
        """Closes the connections to STS and S3 Control, if there were any. Idempotent."""
        if "_sts" in self.__dict__:
            self._sts.http.close()
        if "_access_points" in self.__dict__:
            self._access_points.control.http.close()

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

    @cached_property
    def _access_points(self) -> AccessPoints:
        region = self._settings.region
        client = open_client(control_endpoint(region), self._transport)
        control = S3Control(client, region, self._fence.account(), self._keys)
        return AccessPoints(control, self._role())

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


def _sts_endpoint(settings: AwsSettings) -> tuple[str, str]:
    """Where STS is, and the variable that says so. The regional endpoint is AWS's advice."""
    if settings.sts_endpoint is not None:
        named = settings.sts_endpoint != settings.endpoint
        return settings.sts_endpoint, "AWS_STS_ENDPOINT" if named else "AWS_ENDPOINT"
    return aws_endpoint("sts", settings.region), "AWS_REGION"
