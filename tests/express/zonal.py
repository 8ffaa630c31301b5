"""The double of S3 Express: sessions, and what can be done with one.

From *CreateSession* in the S3 API Reference; *Authorizing Zonal endpoint API operations*,
*Directory bucket API operations*, *Differences for directory buckets* and *Access points for
directory buckets* in the S3 User Guide. What it does not know, it refuses.
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from xml.sax.saxutils import escape

from tests.express.control import Control, Point
from tests.express.http_front import Request, Response
from tests.express.operations import Operation, keys_to_delete, operation, source_of
from tests.express.principals import Directory, Principal, resource_allows
from tests.express.sigv4 import Rejected, Rules, access_key, verify
from tests.express.upstream import Upstream, passed_on
from tests.isolation.s3 import delete_body
from tests.isolation.wire import Keys, Reply
from tests.policy.iam import Request as Asked

SERVICES: Final = frozenset({"s3express", "s3"})
"""botocore signs ``s3express``; object_store signs ``s3``, and AWS lets it in (its own tests)."""

LIFE: Final = timedelta(minutes=5)
READS: Final = frozenset(
    {"GetObject", "HeadObject", "ListObjectsV2", "ListParts", "ListMultipartUploads", "HeadBucket"}
)
NEEDS: Final[Mapping[str, str]] = {
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "PutObject": "PutObject",
    "DeleteObject": "DeleteObject",
    "DeleteObjects": "DeleteObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "AbortMultipartUpload": "AbortMultipartUpload",
    "ListParts": "ListMultipartUploadParts",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListObjectsV2": "ListBucket",
    "CopyObject": "PutObject",
    "UploadPartCopy": "PutObject",
}
"""What an access point's scope must name for each operation."""

_ETAG: Final = re.compile(rb"([0-9a-f]{32})(-\d+)?")
_HIDDEN: Final = re.compile(r"([0-9a-f]{32})([.]\d+)?")


@dataclass(frozen=True, slots=True)
class ExpressSession:
    """What CreateSession gave: good for one name, one mode, five minutes."""

    keys: Keys
    name: str
    mode: str
    expires_at: datetime


