"""The JSON API, as far as google-cloud-storage and an attacker use it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from tests.gcp.double.checks import Check
from tests.gcp.double.door import Answer, Asked, Door, Refused, Upload, no_such_key, unknown

_JSON: Final = {"Content-Type": "application/json; charset=UTF-8"}
_KIND: Final = "application/octet-stream"
_HARMLESS: Final = {"fields", "prettyPrint", "projection", "alt"}
_LIST_FIELDS: Final = {
    *("prefix", "delimiter", "pageToken", "maxResults", "startOffset", "endOffset"),
}
_REASONS: Final = {401: "authError", 403: "forbidden", 404: "notFound", 412: "conditionNotMet"}


def refusal(refused: Refused) -> Answer:
    reason = _REASONS.get(refused.status, "invalid")
    error = {"domain": "global", "reason": reason, "message": refused.text}
    row = {"code": refused.status, "message": refused.text, "errors": [error]}
    return Answer(refused.status, json.dumps({"error": row}).encode(), _JSON)


def answer(door: Door, asked: Asked) -> Answer:  # noqa: PLR0911 - one for each resource
    """One request of the JSON API."""
    parts = [unquote(part) for part in asked.path.split("/")]
    match parts:
        case ["", "storage", "v1", "b", bucket]:
            return _bucket(door, asked, bucket)
        case ["", "storage", "v1", "b", bucket, "o"] if asked.method == "GET":
            return _list(door, asked, bucket)
        case ["", "storage", "v1", "b", bucket, "folders"] if asked.method == "POST":
            return _folder(door, asked, bucket)
        case ["", "upload", "storage", "v1", "b", bucket, "o"]:
            return _upload(door, asked, bucket)
        case ["", "download", "storage", "v1", "b", bucket, "o", key] if asked.method == "GET":
            return _media(door, asked, bucket, key)
        case ["", "storage", "v1", "b", bucket, "o", key]:
            return _object(door, asked, bucket, key)
        case ["", "storage", "v1", "b", bucket, "o", key, "compose"] if asked.method == "POST":
            return _compose(door, asked, bucket, key)
        case ["", "storage", "v1", "b", bucket, "o", key, verb, "b", to, "o", name] if (
            asked.method == "POST" and verb in {"rewriteTo", "copyTo"}
        ):
            return _copy(door, asked, verb, (bucket, key), (to, name))
    raise unknown(f"{asked.method} {asked.path}")


def _row(row: Any) -> Answer:
    return Answer(200, json.dumps(row).encode(), _JSON)


def _only(asked: Asked, *allowed: str) -> None:
    odd = set(asked.query) - {*allowed, *_HARMLESS}
    if odd:
        raise unknown(f"the parameters {sorted(odd)}")


def _bucket(door: Door, asked: Asked, bucket: str) -> Answer:
    if asked.method != "GET":
        raise unknown(f"{asked.method} of a bucket")
    _only(asked)
    door.on_bucket("storage.buckets.get", bucket)
    enabled = door.world.uniform.get(bucket, True)
    access = {"uniformBucketLevelAccess": {"enabled": enabled}}
    row: dict[str, Any] = {"kind": "storage#bucket", "name": bucket, "iamConfiguration": access}
    if bucket in door.world.hierarchical:
        row["hierarchicalNamespace"] = {"enabled": True}
    return _row(row)


def _folder(door: Door, asked: Asked, bucket: str) -> Answer:
    """Makes a folder, with those above it. A bucket without a hierarchy has none."""
    _only(asked, "recursive")
    name = str(json.loads(asked.body)["name"])
    if asked.query.get("recursive") != "true" or not name.endswith("/"):
        raise unknown("a folder that is not made with those above it")
    with door.world.lock:
        if bucket not in door.world.hierarchical:
            raise Refused(409, "conflict", "The bucket has no hierarchical namespace.")
        if not door.make_folders(bucket, name):
            # Whether it is there is told only to who might have made it.
            door.on_folder("storage.folders.create", bucket, name)
            raise Refused(409, "conflict", "The folder you tried to create already exists.")
    return _row({"kind": "storage#folder", "bucket": bucket, "name": name})


def _list(door: Door, asked: Asked, bucket: str) -> Answer:
    _only(asked, *_LIST_FIELDS)
    door.on_bucket("storage.objects.list", bucket, asked.query.get("prefix", ""))
    passed = {n: v for n, v in asked.query.items() if n in _LIST_FIELDS and v}
    passed.setdefault("maxResults", str(door.world.page))
    return _row(door.world.backend.listing(bucket, passed))


def _object(door: Door, asked: Asked, bucket: str, key: str) -> Answer:
    _only(asked, "ifGenerationMatch")
    match = asked.query.get("ifGenerationMatch")
    if asked.method == "DELETE":
        door.remove(bucket, key, match)
        return Answer(204)
    if asked.method != "GET" or match is not None:
        raise unknown(f"{asked.method} of an object")
    if asked.query.get("alt") == "media":
        return _media(door, asked, bucket, key)
    door.on_object("storage.objects.get", bucket, key)
    row = door.world.backend.describe(bucket, key)
    if row is None:
        raise no_such_key()
    return _row(row)


def _media(door: Door, asked: Asked, bucket: str, key: str) -> Answer:
    _only(asked)
    door.on_object("storage.objects.get", bucket, key)
    reply = door.world.backend.fetch(bucket, key, "GET", asked.headers.get("range"))
    if reply.status == 404:
        raise no_such_key()
    kept = {"content-type", "content-range", "x-goog-generation", "x-goog-hash", "etag"}
    headers = {n: v for n, v in reply.headers.items() if n.lower() in kept}
    return Answer(reply.status, reply.body, headers)


def _copy(
    door: Door, asked: Asked, verb: str, source: tuple[str, str], to: tuple[str, str]
) -> Answer:
    _only(asked, "ifGenerationMatch", "rewriteToken")
    row = door.copy(source, to, asked.query.get("ifGenerationMatch"))
    if verb == "copyTo":
        return _row(row)
    size = row["size"]
    done = {"kind": "storage#rewriteResponse", "done": True, "objectSize": size}
    return _row({**done, "totalBytesRewritten": size, "resource": row})


def _compose(door: Door, asked: Asked, bucket: str, key: str) -> Answer:
    _only(asked, "ifGenerationMatch")
    try:
        sources = [str(each["name"]) for each in json.loads(asked.body)["sourceObjects"]]
    except (ValueError, KeyError, TypeError):
        raise Refused(400, "invalid", "no sourceObjects") from None
    return _row(door.compose(bucket, sources, key, _KIND, asked.query.get("ifGenerationMatch")))


# --- uploads ---------------------------------------------------------------------------------


def _upload(door: Door, asked: Asked, bucket: str) -> Answer:
    _only(asked, "uploadType", "name", "ifGenerationMatch", "upload_id")
    match asked.method, asked.query.get("uploadType"):
        case "POST", "media":
            name, kind, data = None, asked.headers.get("content-type", _KIND), asked.body
        case "POST", "multipart":
            name, kind, data = _related(asked)
        case "POST", "resumable":
            return _begin(door, asked, bucket)
        case "PUT", "resumable":
            return _continue(door, asked)
        case _:
            raise unknown("this kind of upload")
    key = _name(door, asked, name)
    match_ = asked.query.get("ifGenerationMatch")
    return _row(door.write(bucket, key, data, kind, match_))


def _name(door: Door, asked: Asked, name: str | None) -> str:
    """The object's name: it may stand in the query, in the metadata, or in both alike."""
    asked_name = asked.query.get("name")
    if asked_name and name and asked_name != name and door.world.checks(Check.UPLOAD_NAME):
        raise Refused(400, "invalid", "the name in the query and in the metadata differ")
    key = asked_name or name
    if not key:
        raise Refused(400, "required", "the upload has no name")
    return key


