"""The matrix's tenant and owner on Azure, over the wire: no SDK between the probe and the front."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from ringfence.config import Buckets
from ringfence.layout import BucketRole
from ringfence.providers.base import Credential
from ringfence.scope import Grants
from ringfence.testing.isolation import (
    COPIES,
    LISTINGS,
    Answer,
    Ground,
    Operation,
    Outcome,
    Place,
    Probe,
    Upload,
)
from tests.azure.front import Front
from tests.azure.sharedkey import authorization
from tests.isolation.wire import Reply, Wire

VERSION: Final = "2025-11-05"
REFUSALS: Final = frozenset(
    {
        "AuthenticationFailed",
        "AuthorizationFailure",
        "AuthorizationPermissionMismatch",
        "AuthorizationResourceTypeMismatch",
        "AuthorizationProtocolMismatch",
        "CannotVerifyCopySource",
    }
)
"""The service's own codes for "this principal may not", each with a 403."""

_BLOCK: Final = {"x-ms-blob-type": "BlockBlob"}
RANGE: Final = "bytes=0-31"
NOT_HERE: Final = frozenset(
    {
        # One listing, and a bulk delete that no directory SAS opens; see test_fence.
        *(Operation.LIST_V1, Operation.LIST_V1_LEVEL, Operation.DELETE_MANY),
        # Reading a block list needs "r", not "w"; an upload has no abort: its blocks expire.
        *(Operation.UPLOAD_PARTS, Operation.UPLOAD_ABORT),
    }
)
"""What Azure has not, or has under another permission, and is tested by itself."""


def code(reply: Reply) -> str:
    """The service's error code; in a header where there is no body."""
    return header(reply, "x-ms-error-code") or ""


def header(reply: Reply, name: str) -> str | None:
    """A header of an answer, whatever its case."""
    return next((v for n, v in reply.headers.items() if n.lower() == name), None)


def outcome(reply: Reply) -> Outcome:
    """Strictly: a refusal is a 403 with the service's own code for it."""
    if reply.status == 403 and code(reply) in REFUSALS:
        return Outcome.REFUSED
    return Outcome.ALLOWED if 200 <= reply.status < 300 else Outcome.FAILED


def block_id(number: int) -> str:
    return base64.b64encode(f"{number:016d}".encode()).decode()


def block_list(*blocks: str) -> bytes:
    inner = "".join(f"<Latest>{block}</Latest>" for block in blocks)
    return f'<?xml version="1.0" encoding="utf-8"?><BlockList>{inner}</BlockList>'.encode()


def texts(reply: Reply, path: str) -> list[str]:
    root = ET.fromstring(reply.body)  # noqa: S314 - the front under test runs here
    return [element.text or "" for element in root.iterfind(path)]


Call = tuple[str, str, bytes, dict[str, str]]
"""Method, query, body and headers of a request on a blob."""

CALLS: Final[Mapping[Operation, Callable[[Ground], Call]]] = {
    Operation.GET: lambda g: ("GET", "", b"", {}),
    Operation.GET_RANGE: lambda g: ("GET", "", b"", {"x-ms-range": RANGE}),
    Operation.HEAD: lambda g: ("HEAD", "", b"", {}),
    Operation.PUT: lambda g: ("PUT", "", g.body, _BLOCK),
    Operation.PUT_IF_ABSENT: lambda g: ("PUT", "", g.body, {**_BLOCK, "If-None-Match": "*"}),
    Operation.PUT_IF_MATCH: lambda g: (
        *("PUT", "", g.body),
        {**_BLOCK, "If-Match": g.version or '"0x0"'},
    ),
    Operation.DELETE: lambda g: ("DELETE", "", b"", {}),
    # An upload begins with its first block.
    Operation.UPLOAD_START: lambda g: ("PUT", _block(3), g.body, {}),
    Operation.UPLOAD_PART: lambda g: ("PUT", _block(2), g.body, {}),
    Operation.UPLOAD_COMPLETE: lambda g: (
        *("PUT", "comp=blocklist"),
        *(block_list(g.upload.part if g.upload else block_id(1)), {}),
    ),
}

