"""R2's S3 side, for tests: it verifies what R2 verifies and keeps the objects in a real engine.

Every request is held against its signature, its token, the token's bucket, operations and paths,
and then goes to the engine, signed anew with the engine's keys, on exactly the path that was
authorised. What R2 would refuse, and whatever this double does not know, is refused here.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from tests.isolation.s3 import delete_body, texts
from tests.isolation.wire import Reply, Wire
from tests.r2.calls import Call, Place, read_call, read_deletes
from tests.r2.checks import NONE_OFF, Check
from tests.r2.http1 import Request, Response, serving
from tests.r2.sessions import Identities, Parent, Principal, Session
from tests.r2.sigv4 import (
    Refused,
    check_signature,
    check_sum,
    encoded,
    path_of,
    read_claim,
    read_payload,
)
from tests.r2.uploads import Uploads

_NOT_PASSED_BACK: Final = frozenset(
    {"connection", "content-length", "keep-alive", "server", "transfer-encoding"}
)
_ONCE_A_SECOND: Final = frozenset({"PutObject", "CopyObject", "CompleteMultipartUpload"})
_DENIED: Final = Refused(403, "AccessDenied", "Access Denied")


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class R2Front:
    """The double. ``off`` are the checks that are switched off; ``seen`` are the operations.

    ``one_write_a_second`` holds writers to R2's limit for a key (R2, *Limits*). It is off where a
    test is about something else: attacks write to one key as often as they like.
    """

    parent: Parent
    engine: Wire
    now: Callable[[], datetime] = utc_now
    off: frozenset[Check] = NONE_OFF
    tls: ssl.SSLContext | None = None
    host: str = ""
    one_write_a_second: bool = False
    seen: list[str] = field(default_factory=list)
    uploads: Uploads = field(default_factory=Uploads)
    _written: dict[Place, float] = field(default_factory=dict)
    identities: Identities = field(init=False)

    def __post_init__(self) -> None:
        self.identities = Identities(self.parent, self.host, self.the_time, self.is_off)

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def the_time(self) -> datetime:
        """The time now; a test may set another clock on the way."""
        return self.now()

    def is_off(self, check: Check) -> bool:
        return check in self.off

    def handle(self, request: Request) -> Response:
        """One request, whoever it is from."""
        try:
            return self._handled(request)
        except Refused as refused:
            body = (
                '<?xml version="1.0" encoding="UTF-8"?>\n'
                f"<Error><Code>{refused.code}</Code>"
                f"<Message>{escape(refused.message)}</Message></Error>"
            )
            return Response(refused.status, (("Content-Type", "application/xml"),), body.encode())

    def _handled(self, request: Request) -> Response:
        if request.header("host") != self.host:
            raise Refused(400, "InvalidArgument", "another host")
        claim = read_claim(request, self.now(), self.is_off)
        principal = self.identities.of(claim)
        check_signature(request, claim, principal.secret, self.is_off)
        call = read_call(request, path_of(request), claim.fields, self.is_off)
        body = read_payload(request, claim, self.is_off, tls=self.tls is not None)
        for name, value in request.headers:
            if name.startswith("x-amz-checksum-") and name != "x-amz-checksum-mode":
                check_sum(name, value, body)
        self.seen.append(call.operation)
        if call.operation == "DeleteObjects":
            return self._delete_many(call, body, principal)
        self._authorise(call, principal)
        if call.operation == "CompleteMultipartUpload" and not self.is_off(Check.PART_SIZES):
            self.uploads.check(call, body)
        self._check_rate(call)
        response = self._forward(request.method, call, body)
        if call.operation == "UploadPart" and response.status == 200:
            self.uploads.keep(call, len(body))
        return response

    def _check_rate(self, call: Call) -> None:
        if not self.one_write_a_second or call.operation not in _ONCE_A_SECOND:
            return
        now = time.monotonic()
        if now - self._written.get(call.place, now - 1) < 1:
            raise Refused(429, "TooManyRequests", "Reduce your concurrent request rate")
        self._written[call.place] = now

    # --- what the principal may do -------------------------------------------------------------

    def _authorise(self, call: Call, principal: Principal) -> None:
        session = principal.session
        if call.place.bucket not in self.parent.buckets:
            # A parent for some buckets is told no more of the others.
            raise _DENIED
        if call.source is not None and call.source.bucket not in self.parent.buckets:
            raise _DENIED
        if session is None:
            return
        self._check_operation(call, session)
        if call.lists:
            within = session.holds_listing(call.prefix) or self.is_off(Check.LIST_PREFIX)
        else:
            within = self._within(session, call.place)
        if not within:
            raise _DENIED
        source = call.source
        if source is not None and not self.is_off(Check.COPY_SOURCE):
            here = source.bucket == session.bucket or self.is_off(Check.BUCKET)
            if not here or not self._within(session, source):
                raise _DENIED

    def _check_operation(self, call: Call, session: Session) -> None:
        if call.place.bucket != session.bucket and not self.is_off(Check.BUCKET):
            raise _DENIED
        if call.operation not in session.operations and not self.is_off(Check.OPERATION):
            raise _DENIED

    def _within(self, session: Session, place: Place) -> bool:
        return session.holds(place.key) or self.is_off(Check.PATH)

    # --- to the engine -------------------------------------------------------------------------

    def _forward(self, method: str, call: Call, body: bytes) -> Response:
        reply = self.engine.send(method, _target(call), body, dict(call.headers))
        return _passed_back(method, reply)

    def _delete_many(self, call: Call, body: bytes, principal: Principal) -> Response:
        """Each key on its own: those that may not be deleted are told, the others are."""
        session = principal.session
        if call.place.bucket not in self.parent.buckets:
            raise _DENIED
        keys, quiet = read_deletes(body, self.is_off)
        if session is not None:
            self._check_operation(call, session)
        every = session is None or self.is_off(Check.DELETE_KEYS)
        mine = [key for key in keys if every or (session is not None and session.holds(key))]
        deleted: list[str] = []
        errors = [(key, "AccessDenied") for key in keys if key not in set(mine)]
        if mine:
            content, headers = delete_body(mine)
            reply = self.engine.send("POST", f"/{call.place.bucket}?delete=", content, headers)
            if reply.status != 200:
                return _passed_back("POST", reply)
            deleted = texts(reply, "Deleted/Key")
            failed = zip(texts(reply, "Error/Key"), texts(reply, "Error/Code"), strict=True)
            errors += failed
        told = "" if quiet else "".join(_deleted(key) for key in deleted)
        told += "".join(_error(key, code) for key, code in errors)
        xml = f"<DeleteResult>{told}</DeleteResult>".encode()
        return Response(200, (("Content-Type", "application/xml"),), xml)


def _target(call: Call) -> str:
    """The path that was authorised, written once more from what it says."""
    path = f"/{call.place.bucket}"
    if call.place.key:
        path = f"{path}/{encoded(call.place.key, '/-_.~')}"
    query = urlencode(sorted(call.fields), quote_via=lambda text, *_: encoded(text))
    return f"{path}?{query}" if query else path


def _passed_back(method: str, reply: Reply) -> Response:
    headers = tuple(
        (name, value)
        for name, value in reply.headers.items()
        if name.lower() not in _NOT_PASSED_BACK
    )
    length = None
    if method == "HEAD":
        length = int(reply.headers.get("Content-Length", "0"))
    return Response(reply.status, headers, reply.body, length)


def _deleted(key: str) -> str:
    return f"<Deleted><Key>{escape(key)}</Key></Deleted>"


def _error(key: str, code: str) -> str:
    return f"<Error><Key>{escape(key)}</Key><Code>{code}</Code><Message>no</Message></Error>"


@contextmanager
def r2_front(
    parent: Parent,
    engine: Wire,
    *,
    tls: ssl.SSLContext | None = None,
    now: Callable[[], datetime] = utc_now,
    off: frozenset[Check] = NONE_OFF,
) -> Iterator[R2Front]:
    """Serves R2 on a loopback port of its own."""
    front = R2Front(parent, engine, now, off, tls)
    with serving(front.handle, tls) as host:
        front.host = front.identities.host = host
        yield front