def _related(asked: Asked) -> tuple[str | None, str, bytes]:
    """The two parts of a ``multipart/related`` upload: metadata and content."""
    _, _, mark = asked.headers.get("content-type", "").partition("boundary=")
    mark = mark.strip("\"'")
    pieces = asked.body.split(f"--{mark}".encode())
    if not mark or len(pieces) != 4:
        raise Refused(400, "invalid", "no multipart/related with two parts")
    _, metadata = _split(pieces[1])
    headers, data = _split(pieces[2])
    return _metadata_name(metadata), headers.get("content-type", _KIND), data


def _split(piece: bytes) -> tuple[Mapping[str, str], bytes]:
    head, _, body = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    lines = (line.partition(b":")[::2] for line in head.split(b"\r\n"))
    headers = {name.decode().strip().lower(): value.decode().strip() for name, value in lines}
    return headers, body.removesuffix(b"\r\n")


def _metadata_name(data: bytes) -> str | None:
    """The name in an upload's metadata. An ACL in it would be beside the fence."""
    row = json.loads(data) if data.strip() else {}
    odd = set(row) - {"name", "contentType", "bucket", "metadata", "crc32c", "md5Hash"}
    if odd:
        raise Refused(400, "invalid", f"not taken: {', '.join(sorted(odd))}")
    return row.get("name")


def _begin(door: Door, asked: Asked, bucket: str) -> Answer:
    key = _name(door, asked, _metadata_name(asked.body))
    door.on_object("storage.objects.create", bucket, key)
    number = secrets.token_hex(12)
    door.world.sessions[number] = Upload(bucket, key, _KIND)
    host = asked.headers["host"]
    query = f"uploadType=resumable&upload_id={number}"
    return Answer(200, b"", {"Location": f"http://{host}{asked.path}?{query}"})


def _continue(door: Door, asked: Asked) -> Answer:
    """A chunk of a resumable upload: to the place that it was begun at, whatever the path says."""
    found = door.world.sessions.get(asked.query.get("upload_id", ""))
    if found is None:
        raise Refused(404, "notFound", "no such upload")
    span, _, total = asked.headers.get("content-range", "bytes */*")[6:].partition("/")
    found.parts[len(found.parts)] = asked.body
    body = b"".join(found.parts.values())
    if total == "*" or (span != "*" and len(body) < int(total)):
        return Answer(308, b"", {"Range": f"bytes=0-{len(body) - 1}"})
    row = door.write(found.bucket, found.key, body, found.kind, None)
    del door.world.sessions[asked.query["upload_id"]]
    return _row(row)
