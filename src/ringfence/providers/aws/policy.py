"""From grants to an STS session policy: pure text, no network.

A session policy is intersected with the role's own policies, so what stands here is the most that
the credential can do (IAM User Guide, *Session policies*). It holds ``Allow`` statements only: what
no statement names is denied by default.

Objects
    Grants with equal permissions share a statement, as its actions apply to each of its resources.
    Create, part and complete of a multipart upload are ``s3:PutObject``; abort and list-parts are
    actions of their own (Amazon S3 User Guide, *Multipart upload API and permissions*), and a
    writer who may not abort would leave parts behind that cost money.
Listing
    ``s3:ListBucket`` is allowed on the bucket, so its one fence is the condition on ``s3:prefix``.
    It is ``StringLike``, as ``StringEquals`` reads no ``*``; a request without a prefix has no such
    key, and a missing key does not match (IAM User Guide, *Condition operators*). Every prefix of a
    condition applies to every resource of its statement, so buckets share a statement only where
    exactly the same prefixes are granted on each.
Not granted
    ``s3:ListBucketMultipartUploads``: it has no ``s3:prefix`` condition key, hence no fence
    (Service Authorization Reference, *Amazon S3*). ACLs, tags, versions: no permission means them.
S3 Express
    Its one action is ``s3express:CreateSession``, on a bucket or on an access point. Whose session
    may read only has the condition ``StringEquals`` on ``s3express:SessionMode``, which is there in
    every request (Service Authorization Reference, *Amazon S3 Express*). See
    :mod:`ringfence.providers.aws.express` for what such a session opens.
``Version``
    2012-10-17, which MinIO requires too. With it ``${...}`` is a variable, and ``*`` and ``?`` are
    wildcards. They could be escaped as ``${*}``, but SeaweedFS does not read those escapes. Encoded
    ids contain none of it, and what is not made of encoded ids is refused here, not escaped.
White space
    None: Ceph's gateway fails on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole
from ringfence.scope import Grant, Grants, Permission, Permissions

if TYPE_CHECKING:
    from ringfence.providers.aws.express import Way

MAX_POLICY_CHARACTERS: Final = 2048
"""Longest session policy, in characters of plain text (AWS STS API Reference, *AssumeRole*)."""

Buckets = Callable[[BucketRole], str]
"""The bucket's name for its role."""

Ways = Callable[[Grant], "Way | None"]
"""How a grant reaches a bucket of S3 Express, or None where its bucket is a standard one."""

