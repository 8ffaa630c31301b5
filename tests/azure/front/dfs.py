"""The dfs endpoint's shapes, as far as ``azure-storage-file-datalake`` sends them for files.

Each is authorised as the operation on blobs that it comes to, and translated into it. What is
missing here (directories, rights, renames) is refused.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from tests.azure.front.model import Place, Refusal, Reply, Request
from tests.azure.front.operations import LIST, Operation
from tests.azure.front.sas import check_sas

if TYPE_CHECKING:
    from tests.azure.front.server import Front

_CREATE: Final = Operation("create a file", "w")
_APPEND: Final = Operation("append to a file", "w")


def is_one(request: Request, fields: dict[str, str]) -> bool:
    """Whether a request is one of the dfs endpoint's."""
    return request.method == "PATCH" or bool(fields.keys() & {"resource", "action", "mode"})


def answer(
    front: Front, request: Request, place: Place, sas: dict[str, str], fields: dict[str, str]
) -> Reply:
    """The answer to a shape that is known."""
    asked = (request.method, fields.get("resource"), fields.get("action"))
    if "mode" in fields or request.header("x-ms-rename-source"):
        raise Refusal(403, "AuthorizationPermissionMismatch", "no renames by this SAS")
    if asked == ("PUT", "file", None) and place.blob:
        check_sas(front.account, sas, place, _CREATE, {})
        return _create(front, request)
    if asked == ("PATCH", None, "append") and place.blob:
        check_sas(front.account, sas, place, _APPEND, {})
        return _append(front, request, int(fields["position"]))
    if asked == ("PATCH", None, "flush") and place.blob:
        check_sas(front.account, sas, place, _APPEND, {})
        return _flush(front, request)
    if asked == ("GET", "filesystem", None) and not place.blob:
        directory = fields.get("directory", "")
        check_sas(front.account, sas, place, LIST, {"prefix": directory})
        return _list(front, request, directory)
    raise Refusal(400, "UnsupportedQueryParameter", "a shape that the front does not know")


def _create(front: Front, request: Request) -> Reply:
    front.blocks[request.raw_path] = []
    headers = {"x-ms-blob-type": "BlockBlob"}
    put = Request("PUT", request.raw_path, headers, b"")
    return front.forward(put)


def _append(front: Front, request: Request, position: int) -> Reply:
    block = base64.b64encode(f"{position:032d}".encode()).decode()
    target = f"{request.raw_path}?comp=block&blockid={quote(block, safe='')}"
    status, headers, body = front.forward(Request("PUT", target, {}, request.body))
    if status == 201:
        front.blocks.setdefault(request.raw_path, []).append((position, block))
    return (202 if status == 201 else status), headers, body


def _flush(front: Front, request: Request) -> Reply:
    blocks = sorted(front.blocks.pop(request.raw_path, []))
    inner = "".join(f"<Latest>{block}</Latest>" for _, block in blocks)
    body = f"<BlockList>{inner}</BlockList>".encode()
    status, headers, said = front.forward(
        Request("PUT", f"{request.raw_path}?comp=blocklist", {}, body)
    )
    return (200 if status == 201 else status), headers, said


def _list(front: Front, request: Request, directory: str) -> Reply:
    query = f"restype=container&comp=list&prefix={quote(directory + '/', safe='')}"
    status, headers, body = front.forward(Request("GET", f"{request.raw_path}?{query}", {}, b""))
    if status != 200:
        return status, headers, body
    names = [e.text or "" for e in ET.fromstring(body).iterfind("Blobs/Blob/Name")]  # noqa: S314
    paths = json.dumps({"paths": [{"name": name} for name in names]}).encode()
    return 200, [("Content-Type", "application/json")], paths
