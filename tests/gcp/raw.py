"""The matrix's tenants and owner on Google Cloud Storage, over the wire, on both of its APIs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from ringfence.config import Buckets
from ringfence.layout import BucketRole
from ringfence.providers.base import Credential
from ringfence.scope import Grants, Permission
from ringfence.testing.isolation import (
    Answer,
    Expected,
    Ground,
    Operation,
    Outcome,
    Place,
    Probe,
    Upload,
    may,
)
from tests.isolation.s3 import texts
from tests.isolation.wire import Reply, Wire

NO_UPLOAD: Final = Upload("no-upload", '"none"')
RANGE: Final = {"Range": "bytes=0-31"}

NOT_THERE: Final = frozenset({Operation.PART_COPY_FROM, Operation.PART_COPY_TO})
"""Cloud Storage has no copy of a part."""

REPLACES: Final = frozenset(
    {Operation.PUT, Operation.PUT_IF_MATCH, Operation.UPLOAD_COMPLETE, Operation.COPY_TO}
)
"""They meet an object that lies there. Replacing one takes the permission to delete it."""


def on_gcs(wanted: Iterable[Probe], held: Grants) -> Iterator[Probe]:
    """The probes, but for what this cloud alone refuses: to replace in a write-only area."""
    for probe in wanted:
        replaces = probe.operation in REPLACES and probe.expected is Expected.ALLOWED
        if replaces and not may(held, Permission.DELETE, probe.place):
            yield replace(probe, expected=Expected.REFUSED)
        else:
            yield probe


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def token_of(credential: Credential) -> str:
    return credential.fields["token"].reveal()


def target(bucket: str, key: str = "", **query: str) -> str:
    """A request target of the XML API, the key as an attacker would write it."""
    path = f"/{bucket}/{quote(key, safe='/~')}" if key else f"/{bucket}"
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


def outcome(reply: Reply) -> Outcome:
    """Strictly: only the 403 that says "this principal may not" is a refusal."""
    if reply.status == 403 and (reply.code == "AccessDenied" or is_forbidden(reply)):
        return Outcome.REFUSED
    return Outcome.ALLOWED if 200 <= reply.status < 300 else Outcome.FAILED


def is_forbidden(reply: Reply) -> bool:
    """The JSON API's word for it."""
    try:
        errors = json.loads(reply.body)["error"]["errors"]
        return bool(errors[0]["reason"] == "forbidden")
    except (ValueError, KeyError, TypeError, IndexError):
        return False


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
    def generation(self) -> str:
        return self.ground.version or "1"

    @property
    def upload(self) -> Upload:
        return self.ground.upload or NO_UPLOAD

    @property
    def whole(self) -> str:
        return target(*self.here, uploadId=self.upload.id)


Request = tuple[str, str, bytes, dict[str, str]]
"""Method, target, body and headers."""

_MATCH: Final = "x-goog-if-generation-match"


def copied(source: tuple[str, str]) -> dict[str, str]:
    return {"x-goog-copy-source": f"{source[0]}/{quote(source[1], safe='/~')}"}


def complete_body(upload: Upload) -> bytes:
    part = f"<Part><PartNumber>1</PartNumber><ETag>{escape(upload.part)}</ETag></Part>"
    return f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()


XML: Final[Mapping[Operation, Callable[[Ends], Request]]] = {
    Operation.GET: lambda e: ("GET", e.at, b"", {}),
    Operation.GET_RANGE: lambda e: ("GET", e.at, b"", RANGE),
    Operation.HEAD: lambda e: ("HEAD", e.at, b"", {}),
    Operation.PUT: lambda e: ("PUT", e.at, e.body, {}),
    Operation.PUT_IF_ABSENT: lambda e: ("PUT", e.at, e.body, {_MATCH: "0"}),
    Operation.PUT_IF_MATCH: lambda e: ("PUT", e.at, e.body, {_MATCH: e.generation}),
    Operation.DELETE: lambda e: ("DELETE", e.at, b"", {}),
    Operation.UPLOAD_START: lambda e: ("POST", target(*e.here, uploads=""), b"", {}),
    Operation.UPLOAD_PART: lambda e: (
        "PUT",
        target(*e.here, partNumber="1", uploadId=e.upload.id),
        e.body,
        {},
    ),
    Operation.UPLOAD_PARTS: lambda e: ("GET", e.whole, b"", {}),
    Operation.UPLOAD_COMPLETE: lambda e: ("POST", e.whole, complete_body(e.upload), {}),
    Operation.UPLOAD_ABORT: lambda e: ("DELETE", e.whole, b"", {}),
    Operation.COPY_FROM: lambda e: ("PUT", target(*e.far), b"", copied(e.here)),
    Operation.COPY_TO: lambda e: ("PUT", e.at, b"", copied(e.far)),
}