_ACTIONS: Final = {
    Permission.READ: ("s3:GetObject",),
    Permission.WRITE: ("s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
    Permission.DELETE: ("s3:DeleteObject",),
}
"""The actions on objects. Names only: a wildcard would take in the actions that AWS adds later."""

CREATE_SESSION: Final = "s3express:CreateSession"
_READ_ONLY: Final = {"Condition": {"StringEquals": {"s3express:SessionMode": "ReadOnly"}}}

_PARTITION: Final = re.compile(r"aws(?:-[a-z]+)*")
_ROLE_ARN: Final = re.compile(rf"arn:({_PARTITION.pattern}):iam::")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PREFIX: Final = re.compile(r"(?:(?!\.{1,2}/)[A-Za-z0-9_.@:+=,%-]+/)+")


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """A session policy and the grants that it says, no more and no less."""

    grants: Grants
    text: str


def partition_of(role_arn: str) -> str:
    """The AWS partition of a role's ARN, such as ``aws-cn``; ``aws`` for any other engine's ARN.

    S3-compatible engines accept a role ARN of any form, and name resources as ``arn:aws:s3:::``.
    """
    match = _ROLE_ARN.match(role_arn)
    return match[1] if match else "aws"


def _standard(_grant: Grant) -> Way | None:
    return None


def render(
    grants: Grants, buckets: Buckets, *, partition: str = "aws", ways: Ways = _standard
) -> str:
    """The session policy for exactly these grants: compact JSON, of any length.

    Raises:
        ValueError: there are no grants, or ``partition`` is none of AWS's. No session policy is
            empty, and a session without a policy has all that its role has.
        GrantNotEnforceable: a bucket name or a prefix holds what the policy language would read.
    """
    if not grants:
        raise ValueError("no grants: there is no session policy that allows nothing")
    if not _PARTITION.fullmatch(partition):
        raise ValueError(f"not a partition of AWS: {partition!r}")
    sessions = [(way, grant) for grant in grants if (way := ways(grant)) is not None]
    express = {grant for _, grant in sessions}
    places = [(_arn(g, buckets, partition), g) for g in grants if g not in express]
    statements = [
        *_object_statements(places),
        *_list_statements(places),
        *_session_statements([way for way, _ in sessions]),
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    return json.dumps(policy, separators=(",", ":"))


def split(
    grants: Grants,
    buckets: Buckets,
    *,
    partition: str = "aws",
    limit: int = MAX_POLICY_CHARACTERS,
    ways: Ways = _standard,
) -> tuple[SessionPolicy, ...]:
    """The fewest session policies within ``limit`` characters that together say these grants.

    Each grant is whole in one of them. The same grants are always split alike: of the splits with
    the fewest policies, the one that keeps the earlier grants together. What needs two grants at
    once, a copy from one area to another, is refused where they are in two policies.

    Raises:
        ValueError: as :func:`render`.
        GrantNotEnforceable: as :func:`render`, or one grant alone is over ``limit``.
    """

    def policy(part: Grants) -> SessionPolicy:
        return SessionPolicy(part, render(part, buckets, partition=partition, ways=ways))

    whole = policy(grants)
    if len(whole.text) <= limit:
        return (whole,)
    for grant in grants:
        _refuse_if_too_long(policy((grant,)), limit)
    # A grant belongs to one of five areas, so there are at most 52 splits to look at.
    splits = (tuple(policy(part) for part in parts) for parts in _partitions(grants))
    return min((each for each in splits if all(len(p.text) <= limit for p in each)), key=len)


def _refuse_if_too_long(policy: SessionPolicy, limit: int) -> None:
    size = len(policy.text)
    if size > limit:
        area = policy.grants[0].area
        raise GrantNotEnforceable(
            f"The session policy for the {area} area alone is {size} characters long;"
            f" at most {limit} are allowed.",
            hint="Use shorter app, user and run ids, or a shorter bucket name.",
        )


def _partitions(grants: Grants) -> Iterator[tuple[Grants, ...]]:
    """Every way to share out the grants; those that keep the earlier ones together come first."""
    if not grants:
        yield ()
        return
    *earlier, last = grants
    for parts in _partitions(tuple(earlier)):
        for index, part in enumerate(parts):
            yield (*parts[:index], (*part, last), *parts[index + 1 :])
        yield (*parts, (last,))


def _arn(grant: Grant, buckets: Buckets, partition: str) -> str:
    bucket = buckets(grant.bucket)
    if not _BUCKET.fullmatch(bucket):
        raise GrantNotEnforceable(
            f"The {grant.bucket} bucket's name {bucket!r} cannot stand in a session policy.",
            hint="A bucket's name is letters, digits, dots, hyphens and underscores.",
        )
    if not _PREFIX.fullmatch(grant.prefix):
        raise GrantNotEnforceable(
            f"The prefix {grant.prefix!r} cannot stand in a session policy.",
            hint="Prefixes are made of encoded ids, each followed by a slash.",
        )
    return f"arn:{partition}:s3:::{bucket}"


_Places = list[tuple[str, Grant]]


def _object_statements(places: _Places) -> Iterator[dict[str, object]]:
    alike: dict[Permissions, list[str]] = {}
    for arn, grant in places:
        resources = alike.setdefault(grant.permissions - {Permission.LIST}, [])
        resources.append(f"{arn}/{grant.prefix}*")
    for permissions, resources in alike.items():
        actions = [
            name for each, names in _ACTIONS.items() if each in permissions for name in names
        ]
        if actions:
            yield {"Effect": "Allow", "Action": actions, "Resource": _once(resources)}


def _list_statements(places: _Places) -> Iterator[dict[str, object]]:
    prefixes: dict[str, list[str]] = {}
    for arn, grant in places:
        if Permission.LIST in grant.permissions:
            prefixes.setdefault(arn, []).append(f"{grant.prefix}*")
    alike: dict[tuple[str, ...], list[str]] = {}
    for arn, patterns in prefixes.items():
        alike.setdefault(tuple(_once(patterns)), []).append(arn)
    for shared, arns in alike.items():
        yield {
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": arns,
            "Condition": {"StringLike": {"s3:prefix": list(shared)}},
        }


def _session_statements(ways: list[Way]) -> Iterator[dict[str, object]]:
    whole = _once([way.arn for way in ways if not way.read_only])
    # Where one grant writes to a bucket, a second statement that only reads it says nothing more.
    reading = [arn for arn in _once([way.arn for way in ways]) if arn not in whole]
    for arns, condition in ((whole, {}), (reading, _READ_ONLY)):
        if arns:
            yield {"Effect": "Allow", "Action": [CREATE_SESSION], "Resource": arns, **condition}


def _once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))