@dataclass
class Zonal:
    """The directory buckets of an account, by name. ``inactive`` ones answer 503."""

    account: str
    region: str
    directory: Directory
    control: Control
    upstream: Upstream
    rules: Rules
    buckets: Mapping[str, str]
    copies: Callable[[Principal, str, str], tuple[str, bool]]
    """Where a copy reads that is not in a directory bucket: its bucket, and whether it may."""
    life: timedelta = LIFE
    told: timedelta | None = None
    """What clients are told instead, where a test has less than minutes to wait."""
    inactive: set[str] = field(default_factory=set)
    sessions: OrderedDict[str, ExpressSession] = field(default_factory=OrderedDict)
    created: list[tuple[str, str]] = field(default_factory=list)
    """Name and mode of each session that was given."""
    calls: list[str] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - an order
    _pages: dict[str, list[str]] = field(default_factory=dict)
    _pad: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def handle(self, request: Request, name: str) -> Response:
        """One request to a bucket or an access point.

        Raises:
            Rejected: as S3 Express would, or because it is none that is known here.
        """
        bucket = self._bucket(name)
        if self.rules.holds("inactive") and bucket in self.inactive:
            raise Rejected(503, "ServiceUnavailable", "the bucket is being made active")
        asked = operation(request, request.path, dots=self.rules.holds("dot segments"))
        self.calls.append(asked.name)
        if asked.name == "CreateSession":
            return self._create_session(request, name)
        if asked.name in {"CopyObject", "UploadPartCopy"}:
            return self._copy(request, name, asked)
        session, body = self._session(request, name)
        self._check_mode(session, asked)
        self._check_scope(name, asked)
        return self._do(request, name, asked, body)

    # --- sessions ----------------------------------------------------------------------------

    def _create_session(self, request: Request, name: str) -> Response:
        principal, _ = self.directory.signer(request, SERVICES)
        wanted = request.headers.get("x-amz-create-session-mode")
        if wanted not in {None, "ReadWrite", "ReadOnly"}:
            raise Rejected(400, "InvalidRequest", "the mode")
        for mode in (wanted,) if wanted else ("ReadWrite", "ReadOnly"):
            if self._may(principal, name, mode):
                return self._give(name, mode)
        raise Rejected(403, "AccessDenied", "CreateSession")

    def _may(self, principal: Principal, name: str, mode: str) -> bool:
        kind = "accesspoint" if name.endswith("--xa-s3") else "bucket"
        arn = f"arn:aws:s3express:{self.region}:{self.account}:{kind}/{name}"
        asked = Asked("s3express:CreateSession", arn, {"s3express:SessionMode": mode})
        if not principal.allowed(asked, self.rules.holds):
            return False
        point = self.control.points.get(name)
        if point is None or not self.rules.holds("access point policy"):
            return True
        return point.policy is not None and resource_allows(point.policy, principal.arn, asked)

    def _give(self, name: str, mode: str) -> Response:
        keys = Keys(
            f"ASIA{secrets.token_hex(8).upper()}", secrets.token_hex(20), secrets.token_hex(48)
        )
        session = ExpressSession(keys, name, mode, self.rules.clock() + self.life)
        with self._lock:
            self.sessions[keys.access] = session
            self.created.append((name, mode))
            while len(self.sessions) > 10_000:
                self.sessions.popitem(last=False)
        parts = {
            "SessionToken": keys.token or "",
            "SecretAccessKey": keys.secret,
            "AccessKeyId": keys.access,
            "Expiration": self._told(session).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        inner = "".join(f"<{tag}>{text}</{tag}>" for tag, text in parts.items())
        return _xml("CreateSessionResult", f"<Credentials>{inner}</Credentials>")

    def _told(self, session: ExpressSession) -> datetime:
        return session.expires_at if self.told is None else self.rules.clock() + self.told

    def _session(self, request: Request, name: str) -> tuple[ExpressSession, bytes]:
        token = request.headers.get("x-amz-s3session-token")
        if token is None or "x-amz-security-token" in request.headers:
            raise Rejected(403, "AccessDenied", "a session of CreateSession is needed")
        session = self.sessions.get(access_key(request))
        if session is None or not secrets.compare_digest(token, session.keys.token or ""):
            raise Rejected(403, "InvalidAccessKeyId")
        if self.rules.holds("session's host") and session.name != name:
            raise Rejected(403, "AccessDenied", "a session of another bucket or access point")
        if self.rules.holds("session's end") and self.rules.clock() >= session.expires_at:
            raise Rejected(400, "ExpiredToken")
        signer = Keys(session.keys.access, session.keys.secret)
        return session, verify(request, signer, SERVICES, self.rules)

    def _check_mode(self, session: ExpressSession, asked: Operation) -> None:
        reads = asked.name in READS or not self.rules.holds("session's mode")
        if session.mode != "ReadWrite" and not reads:
            raise Rejected(403, "AccessDenied", "a ReadOnly session")

    # --- scopes ------------------------------------------------------------------------------

    def _check_scope(self, name: str, asked: Operation) -> None:
        # A bulk delete is judged key by key.
        if asked.name in {"DeleteObjects", "HeadBucket"}:
            return
        key = asked.key or asked.params.get("prefix", "")
        if not self._in_scope(name, NEEDS[asked.name], key):
            raise Rejected(403, "AccessDenied", "outside of the access point's scope")

    def _in_scope(self, name: str, needed: str, key: str) -> bool:
        point = self.control.points.get(name)
        if point is None:
            return True
        return self._operation_in(point, needed) and self._prefix_in(point, key)

    def _operation_in(self, point: Point, needed: str) -> bool:
        checked = point.operations is not None and self.rules.holds("scope's operations")
        return not checked or needed in (point.operations or ())

    def _prefix_in(self, point: Point, key: str) -> bool:
        checked = point.prefixes is not None and self.rules.holds("scope's prefixes")
        return not checked or key.startswith(point.prefixes or ())

    # --- copies: by IAM credentials ----------------------------------------------------------

    def _copy(self, request: Request, name: str, asked: Operation) -> Response:
        principal, _ = self.directory.signer(request, SERVICES)
        if self.rules.holds("copy's destination") and not self._may(principal, name, "ReadWrite"):
            raise Rejected(403, "AccessDenied", "the destination")
        self._check_scope(name, asked)
        bucket, path = self.readable(principal, request)
        source = {"x-amz-copy-source": f"/{self.upstream.buckets[bucket]}{path}"}
        to = self._bucket(name)
        reply = self.upstream.send("PUT", to, request.path, request.query, headers=source)
        return self._veiled(reply)

    def readable(self, principal: Principal, request: Request) -> tuple[str, str]:
        """Bucket and path of a copy's source, if the principal may read it.

        Raises:
            Rejected: it may not.
        """
        name, key, path = source_of(request)
        if self.rules.holds("dot segments") and {".", ".."} & set(key.split("/")):
            raise Rejected(400, "InvalidURI", "dot segments")
        if name.endswith("-s3") and "--" in name:
            bucket = self._bucket(name)
            may = any(self._may(principal, name, mode) for mode in ("ReadOnly", "ReadWrite"))
            may = may and self._in_scope(name, "GetObject", key)
        else:
            bucket, may = self.copies(principal, name, key)
        if self.rules.holds("copy's source") and not may:
            raise Rejected(403, "AccessDenied", "the copy source")
        return bucket, path

    # --- doing it ----------------------------------------------------------------------------

    def _bucket(self, name: str) -> str:
        if name in self.buckets:
            return name
        point = self.control.points.get(name)
        if point is None:
            raise Rejected(404, "NoSuchBucket")
        return point.bucket

    def _do(self, request: Request, name: str, asked: Operation, body: bytes) -> Response:
        bucket = self._bucket(name)
        match asked.name:
            case "ListObjectsV2":
                return self._list(bucket, asked.params)
            case "DeleteObjects":
                return self._delete(name, bucket, keys_to_delete(body))
            case "HeadBucket":
                return Response(200)
            case "CompleteMultipartUpload":
                body = self._bare(body.decode()).encode()
        kept = ("content-type", "range", "content-encoding")
        headers = {each: request.headers[each] for each in kept if each in request.headers}
        if headers.get("content-encoding") == "aws-chunked":
            del headers["content-encoding"]
        for each in ("if-match", "if-none-match"):
            if each in request.headers:
                headers[each] = self._bare(request.headers[each])
        reply = self.upstream.send(
            request.method, bucket, request.path, request.query, body=body, headers=headers
        )
        return self._veiled(reply, content=asked.name == "GetObject")

    def _delete(self, name: str, bucket: str, keys: Sequence[str]) -> Response:
        judged = {key: self._in_scope(name, "DeleteObject", key) for key in keys}
        checked = self.rules.holds("bulk delete's keys")
        mine = [key for key, fine in judged.items() if fine or not checked]
        if mine:
            body, headers = delete_body(mine)
            reply = self.upstream.send("POST", bucket, "/", "delete=", body=body, headers=headers)
            assert reply.status == 200, reply
        rows = [f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in mine]
        rows += [
            f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code>"
            "<Message>Access Denied</Message></Error>"
            for key in keys
            if key not in mine
        ]
        return _xml("DeleteResult", "".join(rows))

    def _list(self, bucket: str, params: Mapping[str, str]) -> Response:
        prefix, delimiter = params.get("prefix", ""), params.get("delimiter", "")
        if self.rules.holds("whole prefixes") and prefix and not prefix.endswith("/"):
            raise Rejected(400, "InvalidArgument", "the prefix must end in a delimiter")
        if delimiter not in {"", "/"} or params["list-type"] != "2":
            raise Rejected(400, "InvalidArgument", "the delimiter can be / only")
        token = params.get("continuation-token")
        rows = self._pages.pop(token, None) if token else self._rows(bucket, prefix, delimiter)
        if rows is None:
            raise Rejected(400, "InvalidArgument", "the continuation token")
        most = min(int(params.get("max-keys", "1000")), 1000)
        page, rest = rows[:most], rows[most:]
        more = f"<IsTruncated>{str(bool(rest)).lower()}</IsTruncated>"
        if rest:
            following = secrets.token_hex(16)
            self._pages[following] = rest
            more += f"<NextContinuationToken>{following}</NextContinuationToken>"
        head = f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
        counts = f"<KeyCount>{len(page)}</KeyCount><MaxKeys>{most}</MaxKeys>"
        return _xml("ListBucketResult", f"{head}{counts}{more}{''.join(page)}")

    def _rows(self, bucket: str, prefix: str, delimiter: str) -> list[str]:
        found, prefixes = list[str](), set[str]()
        for kind, row in self.upstream.listing(bucket, prefix, delimiter):
            if kind == "prefix":
                prefixes.add(row["Prefix"])
                continue
            fields = {**row, "ETag": f'"{self._veil(row["ETag"].strip(chr(34)))}"'}
            wanted = ("Key", "LastModified", "ETag", "Size")
            inner = "".join(f"<{tag}>{escape(fields[tag])}</{tag}>" for tag in wanted)
            found.append(
                f"<Contents>{inner}<StorageClass>EXPRESS_ONEZONE</StorageClass></Contents>"
            )
        # Uploads under way show as prefixes too: of theirs, and of the folders above them.
        for key in self.upstream.uploads(bucket) if delimiter else ():
            below = key.removeprefix(prefix)
            if key.startswith(prefix) and "/" in below:
                prefixes.add(f"{prefix}{below.split('/', 1)[0]}/")
        common = [
            f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>" for p in prefixes
        ]
        rows = sorted(found + common)
        self.random.shuffle(rows)
        return rows

    # --- ETags that are no digests -----------------------------------------------------------

    def _veiled(self, reply: Reply, *, content: bool = False) -> Response:
        response = passed_on(reply)
        headers = dict(response.headers)
        if "ETag" in headers:
            headers["ETag"] = f'"{self._veil(headers["ETag"].strip(chr(34)))}"'
        body = response.body
        if not content and b"ETag>" in body:
            body = re.sub(
                rb"(<ETag>(?:&quot;|&#34;|\")?)([0-9a-f-]+)",
                lambda m: m[1] + self._veil(m[2].decode()).encode(),
                body,
            )
            headers.pop("Content-Length", None)
        return Response(response.status, body, headers)

    def veiled(self, tag: str) -> str:
        """An ETag of the engine as it is told here, in its quotes."""
        return f'"{self._veil(tag.strip(chr(34)))}"'

    def _veil(self, tag: str) -> str:
        match = _ETAG.fullmatch(tag.encode())
        if match is None:
            return hashlib.sha256(tag.encode()).hexdigest()
        ending = match[2].decode().replace("-", ".") if match[2] else ""
        return self._mixed(match[1].decode()) + ending

    def _bare(self, text: str) -> str:
        return _HIDDEN.sub(
            lambda m: self._mixed(m[1]) + (m[2].replace(".", "-") if m[2] else ""), text
        )

    def _mixed(self, digest: str) -> str:
        pairs = zip(bytes.fromhex(digest), self._pad, strict=True)
        return bytes(left ^ right for left, right in pairs).hex()


def _xml(name: str, inner: str) -> Response:
    xmlns = "http://s3.amazonaws.com/doc/2006-03-01/"
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{xmlns}">{inner}</{name}>'
    return Response(200, text.encode(), {"Content-Type": "application/xml"})