LISTS: Final[Mapping[Operation, dict[str, str]]] = {
    Operation.LIST: {},
    Operation.LIST_LEVEL: {"delimiter": "/"},
    Operation.LIST_AFTER: {},
}


def _block(number: int) -> str:
    return f"comp=block&blockid={quote(block_id(number), safe='')}"


@dataclass(frozen=True, slots=True)
class At:
    """Where a wire leads: the account's path, and the container of each role."""

    account: str
    root: str
    buckets: Buckets

    def path(self, place: Place) -> str:
        return f"/{self.account}/{self.buckets.of(place.bucket)}/{quote(place.key, safe='/~')}"

    def container(self, role: BucketRole) -> str:
        return f"/{self.account}/{self.buckets.of(role)}"


class Tenant:
    """Whoever holds some SAS, and tries each of them on everything."""

    operations = frozenset(Operation) - NOT_HERE

    def __init__(self, wire: Wire, at: At, held: Mapping[str, Grants]) -> None:
        self.name = "raw Azure"
        self.wire = wire
        self.at = at
        self.held = held

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every SAS."""
        return tuple(self.held)

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        """The best that any of the SAS gets, or any two of them for a copy."""
        answers = map(self._answered(probe, ground), self._choices(probe))
        best: Answer | None = None
        for answer in answers:
            if answer.outcome is not Outcome.REFUSED:
                return answer
            best = answer
        assert best is not None
        return best

    def send(
        self,
        method: str,
        target: str,
        token: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request by one SAS, as it is."""
        joined = f"{target}{'&' if '?' in target else '?'}{token}" if token else target
        sent = {
            "Host": self.wire.host,
            "Content-Length": str(len(body)),
            **(headers or {}),
        }
        return self.wire.exchange(method, joined, body, sent)

    def _choices(self, probe: Probe) -> Iterator[tuple[str, str]]:
        if probe.operation not in COPIES:
            return ((token, "") for token in self.tokens)
        source, to = _ends(probe)
        return itertools.product(self._of(to), self._of(source))

    def _of(self, place: Place) -> tuple[str, ...]:
        """The SAS whose directory a place is in, or where there is none, all of them."""
        own = tuple(
            token
            for token, grants in self.held.items()
            if any(g.bucket is place.bucket and place.key.startswith(g.prefix) for g in grants)
        )
        return own or self.tokens

    def _answered(self, probe: Probe, ground: Ground) -> Callable[[tuple[str, str]], Answer]:
        if probe.operation in LISTINGS:
            return lambda tokens: self._list(probe, tokens[0])
        if probe.operation in COPIES:
            return lambda tokens: self._copy(probe, ground, tokens)
        method, query, body, headers = CALLS[probe.operation](ground)
        target = self.at.path(probe.place) + (f"?{query}" if query else "")

        def one(tokens: tuple[str, str]) -> Answer:
            reply = self.send(method, target, tokens[0], body, headers)
            return Answer(outcome(reply), said(reply), reply.body)

        return one

    def _list(self, probe: Probe, token: str) -> Answer:
        query = {"restype": "container", "comp": "list", **LISTS[probe.operation]}
        if probe.key:
            query["prefix"] = probe.key
        if probe.operation is Operation.LIST_AFTER:
            query["startFrom"] = f"{probe.key}!"
        target = f"{self.at.container(probe.bucket)}?{urlencode(query, quote_via=quote)}"
        reply = self.send("GET", target, token)
        found, keys = outcome(reply), list[str]()
        if found is Outcome.ALLOWED:
            keys = texts(reply, "Blobs/Blob/Name") + texts(reply, "Blobs/BlobPrefix/Name")
        return Answer(found, said(reply), reply.body, tuple(keys))

    def _copy(self, probe: Probe, ground: Ground, tokens: tuple[str, str]) -> Answer:
        source, to = _ends(probe)
        part = probe.operation in {Operation.PART_COPY_FROM, Operation.PART_COPY_TO}
        query = f"?{_block(2)}" if part else ""
        headers = {"x-ms-copy-source": f"{self.at.root}{self.at.path(source)}?{tokens[1]}"}
        reply = self.send("PUT", f"{self.at.path(to)}{query}", tokens[0], b"", headers)
        return Answer(outcome(reply), said(reply), reply.body)


