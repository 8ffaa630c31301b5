"""S3 Express One Zone: its names, its ARNs, and how grants reach its buckets.

The access boundary of a directory bucket is the whole bucket: what IAM authorises is
``s3express:CreateSession``, and the five-minute session that it gives is asked for nothing more
(S3 User Guide, *Authorizing Zonal endpoint API operations with CreateSession*). A prefix in a
session policy does nothing. There are three ways to deal with it:

refuse
    The default: a credential for one app would open every other app's data.
shared
    ``RINGFENCE_EXPRESS_SHARED``: the operator declares that there is one tenant. The session policy
    names the bucket's full ARN, ``ReadOnly`` where the grants only read.
access points
    ``RINGFENCE_EXPRESS_ACCESS_POINTS``: a scope of prefixes and operations holds for all that goes
    *through* an access point, and for nothing else. So the session policy names access points and
    never the bucket (*Configuring IAM policies for using access points for directory buckets*).
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole, Prefix, prefixes_of_user
from ringfence.providers.aws.express_names import zone_of
from ringfence.providers.base import Enforcement
from ringfence.scope import Area, Grant, Grants, Permission, Permissions

if TYPE_CHECKING:
    from ringfence.config import AwsSettings, Buckets

MAX_SCOPE_BYTES: Final = 255
"""The prefixes of an access point's scope, all together (S3 API Reference, *Scope*: "less than 256
bytes")."""

MAX_ACCESS_POINTS: Final = 10_000
"""Access points of an account in a region, unless a higher quota was granted (S3 User Guide,
*Access points for directory buckets naming rules, restrictions, and limitations*)."""

READS: Final = frozenset({Permission.READ, Permission.LIST})
"""What a ``ReadOnly`` session is enough for."""

_OPERATIONS: Final = {
    Permission.READ: ("GetObject",),
    Permission.WRITE: ("PutObject", "AbortMultipartUpload", "ListMultipartUploadParts"),
    Permission.DELETE: ("DeleteObject",),
    Permission.LIST: ("ListBucket",),
}
"""A permission in the words of a scope. As in a session policy, nobody lists others' uploads."""

