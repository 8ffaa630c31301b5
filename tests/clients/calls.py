"""The probes of the matrix in the words of botocore, and its answers in those of the matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from ringfence.layout import BucketRole
from ringfence.testing.isolation import (
    LISTINGS,
    Answer,
    Ground,
    Operation,
    Outcome,
    Probe,
    Upload,
)
from tests.isolation.s3 import NO_UPLOAD, RANGE

Bucket = Callable[[BucketRole], str]
Params = dict[str, Any]

_DENIED: Final = "AccessDenied"


class _Words:
    """One probe's parameters, by their names in the API."""

    def __init__(self, probe: Probe, ground: Ground, bucket: Bucket) -> None:
        self.probe = probe
        self.ground = ground
        self.here = {"Bucket": bucket(probe.bucket), "Key": probe.key}
        far = probe.other
        self.far = {"Bucket": bucket(far.bucket), "Key": far.key} if far else {}
        self.upload: Upload = ground.upload or NO_UPLOAD

    @property
    def listing(self) -> Params:
        prefix = {"Prefix": self.probe.key} if self.probe.key else {}
        return {"Bucket": self.here["Bucket"], **prefix}

    @property
    def level(self) -> Params:
        return {**self.listing, "Delimiter": "/"}

    @property
    def body(self) -> Params:
        return {**self.here, "Body": self.ground.body}

    @property
    def begun(self) -> Params:
        return {**self.here, "UploadId": self.upload.id}

    @property
    def part(self) -> Params:
        return {"PartNumber": 1, "UploadId": self.upload.id}


Call = tuple[str, Params]
"""A method of the S3 client, and its arguments."""

_CALLS: Final[Mapping[Operation, Callable[[_Words], Call]]] = {
    Operation.GET: lambda w: ("get_object", w.here),
    Operation.GET_RANGE: lambda w: ("get_object", {**w.here, "Range": RANGE}),
    Operation.HEAD: lambda w: ("head_object", w.here),
    Operation.PUT: lambda w: ("put_object", w.body),
    Operation.PUT_IF_ABSENT: lambda w: ("put_object", {**w.body, "IfNoneMatch": "*"}),
    Operation.PUT_IF_MATCH: lambda w: (
        "put_object",
        {**w.body, "IfMatch": w.ground.version or '"none"'},
    ),
    Operation.DELETE: lambda w: ("delete_object", w.here),
    Operation.DELETE_MANY: lambda w: (
        "delete_objects",
        {
            "Bucket": w.here["Bucket"],
            "Delete": {"Objects": [{"Key": w.far["Key"]}, {"Key": w.here["Key"]}]},
        },
    ),
    Operation.LIST: lambda w: ("list_objects_v2", w.listing),
    Operation.LIST_LEVEL: lambda w: ("list_objects_v2", w.level),
    Operation.LIST_AFTER: lambda w: (
        "list_objects_v2",
        {**w.listing, "StartAfter": f"{w.probe.key}!"},
    ),
    Operation.LIST_V1: lambda w: ("list_objects", w.listing),
    Operation.LIST_V1_LEVEL: lambda w: ("list_objects", w.level),
    Operation.UPLOAD_START: lambda w: ("create_multipart_upload", w.here),
    Operation.UPLOAD_PART: lambda w: ("upload_part", {**w.body, **w.part}),
    Operation.UPLOAD_PARTS: lambda w: ("list_parts", w.begun),
    Operation.UPLOAD_COMPLETE: lambda w: (
        "complete_multipart_upload",
        {**w.begun, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": w.upload.part}]}},
    ),
    Operation.UPLOAD_ABORT: lambda w: ("abort_multipart_upload", w.begun),
    Operation.COPY_FROM: lambda w: ("copy_object", {**w.far, "CopySource": w.here}),
    Operation.COPY_TO: lambda w: ("copy_object", {**w.here, "CopySource": w.far}),
    Operation.PART_COPY_FROM: lambda w: (
        "upload_part_copy",
        {**w.far, **w.part, "CopySource": w.here},
    ),
    Operation.PART_COPY_TO: lambda w: (
        "upload_part_copy",
        {**w.here, **w.part, "CopySource": w.far},
    ),
}


def call(probe: Probe, ground: Ground, bucket: Bucket) -> Call:
    """The call that a probe is."""
    return _CALLS[probe.operation](_Words(probe, ground, bucket))


def done(probe: Probe, response: Mapping[str, Any], body: bytes) -> Answer:
    """What a call that did not raise says. ``body`` is that of an object, read to its end."""
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    shown = body + repr({k: v for k, v in response.items() if k != "Body"}).encode()
    if probe.operation is Operation.DELETE_MANY:
        return _deleted(probe, response, shown)
    keys: tuple[str, ...] = ()
    if probe.operation in LISTINGS:
        keys = (
            *(row["Key"] for row in response.get("Contents", ())),
            *(row["Prefix"] for row in response.get("CommonPrefixes", ())),
        )
    # The judge holds the body of a plain read against what was planted, so it is that alone.
    whole = body if probe.operation is Operation.GET else shown
    return Answer(Outcome.ALLOWED, str(status), whole, keys)


def _deleted(probe: Probe, response: Mapping[str, Any], shown: bytes) -> Answer:
    assert probe.other is not None
    codes = {row["Key"]: row["Code"] for row in response.get("Errors", ())}
    deleted = {row["Key"] for row in response.get("Deleted", ())}

    def of(key: str) -> Outcome:
        if codes.get(key) == _DENIED:
            return Outcome.REFUSED
        return Outcome.ALLOWED if key in deleted and key not in codes else Outcome.FAILED

    said = f"200, of that key {codes.get(probe.key, 'no error')}"
    return Answer(of(probe.key), said, shown, other=of(probe.other.key))


def raised(probe: Probe, error: ClientError) -> Answer:
    """What a call that raised says: a refusal is the engine's own word for it, and nothing else."""
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    # HEAD has no body, hence no code: botocore gives its status for one.
    bodiless = probe.operation is Operation.HEAD and code == "403"
    refused = status == 403 and (code == _DENIED or bodiless)
    found = Outcome.REFUSED if refused else Outcome.FAILED
    along = found if probe.operation is Operation.DELETE_MANY else None
    return Answer(found, f"{status} {code}", repr(error.response).encode(), other=along)
