"""*Blob Batch* of deletes: each request in it is taken out and answered as one of its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.azure.front.model import Refusal, Reply, Request

if TYPE_CHECKING:
    from tests.azure.front.server import Front

MOST: Final = 256
_BOUNDARY: Final = re.compile(r"multipart/mixed; ?boundary=\"?([^\";]+)")


def answer(front: Front, request: Request) -> Reply:
    """The answers to a batch, each request in it authorised for itself."""
    match = _BOUNDARY.match(request.header("content-type") or "")
    if match is None or request.method != "POST":
        raise Refusal(400, "InvalidHeaderValue")
    parts = request.body.split(f"--{match[1]}".encode())[1:-1]
    if not 0 < len(parts) <= MOST:
        raise Refusal(400, "InvalidInput", "256 requests at most")
    said = b"".join(_part(front, part) for part in parts)
    body = said + b"--answers--\r\n"
    return 202, [("Content-Type", "multipart/mixed; boundary=answers")], body


def _part(front: Front, part: bytes) -> bytes:
    outer, _, inner = part.strip(b"\r\n").partition(b"\r\n\r\n")
    number = re.search(rb"(?i)content-id: *(\d+)", outer)
    if number is None:
        raise Refusal(400, "InvalidInput", "no Content-ID")
    first, *lines = inner.decode().split("\r\n")
    method, target, _ = first.split(" ")
    headers = dict(line.split(": ", 1) for line in lines if line)
    if method != "DELETE" or "comp=" in target:
        raise Refusal(400, "InvalidInput", "deletes of blobs alone")
    status, given, body = front.answer(Request(method, target, headers, b""))
    shown = "".join(f"{n}: {v}\r\n" for n, v in given if n.lower().startswith("x-ms-"))
    return (
        b"--answers\r\nContent-Type: application/http\r\nContent-ID: "
        + number[1]
        + b"\r\n\r\n"
        + f"HTTP/1.1 {status} Answered\r\n{shown}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
        + b"\r\n"
    )
