"""The matrix's tenant and owner on S3, over the wire: no SDK between the probe and the engine."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from ringfence.config import Buckets
from ringfence.layout import BucketRole
from ringfence.testing.isolation import (
    Answer,
    Ground,
    Operation,
    Outcome,
    Place,
    Probe,
    Upload,
)
from tests.isolation.wire import Reply, Wire

NO_UPLOAD: Final = Upload("no-upload", '"none"')
RANGE: Final = "bytes=0-31"
MOST_DELETED: Final = 1000
"""Keys of one bulk delete (Amazon S3 API Reference, *DeleteObjects*)."""


def target(bucket: str, key: str = "", **query: str) -> str:
    """A request target: the key quoted as S3 signs it, the query sorted."""
    path = f"/{bucket}/{quote(key, safe='/~')}" if key else f"/{bucket}"
    text = urlencode(sorted(query.items()), quote_via=quote, safe="~")
    return f"{path}?{text}" if text else path


def copy_source(bucket: str, key: str) -> dict[str, str]:
    return {"x-amz-copy-source": f"/{bucket}/{quote(key, safe='/~')}"}


def delete_body(keys: Iterable[str]) -> tuple[bytes, dict[str, str]]:
    """The body of a bulk delete, and the headers that it needs."""
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    body = f"<Delete>{objects}</Delete>".encode()
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return body, {"Content-MD5": digest, "Content-Type": "application/xml"}


def complete_body(upload: Upload) -> bytes:
    part = f"<Part><PartNumber>1</PartNumber><ETag>{escape(upload.part)}</ETag></Part>"
    return f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()


def outcome(reply: Reply) -> Outcome:
    """Strictly: a success is one to its end, a refusal is S3's own word for it."""
    if reply.denied or b"<Code>AccessDenied</Code>" in reply.body:
        return Outcome.REFUSED
    done = 200 <= reply.status < 300 and b"<Error>" not in reply.body
    return Outcome.ALLOWED if done else Outcome.FAILED


def texts(reply: Reply, path: str) -> list[str]:
    """The texts of the elements at ``path`` in an answer, whatever its namespace."""
    root = ET.fromstring(reply.body)  # noqa: S314 - the engine under test runs here
    steps = "/".join(f"{{*}}{step}" for step in path.split("/"))
    return [element.text or "" for element in root.iterfind(steps)]


Request = tuple[str, str, bytes, dict[str, str]]
"""Method, target, body and headers."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a probe strikes, the far end of a copy, and what the owner laid out."""

    here: tuple[str, str]
    far: tuple[str, str]
    ground: Ground

    @property
    def at(self) -> str:
        return target(*self.here)

    @property
    def body(self) -> bytes:
        return self.ground.body

    @property
    def upload(self) -> Upload:
        return self.ground.upload or NO_UPLOAD

    @property
    def whole(self) -> str:
        return target(*self.here, uploadId=self.upload.id)

    def part(self, end: tuple[str, str]) -> str:
        return target(*end, partNumber="1", uploadId=self.upload.id)


REQUESTS: Final[Mapping[Operation, Callable[[Ends], Request]]] = {
    Operation.GET: lambda e: ("GET", e.at, b"", {}),
    Operation.GET_RANGE: lambda e: ("GET", e.at, b"", {"Range": RANGE}),
    Operation.HEAD: lambda e: ("HEAD", e.at, b"", {}),
    Operation.PUT: lambda e: ("PUT", e.at, e.body, {}),
    Operation.PUT_IF_ABSENT: lambda e: ("PUT", e.at, e.body, {"If-None-Match": "*"}),
    Operation.PUT_IF_MATCH: lambda e: (
        "PUT",
        e.at,
        e.body,
        {"If-Match": e.ground.version or '"none"'},
    ),
    Operation.DELETE: lambda e: ("DELETE", e.at, b"", {}),
    Operation.UPLOAD_START: lambda e: ("POST", target(*e.here, uploads=""), b"", {}),
    Operation.UPLOAD_PART: lambda e: ("PUT", e.part(e.here), e.body, {}),
    Operation.UPLOAD_PARTS: lambda e: ("GET", e.whole, b"", {}),
    Operation.UPLOAD_COMPLETE: lambda e: ("POST", e.whole, complete_body(e.upload), {}),
    Operation.UPLOAD_ABORT: lambda e: ("DELETE", e.whole, b"", {}),
    Operation.COPY_FROM: lambda e: ("PUT", target(*e.far), b"", copy_source(*e.here)),
    Operation.COPY_TO: lambda e: ("PUT", e.at, b"", copy_source(*e.far)),
    Operation.PART_COPY_FROM: lambda e: ("PUT", e.part(e.far), b"", copy_source(*e.here)),
    Operation.PART_COPY_TO: lambda e: ("PUT", e.part(e.here), b"", copy_source(*e.far)),
}

LISTS: Final[Mapping[Operation, dict[str, str]]] = {
    Operation.LIST: {"list-type": "2"},
    Operation.LIST_LEVEL: {"list-type": "2", "delimiter": "/"},
    Operation.LIST_AFTER: {"list-type": "2"},
    Operation.LIST_V1: {},
    Operation.LIST_V1_LEVEL: {"delimiter": "/"},
}


