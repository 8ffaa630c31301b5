"""Who asks for what, and whether they may: every way to an object goes through here."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.gcp.double.backend import Backend
from tests.gcp.double.boundary import Need
from tests.gcp.double.checks import Check
from tests.gcp.double.tokens import Holder, Tokens

NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. ``path`` is as it came, not decoded; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """An answer that is no success; each API has its own form for it."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(code, text)
        self.status = status
        self.code = code
        self.text = text


def unknown(what: str) -> Refused:
    """For whatever this double does not know."""
    return Refused(501, "NotImplemented", f"this double does not know {what}")


@dataclass
class Upload:
    """A multipart or a resumable upload under way."""

    bucket: str
    key: str
    kind: str
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class World:
    """All that lasts longer than a request. ``page`` is the most keys of one answer to a list."""

    tokens: Tokens
    backend: Backend
    buckets: Collection[str]
    off: Collection[Check] = ()
    uniform: dict[str, bool] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    sessions: dict[str, Upload] = field(default_factory=dict)
    hierarchical: set[str] = field(default_factory=set)
    folders: set[tuple[str, str]] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    page: int = 1000
    lock: threading.RLock = field(default_factory=threading.RLock)

    def checks(self, check: Check) -> bool:
        return check not in self.off


@dataclass(frozen=True, slots=True)
class Door:
    """One request's holder, at the world's door."""

    world: World
    holder: Holder

    # --- permissions -----------------------------------------------------------------------

    def on_object(self, permission: str, bucket: str, key: str) -> None:
        """Raises Refused unless the holder has the permission on the object."""
        self._check_key(key)
        resource = f"projects/_/buckets/{bucket}/objects/{key}"
        self._require(Need(permission, bucket, resource))

    def on_folder(self, permission: str, bucket: str, name: str) -> None:
        """The same on a folder of a bucket with a hierarchy."""
        self._require(Need(permission, bucket, f"projects/_/buckets/{bucket}/folders/{name}"))

    def on_bucket(self, permission: str, bucket: str, listing: str | None = None) -> None:
        """The same on a bucket; ``listing`` is the prefix that is to be listed."""
        self._require(Need(permission, bucket, f"projects/_/buckets/{bucket}", listing))

    def _require(self, need: Need) -> None:
        if not self.world.tokens.may(self.holder, need):
            raise Refused(
                403,
                "AccessDenied",
                f"The caller does not have {need.permission} access to {need.resource} (or it may "
                "not exist).",
            )
        if need.bucket not in self.world.buckets:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")

    def _check_key(self, key: str) -> None:
        segments = key.split("/")
        dots = any(segment in {".", ".."} for segment in segments)
        if not key or (dots and self.world.checks(Check.DOT_SEGMENTS)):
            raise Refused(400, "InvalidArgument", "This double takes no dot segments.")
        if len(key.encode()) > 1024 or "\r" in key or "\n" in key:
            raise Refused(400, "InvalidArgument", "No name of an object.")

    # --- objects ---------------------------------------------------------------------------

    def write(
        self, bucket: str, key: str, body: bytes, kind: str, match: str | None
    ) -> dict[str, Any]:
        """Stores an object, if the holder may, and may replace what is there."""
        self.on_object("storage.objects.create", bucket, key)
        with self.world.lock:
            self._before_replacing(bucket, key, match)
            return self.world.backend.store(bucket, key, body, kind)

    def copy(
        self, source: tuple[str, str], to: tuple[str, str], match: str | None
    ) -> dict[str, Any]:
        if self.world.checks(Check.COPY_SOURCE):
            self.on_object("storage.objects.get", *source)
        self.on_object("storage.objects.create", *to)
        with self.world.lock:
            self._before_replacing(*to, match)
            row = self.world.backend.copy(source, to)
        if row is None:
            raise no_such_key()
        return row

    def compose(
        self, bucket: str, keys: list[str], to: str, kind: str, match: str | None
    ) -> dict[str, Any]:
        self.on_object("storage.objects.create", bucket, to)
        whole = b""
        for key in keys:
            if self.world.checks(Check.COMPOSE_SOURCE):
                self.on_object("storage.objects.get", bucket, key)
            reply = self.world.backend.fetch(bucket, key, "GET", None)
            if reply.status != 200:
                raise no_such_key()
            whole += reply.body
        with self.world.lock:
            self._before_replacing(bucket, to, match)
            return self.world.backend.store(bucket, to, whole, kind)

    def remove(self, bucket: str, key: str, match: str | None) -> None:
        self.on_object("storage.objects.delete", bucket, key)
        with self.world.lock:
            self._check_generation(self.world.backend.describe(bucket, key), match)
            if not self.world.backend.remove(bucket, key):
                raise no_such_key()

    def _before_replacing(self, bucket: str, key: str, match: str | None) -> None:
        """Replacing an object is deleting it (Cloud Storage, "IAM permissions for XML requests").

        Which of the two refusals Google gives first, where both hold, is not documented. Here it is
        the one that no client takes for an answer.
        """
        self.make_folders(bucket, key)
        there = self.world.backend.describe(bucket, key)
        if there is not None and self.world.checks(Check.REPLACING):
            self.on_object("storage.objects.delete", bucket, key)
        self._check_generation(there, match)

    def _check_generation(self, there: Mapping[str, Any] | None, match: str | None) -> None:
        if match is None or not self.world.checks(Check.PRECONDITION):
            return
        if match != (there["generation"] if there else "0"):
            raise Refused(412, "PreconditionFailed", "At least one precondition did not hold.")

    def make_folders(self, bucket: str, name: str) -> int:
        """Makes the folders that are above a name and not there; how many. Each takes a permission
        of its own, since an object's role says nothing about other folders."""
        if bucket not in self.world.hierarchical:
            return 0
        self._check_key(name)
        parts = name.split("/")[:-1]
        above = ["/".join(parts[: depth + 1]) + "/" for depth in range(len(parts))]
        missing = [each for each in above if (bucket, each) not in self.world.folders]
        for folder in missing:
            if self.world.checks(Check.FOLDERS):
                self.on_folder("storage.folders.create", bucket, folder)
        self.world.folders |= {(bucket, folder) for folder in missing}
        return len(missing)

    # --- multipart uploads, of the XML API ---------------------------------------------------

    def begin(self, bucket: str, key: str, kind: str) -> str:
        self.on_object("storage.multipartUploads.create", bucket, key)
        self.on_object("storage.objects.create", bucket, key)
        number = secrets.token_hex(12)
        self.world.uploads[number] = Upload(bucket, key, kind)
        return number

    def upload(self, permission: str, bucket: str, key: str, number: str) -> Upload:
        """An upload under way, for one who may do this with it."""
        self.on_object(permission, bucket, key)
        found = self.world.uploads.get(number)
        if found is None:
            raise Refused(404, "NoSuchUpload", "The requested upload was not found.")
        if (found.bucket, found.key) != (bucket, key) and self.world.checks(Check.UPLOAD_PLACE):
            raise Refused(404, "NoSuchUpload", "The requested upload was not found.")
        return found

    def put_part(self, bucket: str, key: str, number: str, part: int, body: bytes) -> str:
        self.on_object("storage.objects.create", bucket, key)
        found = self.upload("storage.multipartUploads.create", bucket, key, number)
        found.parts[part] = body
        return etag_of(body)

    def complete(self, bucket: str, key: str, number: str, parts: list[int]) -> dict[str, Any]:
        found = self.upload("storage.multipartUploads.create", bucket, key, number)
        if not parts or any(part not in found.parts for part in parts):
            raise Refused(400, "InvalidPart", "One or more of the specified parts was not found.")
        body = b"".join(found.parts[part] for part in parts)
        # The place that the upload was begun at: it is the one that Google writes to.
        row = self.write(found.bucket, found.key, body, found.kind, None)
        self.world.uploads.pop(number, None)
        return row


def etag_of(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def no_such_key() -> Refused:
    return Refused(404, "NoSuchKey", "The specified key does not exist.")