XML_LISTS: Final[Mapping[Operation, dict[str, str]]] = {
    Operation.LIST: {"list-type": "2"},
    Operation.LIST_LEVEL: {"list-type": "2", "delimiter": "/"},
    Operation.LIST_AFTER: {"list-type": "2"},
    Operation.LIST_V1: {},
    Operation.LIST_V1_LEVEL: {"delimiter": "/"},
}


class XmlTenant:
    """A fenced token on the XML API."""

    operations = frozenset({*XML, *XML_LISTS})

    def __init__(self, wire: Wire, buckets: Buckets, token: str, name: str = "raw XML") -> None:
        self.name = name
        self.wire = wire
        self._bucket = buckets.of
        self._headers = bearer(token)

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        if probe.operation in XML_LISTS:
            return self._list(probe)
        method, at, body, headers = XML[probe.operation](self.ends(probe, ground))
        reply = self.wire.send(method, at, body, {**headers, **self._headers})
        found = outcome(reply)
        if method == "HEAD" and reply.status == 403:
            found = Outcome.REFUSED  # HEAD has no body, hence no code
        return Answer(found, str(reply), reply.body)

    def ends(self, probe: Probe, ground: Ground) -> Ends:
        far = probe.other
        return Ends(
            (self._bucket(probe.bucket), probe.key),
            (self._bucket(far.bucket), far.key) if far else ("", ""),
            ground,
        )

    def _list(self, probe: Probe) -> Answer:
        query = {**XML_LISTS[probe.operation], **({"prefix": probe.key} if probe.key else {})}
        if probe.operation is Operation.LIST_AFTER:
            query["start-after"] = f"{probe.key}!"
        at = target(self._bucket(probe.bucket), **query)
        reply = self.wire.send("GET", at, b"", self._headers)
        found, keys = outcome(reply), list[str]()
        if found is Outcome.ALLOWED:
            keys = texts(reply, "Contents/Key") + texts(reply, "CommonPrefixes/Prefix")
        return Answer(found, str(reply), reply.body, tuple(keys))


# --- the JSON API ----------------------------------------------------------------------------


def resource(end: tuple[str, str]) -> str:
    """An object's place in the JSON API."""
    return f"/b/{end[0]}/o/{quote(end[1], safe='')}"


def uploading(end: tuple[str, str], **query: str) -> str:
    fields = {"uploadType": "media", "name": end[1], **query}
    return f"/upload/storage/v1/b/{end[0]}/o?{urlencode(fields, quote_via=quote)}"


def rewriting(source: tuple[str, str], to: tuple[str, str]) -> Request:
    return "POST", f"/storage/v1{resource(source)}/rewriteTo{resource(to)}", b"", {}


JSON: Final[Mapping[Operation, Callable[[Ends], Request]]] = {
    Operation.GET: lambda e: ("GET", f"/storage/v1{resource(e.here)}?alt=media", b"", {}),
    Operation.GET_RANGE: lambda e: (
        "GET",
        f"/download/storage/v1{resource(e.here)}?alt=media",
        b"",
        RANGE,
    ),
    Operation.HEAD: lambda e: ("GET", f"/storage/v1{resource(e.here)}", b"", {}),
    Operation.PUT: lambda e: ("POST", uploading(e.here), e.body, {}),
    Operation.PUT_IF_ABSENT: lambda e: (
        "POST",
        uploading(e.here, ifGenerationMatch="0"),
        e.body,
        {},
    ),
    Operation.PUT_IF_MATCH: lambda e: (
        "POST",
        uploading(e.here, ifGenerationMatch=e.generation),
        e.body,
        {},
    ),
    Operation.DELETE: lambda e: ("DELETE", f"/storage/v1{resource(e.here)}", b"", {}),
    Operation.COPY_FROM: lambda e: rewriting(e.here, e.far),
    Operation.COPY_TO: lambda e: rewriting(e.far, e.here),
}

JSON_LISTS: Final[Mapping[Operation, dict[str, str]]] = {
    Operation.LIST: {},
    Operation.LIST_LEVEL: {"delimiter": "/"},
    Operation.LIST_AFTER: {},
}


