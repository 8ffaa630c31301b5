"""The engine behind the double, asked for exactly the path that was allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode
from xml.etree import ElementTree as ET

from tests.express.http_front import Response
from tests.isolation.wire import Reply, Wire

_KEPT: Final = ("Content-Type", "ETag", "Last-Modified", "Content-Range", "Accept-Ranges")
PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Upstream:
    """A real engine. ``buckets`` says which of its buckets plays one of the double's."""

    wire: Wire
    buckets: Mapping[str, str]

    def send(
        self,
        method: str,
        bucket: str,
        path: str,
        query: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; ``path`` begins with the slash before the key, and goes out as it is."""
        target = f"/{self.buckets[bucket]}{'' if path == '/' else path}"
        return self.wire.send(method, f"{target}?{query}" if query else target, body, headers or {})

    def close(self) -> None:
        """Closes idle connections: an engine that stops waits for them."""
        while self.wire._idle:
            self.wire._idle.pop().close()

    def listing(
        self, bucket: str, prefix: str, delimiter: str
    ) -> Iterator[tuple[str, Mapping[str, str]]]:
        """Every row below a prefix: ``("key", ...)`` or ``("prefix", ...)``."""
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(PAGE)}
        query |= {"delimiter": delimiter} if delimiter else {}
        while True:
            text = urlencode(sorted(query.items()), quote_via=quote, safe="~")
            reply = self.send("GET", bucket, "/", text)
            assert reply.status == 200, reply
            root = ET.fromstring(reply.body)  # noqa: S314 - the engine under test runs here
            for node in root.iterfind("{*}Contents"):
                yield "key", {child.tag.rpartition("}")[2]: child.text or "" for child in node}
            for node in root.iterfind("{*}CommonPrefixes"):
                yield "prefix", {"Prefix": node.findtext("{*}Prefix") or ""}
            following = root.findtext("{*}NextContinuationToken")
            if not following:
                return
            query["continuation-token"] = following

    def uploads(self, bucket: str) -> list[str]:
        """The keys of the uploads under way."""
        reply = self.send("GET", bucket, "/", "uploads=")
        root = ET.fromstring(reply.body)  # noqa: S314 - the engine under test runs here
        return [node.text or "" for node in root.iterfind("{*}Upload/{*}Key")]


def passed_on(reply: Reply) -> Response:
    """An engine's answer, with the headers that S3 has."""
    found = {name.lower(): value for name, value in reply.headers.items()}
    headers = {name: found[name.lower()] for name in _KEPT if name.lower() in found}
    length = found.get("content-length")
    if length and not reply.body:
        headers["Content-Length"] = length
    return Response(reply.status, reply.body, headers)
