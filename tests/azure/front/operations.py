"""Which operation a request is, and the letters that it needs. What is not listed is refused.

From the tables *Permissions for a directory, container, or blob* and *Operations* of the Blob
Storage REST API. Where one of several letters is enough, each is a set of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.azure.front.model import Place, Refusal, Request, Rules


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. ``any_of``: letters of which one is enough. ``fields``: those it may have."""

    name: str
    any_of: str
    fields: frozenset[str] = frozenset()
    lists: bool = False
    copies: bool = False


_READ: Final = Operation("get", "r", frozenset({"timeout"}))
_BLOCKS: Final = frozenset({"comp", "blockid", "timeout"})

# By method, "comp" and whether there is a source. From version 2026-04-06 blocks need only "c".
_OF_BLOB: Final = {
    ("GET", "", False): _READ,
    ("HEAD", "", False): _READ,
    ("GET", "blocklist", False): Operation(
        "get block list", "r", frozenset({"comp", "blocklisttype"})
    ),
    ("GET", "metadata", False): Operation("get metadata", "r", frozenset({"comp"})),
    ("PUT", "", False): Operation("put", "w", frozenset({"timeout"})),
    ("PUT", "", True): Operation("copy", "w", frozenset({"timeout"}), copies=True),
    ("PUT", "block", False): Operation("put block", "cw", _BLOCKS),
    ("PUT", "block", True): Operation("put block from URL", "cw", _BLOCKS, copies=True),
    ("PUT", "blocklist", False): Operation("put block list", "cw", frozenset({"comp", "timeout"})),
    ("DELETE", "", False): Operation("delete", "d", frozenset({"timeout"})),
}

LIST: Final = Operation(
    "list",
    "l",
    frozenset(
        {"restype", "comp", "prefix", "delimiter", "maxresults", "marker", "startFrom", "timeout"}
    ),
    lists=True,
)


_HEADERS: Final = frozenset(
    {
        *("x-ms-version", "x-ms-date", "x-ms-client-request-id", "x-ms-return-client-request-id"),
        *("x-ms-blob-type", "x-ms-range", "x-ms-copy-source", "x-ms-requires-sync"),
        *("x-ms-blob-content-type", "x-ms-blob-content-md5", "x-ms-content-crc64"),
        *("x-ms-structured-body", "x-ms-structured-content-length", "x-ms-encryption-algorithm"),
    }
)
"""Those that need no letter of their own. Tags need ``t``, immutability needs ``i``."""


def check_headers(request: Request, rules: Rules) -> None:
    """Refuses a header that asks for more than the operation does, and any that is not known."""
    for name in map(str.lower, request.headers):
        known = name in _HEADERS or name.startswith("x-ms-meta-")
        if name.startswith("x-ms-") and not known and rules.on("headers"):
            raise Refusal(403, "AuthorizationPermissionMismatch", name)


def operation_of(request: Request, place: Place, fields: dict[str, str], rules: Rules) -> Operation:
    """The operation of a tenant's request."""
    found = _found(request, place, fields)
    if found is None:
        if rules.on("operations"):
            raise Refusal(403, "AuthorizationResourceTypeMismatch", "no operation of a SAS here")
        return _READ
    if not found.fields >= fields.keys() and rules.on("parameters"):
        unknown = ", ".join(sorted(fields.keys() - found.fields))
        raise Refusal(400, "InvalidQueryParameterValue", unknown)
    return found


def _found(request: Request, place: Place, fields: dict[str, str]) -> Operation | None:
    comp = fields.get("comp", "")
    if place.blob:
        source = request.header("x-ms-copy-source") is not None
        found = _OF_BLOB.get((request.method, comp, source))
        if found is not None and found.name == "put":
            # Append and page blobs are put in other ways, which need other letters.
            return found if request.header("x-ms-blob-type") == "BlockBlob" else None
        return found
    listing = (request.method, fields.get("restype"), comp) == ("GET", "container", "list")
    return LIST if listing and place.container else None