def _ends(probe: Probe) -> tuple[Place, Place]:
    """From where to where a copy goes."""
    assert probe.other is not None
    reads_other = probe.operation in {Operation.COPY_TO, Operation.PART_COPY_TO}
    return (probe.other, probe.place) if reads_other else (probe.place, probe.other)


def said(reply: Reply) -> str:
    return f"{reply.status} {code(reply)}".rstrip()


class Owner:
    """The installation's own key."""

    def __init__(self, wire: Wire, at: At, account: str, key: str) -> None:
        self.wire = wire
        self.at = at
        self._account = account
        self._key = key

    def send(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request by Shared Key, as it is."""
        sent = {
            "Host": self.wire.host,
            "Content-Length": str(len(body)),
            "x-ms-version": VERSION,
            "x-ms-date": format_datetime(datetime.now(UTC), usegmt=True),
            **(headers or {}),
        }
        sent["Authorization"] = authorization(self._account, self._key, method, target, sent)
        return self.wire.exchange(method, target, body, sent)

    def make_container(self, name: str) -> None:
        reply = self.send("PUT", f"/{self._account}/{name}?restype=container")
        assert reply.status in {201, 409}, reply

    def plant(self, place: Place, body: bytes) -> str | None:
        reply = self.send("PUT", self.at.path(place), body, _BLOCK)
        return header(reply, "etag") if reply.status == 201 else None

    def read(self, place: Place) -> bytes | None:
        reply = self.send("GET", self.at.path(place))
        return reply.body if reply.status == 200 else None

    def versions(self, bucket: BucketRole) -> Mapping[str, str]:
        return self.under(bucket, "")

    def under(self, bucket: BucketRole, prefix: str, *include: str) -> dict[str, str]:
        """Every key below a prefix with its ETag."""
        found: dict[str, str] = {}
        marker = ""
        while True:
            query = {"restype": "container", "comp": "list", "prefix": prefix, "marker": marker}
            if include:
                query["include"] = ",".join(include)
            target = f"{self.at.container(bucket)}?{urlencode(query, quote_via=quote)}"
            reply = self.send("GET", target)
            assert reply.status == 200, said(reply)
            names = texts(reply, "Blobs/Blob/Name")
            found |= zip(names, texts(reply, "Blobs/Blob/Properties/Etag"), strict=True)
            (marker,) = texts(reply, "NextMarker") or [""]
            if not marker:
                return found

    def begin(self, place: Place) -> Upload | None:
        target = f"{self.at.path(place)}?{_block(1)}"
        reply = self.send("PUT", target, b"a part of the owner's")
        return Upload("blocks", block_id(1)) if reply.status == 201 else None

    def parts(self, place: Place, upload: Upload) -> frozenset[str] | None:
        reply = self.send("GET", f"{self.at.path(place)}?comp=blocklist&blocklisttype=uncommitted")
        if reply.status != 200:
            return None
        names = texts(reply, "UncommittedBlocks/Block/Name")
        return frozenset(names) or None

    def uploads(self, bucket: BucketRole) -> frozenset[tuple[str, str]]:
        """Blobs of which there are blocks and nothing else."""
        every = self.under(bucket, "", "uncommittedblobs")
        return frozenset((key, "blocks") for key in every.keys() - self.under(bucket, "").keys())

    def clear(self, places: Iterable[Place], uploads: Iterable[tuple[Place, str]]) -> None:
        for place, _ in uploads:
            # What was written over blocks alone is a blob, and can be deleted.
            self.send("PUT", self.at.path(place), b"", _BLOCK)
            self.send("DELETE", self.at.path(place))
        for place in places:
            self.send("DELETE", self.at.path(place))


def at_of(front: Front, buckets: Buckets) -> At:
    return At(front.azurite.account, front.root, buckets)


def owner_of(front: Front, buckets: Buckets) -> Owner:
    wire = Wire(front.root, None)
    return Owner(wire, at_of(front, buckets), front.azurite.account, front.azurite.key)


def tenant_of(front: Front, buckets: Buckets, credentials: Iterable[Credential]) -> Tenant:
    held = {each.fields["sas_token"].reveal(): each.grants for each in credentials}
    return Tenant(Wire(front.root, None), at_of(front, buckets), held)