class JsonTenant(XmlTenant):
    """A fenced token on the JSON API, with its batches for bulk deletes."""

    operations = frozenset({*JSON, *JSON_LISTS, Operation.DELETE_MANY})

    def __init__(self, wire: Wire, buckets: Buckets, token: str, name: str = "raw JSON") -> None:
        super().__init__(wire, buckets, token, name)

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        if probe.operation is Operation.DELETE_MANY:
            return self._delete_many(probe)
        if probe.operation in JSON_LISTS:
            return self._list(probe)
        method, at, body, headers = JSON[probe.operation](self.ends(probe, ground))
        reply = self.wire.send(method, at, body, {**headers, **self._headers})
        return Answer(outcome(reply), str(reply), reply.body)

    def _list(self, probe: Probe) -> Answer:
        query = {**JSON_LISTS[probe.operation], **({"prefix": probe.key} if probe.key else {})}
        if probe.operation is Operation.LIST_AFTER:
            query["startOffset"] = f"{probe.key}!"
        at = f"/storage/v1/b/{self._bucket(probe.bucket)}/o?{urlencode(query, quote_via=quote)}"
        reply = self.wire.send("GET", at, b"", self._headers)
        found, keys = outcome(reply), list[str]()
        if found is Outcome.ALLOWED:
            row: dict[str, Any] = json.loads(reply.body)
            keys = [item["name"] for item in row.get("items", ())] + row.get("prefixes", [])
        return Answer(found, str(reply), reply.body, tuple(keys))

    def _delete_many(self, probe: Probe) -> Answer:
        assert probe.other is not None
        bucket = self._bucket(probe.bucket)
        ends = [(bucket, probe.other.key), (bucket, probe.key)]
        body = "".join(_part(f"/storage/v1{resource(end)}") for end in ends) + "--x--\r\n"
        kind = {"Content-Type": "multipart/mixed; boundary=x"}
        headers = {**kind, **self._headers}
        reply = self.wire.send("POST", "/batch/storage/v1", body.encode(), headers)
        inner = [_inner(piece) for piece in reply.body.split(b"--batch")[1:-1]]
        if reply.status != 200 or len(inner) != len(ends):
            return Answer(outcome(reply), str(reply), reply.body, other=outcome(reply))
        along, here = map(outcome, inner)
        return Answer(here, f"200, of that key {inner[1].status}", reply.body, other=along)


def _part(path: str) -> str:
    head = "--x\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    return f"{head}DELETE {path} HTTP/1.1\r\n\r\n\r\n"


def _inner(piece: bytes) -> Reply:
    _, _, rest = piece.partition(b"\r\n\r\n")
    head, _, body = rest.partition(b"\r\n\r\n")
    return Reply(int(head.split(b" ")[1]), {}, body)


# --- the owner -------------------------------------------------------------------------------


class RawOwner:
    """The installation's own account."""

    def __init__(self, wire: Wire, buckets: Buckets, token: str) -> None:
        self.wire = wire
        self._bucket = buckets.of
        self._headers = bearer(token)

    def plant(self, place: Place, body: bytes) -> str | None:
        reply = self._send("PUT", self._target(place), body)
        return reply.headers.get("X-Goog-Generation") if reply.status == 200 else None

    def read(self, place: Place) -> bytes | None:
        reply = self._send("GET", self._target(place))
        return reply.body if reply.status == 200 else None

    def versions(self, bucket: BucketRole) -> Mapping[str, str]:
        found: dict[str, str] = {}
        query = {"list-type": "2"}
        while True:
            reply = self._send("GET", target(self._bucket(bucket), **query))
            assert reply.status == 200, reply
            generations = texts(reply, "Contents/Generation")
            found |= zip(texts(reply, "Contents/Key"), generations, strict=True)
            following = texts(reply, "NextContinuationToken")
            if not following:
                return found
            query["continuation-token"] = following[0]

    def begin(self, place: Place) -> Upload | None:
        reply = self._send("POST", self._target(place, uploads=""))
        if reply.status != 200:
            return None
        (number,) = texts(reply, "UploadId")
        at = self._target(place, partNumber="1", uploadId=number)
        return Upload(number, self._send("PUT", at, b"a part of the owner's").headers["ETag"])

    def parts(self, place: Place, upload: Upload) -> frozenset[str] | None:
        reply = self._send("GET", self._target(place, uploadId=upload.id))
        return frozenset(texts(reply, "Part/ETag")) if reply.status == 200 else None

    def uploads(self, bucket: BucketRole) -> frozenset[tuple[str, str]]:
        reply = self._send("GET", target(self._bucket(bucket), uploads=""))
        assert reply.status == 200, reply
        keys = texts(reply, "Upload/Key")
        return frozenset(zip(keys, texts(reply, "Upload/UploadId"), strict=True))

    def clear(self, places: Iterable[Place], uploads: Iterable[tuple[Place, str]]) -> None:
        for place, upload in uploads:
            self._send("DELETE", self._target(place, uploadId=upload))
        for place in places:
            self._send("DELETE", self._target(place))

    def _send(self, method: str, at: str, body: bytes = b"") -> Reply:
        return self.wire.send(method, at, body, self._headers)

    def _target(self, place: Place, **query: str) -> str:
        return target(self._bucket(place.bucket), place.key, **query)
