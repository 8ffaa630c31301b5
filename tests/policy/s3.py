"""What each S3 operation asks IAM about: its actions, resources and context keys.

From the Amazon S3 User Guide, *Required permissions for Amazon S3 API operations* and *Multipart
upload API and permissions*, and the Service Authorization Reference, *Amazon S3*. Nothing here is
from Ringfence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from tests.policy.iam import Context, Request


class Op(Enum):
    """An operation of the S3 API, or a form of one that asks for more."""

    GET_OBJECT = auto()
    HEAD_OBJECT = auto()
    PUT_OBJECT = auto()
    PUT_OBJECT_WITH_ACL = auto()
    PUT_OBJECT_WITH_TAGS = auto()
    DELETE_OBJECT = auto()
    DELETE_OBJECTS = auto()
    COPY_OBJECT = auto()
    LIST_OBJECTS = auto()
    LIST_OBJECTS_V2 = auto()
    LIST_OBJECT_VERSIONS = auto()
    HEAD_BUCKET = auto()
    CREATE_MULTIPART_UPLOAD = auto()
    UPLOAD_PART = auto()
    UPLOAD_PART_COPY = auto()
    COMPLETE_MULTIPART_UPLOAD = auto()
    ABORT_MULTIPART_UPLOAD = auto()
    LIST_PARTS = auto()
    LIST_MULTIPART_UPLOADS = auto()
    GET_OBJECT_VERSION = auto()
    GET_OBJECT_ACL = auto()
    PUT_OBJECT_ACL = auto()
    GET_OBJECT_TAGGING = auto()
    PUT_OBJECT_TAGGING = auto()
    DELETE_OBJECT_TAGGING = auto()
    DELETE_OBJECT_VERSION = auto()
    GET_OBJECT_ATTRIBUTES = auto()
    PUT_OBJECT_RETENTION = auto()
    PUT_OBJECT_LEGAL_HOLD = auto()
    RESTORE_OBJECT = auto()
    GET_BUCKET_LOCATION = auto()
    GET_BUCKET_POLICY = auto()
    PUT_BUCKET_POLICY = auto()
    DELETE_BUCKET_POLICY = auto()
    GET_BUCKET_ACL = auto()
    PUT_BUCKET_ACL = auto()
    PUT_BUCKET_VERSIONING = auto()
    PUT_LIFECYCLE = auto()
    PUT_BUCKET_CORS = auto()
    PUT_BUCKET_NOTIFICATION = auto()
    PUT_BUCKET_REPLICATION = auto()
    CREATE_BUCKET = auto()
    DELETE_BUCKET = auto()
    LIST_BUCKETS = auto()


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket and, for an object operation, a key; for a listing the prefix asked for.

    ``key`` is None where a request names none: a listing without a prefix is of the whole bucket.
    """

    bucket: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call: where to, and for the copies where from."""

    op: Op
    place: Place
    source: Place | None = None

    def __post_init__(self) -> None:
        if (self.source is not None) is not (self.op in COPIES):
            raise ValueError(f"{self.op} with source {self.source}")


_ON_OBJECT: Final = {
    Op.GET_OBJECT: ("s3:GetObject",),
    Op.HEAD_OBJECT: ("s3:GetObject",),
    Op.PUT_OBJECT: ("s3:PutObject",),
    Op.PUT_OBJECT_WITH_ACL: ("s3:PutObject", "s3:PutObjectAcl"),
    Op.PUT_OBJECT_WITH_TAGS: ("s3:PutObject", "s3:PutObjectTagging"),
    Op.DELETE_OBJECT: ("s3:DeleteObject",),
    # Asked for each key of the list by itself; a refused key is an error of that key alone.
    Op.DELETE_OBJECTS: ("s3:DeleteObject",),
    Op.COPY_OBJECT: ("s3:PutObject",),
    Op.CREATE_MULTIPART_UPLOAD: ("s3:PutObject",),
    Op.UPLOAD_PART: ("s3:PutObject",),
    Op.UPLOAD_PART_COPY: ("s3:PutObject",),
    Op.COMPLETE_MULTIPART_UPLOAD: ("s3:PutObject",),
    Op.ABORT_MULTIPART_UPLOAD: ("s3:AbortMultipartUpload",),
    Op.LIST_PARTS: ("s3:ListMultipartUploadParts",),
    Op.GET_OBJECT_VERSION: ("s3:GetObjectVersion",),
    Op.GET_OBJECT_ACL: ("s3:GetObjectAcl",),
    Op.PUT_OBJECT_ACL: ("s3:PutObjectAcl",),
    Op.GET_OBJECT_TAGGING: ("s3:GetObjectTagging",),
    Op.PUT_OBJECT_TAGGING: ("s3:PutObjectTagging",),
    Op.DELETE_OBJECT_TAGGING: ("s3:DeleteObjectTagging",),
    Op.DELETE_OBJECT_VERSION: ("s3:DeleteObjectVersion",),
    Op.GET_OBJECT_ATTRIBUTES: ("s3:GetObject", "s3:GetObjectAttributes"),
    Op.PUT_OBJECT_RETENTION: ("s3:PutObjectRetention",),
    Op.PUT_OBJECT_LEGAL_HOLD: ("s3:PutObjectLegalHold",),
    Op.RESTORE_OBJECT: ("s3:RestoreObject",),
}

_ON_BUCKET: Final = {
    Op.LIST_OBJECTS: "s3:ListBucket",
    Op.LIST_OBJECTS_V2: "s3:ListBucket",
    Op.LIST_OBJECT_VERSIONS: "s3:ListBucketVersions",
    Op.HEAD_BUCKET: "s3:ListBucket",
    Op.LIST_MULTIPART_UPLOADS: "s3:ListBucketMultipartUploads",
    Op.GET_BUCKET_LOCATION: "s3:GetBucketLocation",
    Op.GET_BUCKET_POLICY: "s3:GetBucketPolicy",
    Op.PUT_BUCKET_POLICY: "s3:PutBucketPolicy",
    Op.DELETE_BUCKET_POLICY: "s3:DeleteBucketPolicy",
    Op.GET_BUCKET_ACL: "s3:GetBucketAcl",
    Op.PUT_BUCKET_ACL: "s3:PutBucketAcl",
    Op.PUT_BUCKET_VERSIONING: "s3:PutBucketVersioning",
    Op.PUT_LIFECYCLE: "s3:PutLifecycleConfiguration",
    Op.PUT_BUCKET_CORS: "s3:PutBucketCORS",
    Op.PUT_BUCKET_NOTIFICATION: "s3:PutBucketNotification",
    Op.PUT_BUCKET_REPLICATION: "s3:PutReplicationConfiguration",
    Op.CREATE_BUCKET: "s3:CreateBucket",
    Op.DELETE_BUCKET: "s3:DeleteBucket",
}

LISTINGS: Final = frozenset({Op.LIST_OBJECTS, Op.LIST_OBJECTS_V2, Op.LIST_OBJECT_VERSIONS})
"""The operations that may have a prefix, which is then their context key ``s3:prefix``."""

COPIES: Final = frozenset({Op.COPY_OBJECT, Op.UPLOAD_PART_COPY})
"""The operations that also read: ``s3:GetObject`` on the source."""

ON_OBJECT: Final = frozenset(_ON_OBJECT)
ON_BUCKET: Final = frozenset(_ON_BUCKET)


def requests(call: Call, *, partition: str = "aws") -> tuple[Request, ...]:
    """What IAM is asked about one call. The call is allowed when every request is."""
    place = call.place
    if call.op is Op.LIST_BUCKETS:
        return (Request("s3:ListAllMyBuckets", f"arn:{partition}:s3:::*"),)
    if call.op in _ON_BUCKET:
        context: Context = {}
        if call.op in LISTINGS and place.key is not None:
            context = {"s3:prefix": place.key}
        return (Request(_ON_BUCKET[call.op], f"arn:{partition}:s3:::{place.bucket}", context),)
    asked = [Request(action, _object(place, partition)) for action in _ON_OBJECT[call.op]]
    if call.source is not None:
        asked.append(Request("s3:GetObject", _object(call.source, partition)))
    return tuple(asked)


def _object(place: Place, partition: str) -> str:
    return f"arn:{partition}:s3:::{place.bucket}/{place.key}"
