"""A fenced tenant on S3 Express, over the wire: it makes sessions by itself, as SDKs do."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from ringfence.layout import BucketRole
from ringfence.testing.isolation import LISTINGS, Answer, Ground, Operation, Outcome, Probe
from tests.express.local_aws import REGION, zonal_host
from tests.isolation.s3 import LISTS, REQUESTS, Ends, delete_body, outcome, target, texts
from tests.isolation.wire import Keys, Reply, Wire, authorization

OPERATIONS: Final = frozenset(Operation) - {
    Operation.LIST_AFTER,
    Operation.LIST_V1,
    Operation.LIST_V1_LEVEL,
}
"""What directory buckets have: no start-after, and no first version of listing."""

BY_IAM: Final = frozenset(
    {Operation.COPY_FROM, Operation.COPY_TO, Operation.PART_COPY_FROM, Operation.PART_COPY_TO}
)
"""Copies are signed with IAM credentials (S3 API Reference, *CopyObject*, *UploadPartCopy*)."""


def is_asked_for(probe: Probe) -> bool:
    """Whether directory buckets have such a request: they list whole prefixes only."""
    return probe.operation not in LISTINGS or probe.key.endswith("/") or not probe.key


class ExpressWire:
    """Signs and sends to a local AWS in clear, exactly what it is given."""

    def __init__(self, url: str, keys: Keys) -> None:
        self.keys = keys
        self._wire = Wire(url, None)
        self._sessions: dict[str, Keys] = {}
        self._lock = threading.Lock()

    def session(self, name: str, mode: str | None = None) -> Keys | Reply:
        """A session on a bucket or an access point, or the refusal of one."""
        headers = {"x-amz-create-session-mode": mode} if mode else {}
        reply = self.by_iam("GET", name, "/?session=", b"", headers)
        if reply.status != 200:
            return reply
        parts = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        found = [re.findall(f"<{part}>(.*?)</{part}>", reply.body.decode())[0] for part in parts]
        return Keys(*found)

    def by_session(
        self,
        method: str,
        name: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        session: Keys | None = None,
    ) -> Reply:
        """A request with a session on ``name``, which is made once and kept."""
        if session is None:
            with self._lock:
                held: Keys | Reply | None = self._sessions.get(name)
                if held is None:
                    held = self.session(name)
                    if isinstance(held, Reply):
                        return held
                    self._sessions[name] = held
            assert isinstance(held, Keys)
            session = held
        token = {"x-amz-s3session-token": session.token or ""}
        return self._send(
            method, zonal_host(name), target, body, {**(headers or {}), **token}, keys=session
        )

    def by_iam(
        self,
        method: str,
        name: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """A request with the IAM credentials themselves."""
        return self._iam(method, zonal_host(name), target, body, headers or {}, service="s3express")

    def standard(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """A request to a standard bucket, path-style."""
        return self._iam(method, f"s3.{REGION}.amazonaws.com", target, body, headers, service="s3")

    def _iam(
        self,
        method: str,
        host: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        service: str,
    ) -> Reply:
        token = {"x-amz-security-token": self.keys.token} if self.keys.token else {}
        return self._send(
            method, host, target, body, {**headers, **token}, keys=self.keys, service=service
        )

    def _send(
        self,
        method: str,
        host: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        keys: Keys,
        service: str = "s3express",
    ) -> Reply:
        signed = {
            "Host": host,
            "x-amz-date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
            "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
            **headers,
        }
        how = {"region": REGION, "service": service}
        text = authorization(keys, method, target, signed, **how)
        sent = {**signed, "Authorization": text, "Content-Length": str(len(body))}
        return self._wire.exchange(method, target, body, sent)


class ExpressTenant:
    """A fenced session. ``doors`` says by which name each role's bucket is asked."""

    def __init__(
        self, wire: ExpressWire, doors: Mapping[BucketRole, str], name: str = "raw"
    ) -> None:
        self.name = name
        self.operations = OPERATIONS
        self.wire = wire
        self._doors = doors

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        if probe.operation in LISTS:
            return self._list(probe)
        if probe.operation is Operation.DELETE_MANY:
            return self._delete_many(probe)
        far = probe.other
        ends = Ends(
            (self._doors[probe.bucket], probe.key),
            (self._doors[far.bucket], far.key) if far else ("", ""),
            ground,
        )
        method, at, body, headers = REQUESTS[probe.operation](ends)
        reply = self._send(method, at, body, headers, by_iam=probe.operation in BY_IAM)
        found = outcome(reply)
        if method == "HEAD" and reply.status == 403:
            found = Outcome.REFUSED
        return Answer(found, f"{reply} {reply.body[:120]!r}", reply.body)

    def _list(self, probe: Probe) -> Answer:
        query = {**LISTS[probe.operation], **({"prefix": probe.key} if probe.key else {})}
        reply = self._send("GET", target(self._doors[probe.bucket], **query), b"", {})
        found, keys = outcome(reply), list[str]()
        if found is Outcome.ALLOWED:
            keys = texts(reply, "Contents/Key") + texts(reply, "CommonPrefixes/Prefix")
        return Answer(found, f"{reply} {reply.body[:120]!r}", reply.body, tuple(keys))

    def _delete_many(self, probe: Probe) -> Answer:
        assert probe.other is not None
        body, headers = delete_body([probe.other.key, probe.key])
        at = target(self._doors[probe.bucket], delete="")
        reply = self._send("POST", at, body, headers)
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

    def _send(
        self,
        method: str,
        at: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        by_iam: bool = False,
    ) -> Reply:
        """``at`` is path-style, as the matrix writes it; Express has the bucket in the host."""
        path, question, query = at.partition("?")
        bucket, _, key = path.removeprefix("/").partition("/")
        if not bucket.endswith("-s3"):
            return self.wire.standard(method, at, body, headers)
        send = self.wire.by_iam if by_iam else self.wire.by_session
        return send(method, bucket, f"/{key}{question}{query}", body, headers)