class RawTenant:
    """A fenced session."""

    operations = frozenset(Operation)

    def __init__(self, wire: Wire, buckets: Buckets, name: str = "raw S3") -> None:
        self.name = name
        self.wire = wire
        self._bucket = buckets.of

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        if probe.operation in LISTS:
            return self._list(probe)
        if probe.operation is Operation.DELETE_MANY:
            return self._delete_many(probe)
        method, at, body, headers = self._request(probe, ground)
        reply = self.wire.send(method, at, body, headers)
        found = outcome(reply)
        if method == "HEAD" and reply.status == 403:
            found = Outcome.REFUSED  # HEAD has no body, hence no code
        return Answer(found, str(reply), reply.body)

    def _request(self, probe: Probe, ground: Ground) -> Request:
        far = probe.other
        return REQUESTS[probe.operation](
            Ends(
                (self._bucket(probe.bucket), probe.key),
                (self._bucket(far.bucket), far.key) if far else ("", ""),
                ground,
            )
        )

    def _list(self, probe: Probe) -> Answer:
        query = {**LISTS[probe.operation], **({"prefix": probe.key} if probe.key else {})}
        if probe.operation is Operation.LIST_AFTER:
            query["start-after"] = f"{probe.key}!"
        reply = self.wire.send("GET", target(self._bucket(probe.bucket), **query))
        found, keys = outcome(reply), list[str]()
        if found is Outcome.ALLOWED:
            keys = texts(reply, "Contents/Key") + texts(reply, "CommonPrefixes/Prefix")
        return Answer(found, str(reply), reply.body, tuple(keys))

    def _delete_many(self, probe: Probe) -> Answer:
        assert probe.other is not None
        body, headers = delete_body([probe.other.key, probe.key])
        at = target(self._bucket(probe.bucket), delete="")
        reply = self.wire.send("POST", at, body, headers)
        if reply.status != 200:
            whole = outcome(reply)
            return Answer(whole, str(reply), reply.body, other=whole)
        codes = dict(zip(texts(reply, "Error/Key"), texts(reply, "Error/Code"), strict=True))
        deleted = set(texts(reply, "Deleted/Key"))

        def of(key: str) -> Outcome:
            if codes.get(key) == "AccessDenied":
                return Outcome.REFUSED
            return Outcome.ALLOWED if key in deleted and key not in codes else Outcome.FAILED

        said = f"200, of that key {codes.get(probe.key, 'no error')}"
        return Answer(of(probe.key), said, reply.body, other=of(probe.other.key))


class RawOwner:
    """The installation's own keys."""

    def __init__(self, wire: Wire, buckets: Buckets) -> None:
        self.wire = wire
        self._bucket = buckets.of

    def plant(self, place: Place, body: bytes) -> str | None:
        reply = self.wire.send("PUT", self._target(place), body)
        return reply.headers.get("ETag") if reply.status == 200 else None

    def read(self, place: Place) -> bytes | None:
        reply = self.wire.send("GET", self._target(place))
        return reply.body if reply.status == 200 else None

    def versions(self, bucket: BucketRole) -> Mapping[str, str]:
        return self.under(bucket, "")

    def under(self, bucket: BucketRole, prefix: str) -> Mapping[str, str]:
        """Every key below a prefix with its ETag."""
        found: dict[str, str] = {}
        for page in self._pages(bucket, {"list-type": "2", "prefix": prefix}):
            keys = map(unquote_plus, texts(page, "Contents/Key"))
            found |= zip(keys, texts(page, "Contents/ETag"), strict=True)
        return found

    def begin(self, place: Place) -> Upload | None:
        reply = self.wire.send("POST", self._target(place, uploads=""))
        if reply.status != 200:
            return None
        (upload,) = texts(reply, "UploadId")
        at = self._target(place, partNumber="1", uploadId=upload)
        part = self.wire.send("PUT", at, b"a part of the owner's")
        return Upload(upload, part.headers["ETag"])

    def parts(self, place: Place, upload: Upload) -> frozenset[str] | None:
        reply = self.wire.send("GET", self._target(place, uploadId=upload.id))
        return frozenset(texts(reply, "Part/ETag")) if reply.status == 200 else None

    def uploads(self, bucket: BucketRole) -> frozenset[tuple[str, str]]:
        # Its keys are as they are: this engine does not know encoding-type here.
        reply = self.wire.send("GET", target(self._bucket(bucket), uploads=""))
        assert reply.status == 200, reply
        keys = texts(reply, "Upload/Key")
        return frozenset(zip(keys, texts(reply, "Upload/UploadId"), strict=True))

    def clear(self, places: Iterable[Place], uploads: Iterable[tuple[Place, str]]) -> None:
        for place, upload in uploads:
            self.wire.send("DELETE", self._target(place, uploadId=upload))
        by_bucket: dict[BucketRole, list[str]] = {}
        for place in places:
            by_bucket.setdefault(place.bucket, []).append(place.key)
        for bucket, keys in by_bucket.items():
            for start in range(0, len(keys), MOST_DELETED):
                body, headers = delete_body(keys[start : start + MOST_DELETED])
                self.wire.send("POST", target(self._bucket(bucket), delete=""), body, headers)

    def _target(self, place: Place, **query: str) -> str:
        return target(self._bucket(place.bucket), place.key, **query)

    def _pages(self, bucket: BucketRole, query: dict[str, str]) -> Iterator[Reply]:
        query = {**query, "encoding-type": "url"}
        while True:
            reply = self.wire.send("GET", target(self._bucket(bucket), **query))
            assert reply.status == 200, reply
            yield reply
            following = texts(reply, "NextContinuationToken")
            if not following:
                return
            query["continuation-token"] = following[0]
