"""Batches of the JSON API: many requests in one body, each authorised on its own."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

from tests.gcp.double import json_api
from tests.gcp.double.checks import Check
from tests.gcp.double.door import Answer, Asked, Door, Refused, unknown
from tests.gcp.double.tokens import HOUR, Holder

PATH: Final = "/batch/storage/v1"
MOST: Final = 100
"""Requests of one batch (Cloud Storage, "Batch requests")."""

_LINE: Final = re.compile(r"(DELETE|GET) (?:https?://([^/\s]+))?(/\S*)(?: HTTP/1\.1)?")
_MARK: Final = re.compile(r"""boundary=["']?([^"';]+)""")


def answer(door: Door, asked: Asked) -> Answer:
    """Every inner request's answer, in their order."""
    mark = _MARK.search(asked.headers.get("content-type", ""))
    if mark is None:
        raise Refused(400, "badRequest", "no multipart/mixed")
    pieces = asked.body.decode().replace("\r\n", "\n").split(f"--{mark[1]}")[1:-1]
    if not 0 < len(pieces) <= MOST:
        raise Refused(400, "badRequest", f"1 to {MOST} requests")
    answers = [_one(door, piece, asked.headers["host"]) for piece in pieces]
    body = "".join(_part(number, each) for number, each in enumerate(answers)) + "--batch--\r\n"
    kind = {"Content-Type": "multipart/mixed; boundary=batch"}
    return Answer(200, body.encode(), kind)


def _one(door: Door, piece: str, host: str) -> Answer:
    try:
        return json_api.answer(_inside(door), _inner(piece, host))
    except Refused as refused:
        return json_api.refusal(refused)


def _inside(door: Door) -> Door:
    if door.world.checks(Check.BATCH_PARTS):
        return door
    return Door(door.world, Holder(door.world.tokens.clock() + HOUR))


def _inner(piece: str, host: str) -> Asked:
    """The request in a part. Its token is the batch's own; another in it is refused."""
    _, _, rest = piece.strip("\n").partition("\n\n")
    head, _, _ = rest.partition("\n\n")
    first, *lines = head.split("\n")
    found = _LINE.fullmatch(first.strip())
    if found is None or found[2] not in {None, host}:
        raise unknown("this part of a batch")
    names = {line.partition(":")[0].strip().lower() for line in lines if line.strip()}
    if "authorization" in names:
        raise unknown("a part with a token of its own")
    path, _, query = found[3].partition("?")
    return Asked(found[1], path, dict(parse_qsl(query)), {}, b"")


def _part(number: int, each: Answer) -> str:
    body = each.body.decode()
    inner = f"HTTP/1.1 {each.status} .\r\nContent-Type: application/json\r\n"
    inner += f"Content-Length: {len(body)}\r\n\r\n{body}\r\n"
    head = f"Content-Type: application/http\r\nContent-ID: <response-{number}>\r\n\r\n"
    return f"--batch\r\n{head}{inner}"
