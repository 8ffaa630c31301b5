"""The double of S3 beside Express: standard buckets, fenced by what STS was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from tests.express.http_front import Request, Response
from tests.express.operations import Operation, keys_to_delete, operation
from tests.express.principals import Directory, Principal
from tests.express.sigv4 import Rejected, Rules
from tests.express.upstream import Upstream, passed_on
from tests.isolation.s3 import delete_body
from tests.policy.s3 import Call, Op, Place, requests

SERVICES: Final = frozenset({"s3"})
_OPS: Final[Mapping[str, Op]] = {
    "GetObject": Op.GET_OBJECT,
    "HeadObject": Op.HEAD_OBJECT,
    "PutObject": Op.PUT_OBJECT,
    "DeleteObject": Op.DELETE_OBJECT,
    "DeleteObjects": Op.DELETE_OBJECTS,
    "CreateMultipartUpload": Op.CREATE_MULTIPART_UPLOAD,
    "UploadPart": Op.UPLOAD_PART,
    "CompleteMultipartUpload": Op.COMPLETE_MULTIPART_UPLOAD,
    "AbortMultipartUpload": Op.ABORT_MULTIPART_UPLOAD,
    "ListParts": Op.LIST_PARTS,
    "ListMultipartUploads": Op.LIST_MULTIPART_UPLOADS,
    "ListObjectsV2": Op.LIST_OBJECTS_V2,
    "HeadBucket": Op.HEAD_BUCKET,
    "CopyObject": Op.PUT_OBJECT,
    "UploadPartCopy": Op.UPLOAD_PART,
}
_KEPT: Final = ("content-type", "content-md5", "range", "if-match", "if-none-match")


@dataclass
class Standard:
    """The standard buckets of an account, by name."""

    directory: Directory
    upstream: Upstream
    rules: Rules
    buckets: Mapping[str, str]
    readable: Callable[[Principal, Request], tuple[str, str]]

    def handle(self, request: Request, bucket: str, path: str) -> Response:
        """One request; ``path`` is what follows the bucket.

        Raises:
            Rejected: as S3 would, or because it is none that is known here.
        """
        principal, body = self.directory.signer(request, SERVICES)
        if bucket not in self.buckets:
            raise Rejected(404, "NoSuchBucket")
        asked = operation(request, path, dots=self.rules.holds("dot segments"))
        if asked.name == "DeleteObjects":
            return self._delete(principal, bucket, keys_to_delete(body))
        if asked.name not in _OPS or not self.may(principal, bucket, asked):
            raise Rejected(403, "AccessDenied", asked.name)
        headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
        if "x-amz-copy-source" in request.headers:
            source, at = self.readable(principal, request)
            headers["x-amz-copy-source"] = f"/{self.upstream.buckets[source]}{at}"
        reply = self.upstream.send(
            request.method, bucket, path, request.query, body=body, headers=headers
        )
        return passed_on(reply)

    def may(self, principal: Principal, bucket: str, asked: Operation) -> bool:
        """Whether the principal's policies allow an operation."""
        key: str | None = asked.key
        if asked.name == "ListObjectsV2":
            key = asked.params.get("prefix")
        call = Call(_OPS[asked.name], Place(bucket, key))
        return all(principal.allowed(each, self.rules.holds) for each in requests(call))

    def reads(self, principal: Principal, bucket: str, key: str) -> tuple[str, bool]:
        """A copy's source in a standard bucket, and whether the principal may read it."""
        if bucket not in self.buckets:
            raise Rejected(403, "AccessDenied", "no such source")
        return bucket, self.may(principal, bucket, Operation("GetObject", key, {}))

    def _delete(self, principal: Principal, bucket: str, keys: list[str]) -> Response:
        mine = [k for k in keys if self.may(principal, bucket, Operation("DeleteObjects", k, {}))]
        if mine:
            body, headers = delete_body(mine)
            self.upstream.send("POST", bucket, "/", "delete=", body=body, headers=headers)
        rows = [f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in mine]
        rows += [
            f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code>"
            "<Message>Access Denied</Message></Error>"
            for key in keys
            if key not in mine
        ]
        return Response(200, f"<DeleteResult>{''.join(rows)}</DeleteResult>".encode())