_ACCOUNT: Final = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/")
_REGION: Final = re.compile(r"[a-z]{2,}(?:-[a-z]+)+-[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class AccessPoint:
    """An access point as it must be: whoever finds another under its name does not use it.

    ``name`` is derived, so that every process of an installation finds the one that the first made.
    """

    name: str
    arn: str
    bucket: str
    prefixes: tuple[Prefix, ...]
    operations: frozenset[str]
    read_only: bool


@dataclass(frozen=True, slots=True)
class Way:
    """How a grant reaches its bucket: under which name, and what its session policy names.

    Without an access point it is the whole bucket.
    """

    name: str
    arn: str
    read_only: bool
    access_point: AccessPoint | None = None


@dataclass(frozen=True, slots=True)
class ExpressFence:
    """How the grants of an installation reach its Express buckets. Pure: no network."""

    settings: AwsSettings
    buckets: Buckets
    role_arn: str

    def way(self, grant: Grant) -> Way | None:
        """How a grant reaches its bucket, or None where that is a standard one.

        Raises:
            GrantNotEnforceable: Express cannot fence it as configured.
        """
        if grant.bucket not in self.settings.express:
            return None
        if self.settings.express_access_points:
            refusal = self._why_no_access_point(grant)
            if refusal is None:
                return self._through_access_point(grant)
            if not self.settings.express_shared:
                raise refusal
        if self.settings.express_shared:
            return self._whole_bucket(grant)
        raise self._refusal(grant)

    def enforcement(self, held: Grants) -> tuple[Enforcement, ...]:
        """How exactly one credential for all of ``held`` enforces each of them."""
        return tuple(Enforcement(grant.area, self._coarser(grant, held)) for grant in held)

    def _coarser(self, grant: Grant, held: Grants) -> str | None:
        way = self.way(grant)
        beside = [each for each in held if each.bucket is grant.bucket]
        ways = [each for each in map(self.way, beside) if each is not None]
        if way is None or not ways:
            return None
        whole = [each for each in ways if each.access_point is None]
        if whole:
            name = self.buckets.of(grant.bucket)
            read_only = all(each.read_only for each in whole)
            done = "read and listed" if read_only else "read, listed, written and deleted"
            return f"bucket-wide: all objects of {name}, of every app and user, can be {done}"
        mine = {each.prefix for each in beside}
        point = way.access_point
        more = [prefix for prefix in point.prefixes if prefix not in mine] if point else []
        if not more:
            return None
        return f"its access point opens {', '.join(more)} too, of the same user and app"

    # --- the whole bucket --------------------------------------------------------------------

    def _refusal(self, grant: Grant) -> GrantNotEnforceable:
        return GrantNotEnforceable(
            f"{self.buckets.named(grant.bucket)} is on S3 Express One Zone, whose fence is the "
            f"whole bucket: a credential for the {grant.area} area would open all that lies in it, "
            "of every app and user. Nothing was issued.",
            hint=(
                "Use a standard bucket there; or set RINGFENCE_EXPRESS_ACCESS_POINTS=true, which "
                "fences by access points; or RINGFENCE_EXPRESS_SHARED=true, if there is a single "
                "tenant."
            ),
        )

    def _whole_bucket(self, grant: Grant) -> Way:
        name = self.buckets.of(grant.bucket)
        return Way(name, self._arn("bucket", name), grant.permissions <= READS)

    # --- access points -----------------------------------------------------------------------

    def _why_no_access_point(self, grant: Grant) -> GrantNotEnforceable | None:
        if grant.bucket is BucketRole.LOG:
            return GrantNotEnforceable(
                f"{self.buckets.named(grant.bucket)} is on S3 Express One Zone, and an execution "
                "may write to its own log alone: that would take an access point for each run. "
                "Nothing was issued.",
                hint="Use a standard bucket for the logs, or RINGFENCE_EXPRESS_SHARED=true, if "
                "there is a single tenant.",
            )
        longest = _bytes(_prefixes(grant))
        if longest > MAX_SCOPE_BYTES:
            return GrantNotEnforceable(
                f"The prefix {grant.prefix} is {longest} bytes long, and the scope of an access "
                f"point on S3 Express holds {MAX_SCOPE_BYTES}. Nothing was issued.",
                hint="Use shorter app and user ids, or a standard bucket.",
            )
        return None

    def _through_access_point(self, grant: Grant) -> Way:
        point = self._access_point(grant)
        return Way(point.name, point.arn, point.read_only, point)

    def _access_point(self, grant: Grant) -> AccessPoint:
        bucket, prefixes = self.buckets.of(grant.bucket), _prefixes(grant)
        operations = _operations(grant.permissions)
        name = _derived(self._account(), bucket, prefixes, operations)
        return AccessPoint(
            name,
            self._arn("accesspoint", name),
            bucket,
            prefixes,
            operations,
            grant.permissions <= READS,
        )

    # --- ARNs --------------------------------------------------------------------------------

    def _arn(self, kind: str, name: str) -> str:
        region = self.settings.region
        zone_of(name)
        if not _REGION.fullmatch(region):
            raise GrantNotEnforceable(
                f"AWS_REGION is {region!r}, which cannot stand in a session policy.",
                hint="Set it to the region of the buckets, like us-east-1.",
            )
        partition = self.role_arn.split(":", 2)[1]
        return f"arn:{partition}:s3express:{region}:{self._account()}:{kind}/{name}"

    def _account(self) -> str:
        match = _ACCOUNT.match(self.role_arn)
        if match is None:
            raise GrantNotEnforceable(
                f"RUNTIME_ROLE_ARN ({self.role_arn}) names no AWS account, and a session policy "
                "for S3 Express has to name the one that the bucket is in. Nothing was issued.",
                hint="S3 Express is there on AWS only: name a role like "
                "arn:aws:iam::123456789012:role/Name.",
            )
        return match[1]

    def account(self) -> str:
        """The AWS account of the role, whose buckets they are.

        Raises:
            GrantNotEnforceable: the role's ARN names none.
        """
        return self._account()


def _prefixes(grant: Grant) -> tuple[Prefix, ...]:
    """The prefixes of a grant's access point: a user's two places in an app share one, if they
    fit, since an account has few access points."""
    if grant.area in {Area.USER, Area.TMP}:
        both = prefixes_of_user(grant.prefix)
        if _bytes(both) <= MAX_SCOPE_BYTES:
            return both
    return (grant.prefix,)


def _bytes(prefixes: Iterable[str]) -> int:
    return sum(len(prefix.encode()) for prefix in prefixes)


def _operations(permissions: Permissions) -> frozenset[str]:
    return frozenset(name for each in permissions for name in _OPERATIONS[each])


def _derived(account: str, bucket: str, prefixes: Iterable[str], operations: Iterable[str]) -> str:
    """The name of an access point: 130 bits of a digest of all that it is for.

    Names are unique in a zone, so the account is in it too. With the suffix it has 50 characters at
    most in every zone whose id has 13; the base name alone may have 3 to 50.
    """
    from hashlib import sha256  # OpenSSL behind it takes 4 ms to load

    parts = ("1", account, bucket, *sorted(prefixes), *sorted(operations))
    digest = b32encode(sha256("\n".join(parts).encode()).digest()).decode().lower()
    return f"rf{digest[:26]}--{zone_of(bucket)}--xa-s3"
