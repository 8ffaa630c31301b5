"""Requests by a token of Entra ID: user delegation keys, and the installation's own work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from tests.azure.front import batch
from tests.azure.front.model import Place, Principal, Refusal, Reply, Request
from tests.azure.front.operations import operation_of
from tests.azure.front.sas import check_rights

if TYPE_CHECKING:
    from tests.azure.front.server import Front

MOST: Final = timedelta(days=7)


def by_bearer(front: Front, request: Request, place: Place, fields: dict[str, str]) -> Reply:
    """What a principal may do: by their roles, and nothing that the front does not know."""
    principal = principal_of(front, request)
    asked = (fields.get("restype"), fields.get("comp"))
    if asked == ("account", "properties"):
        return front.information(request)
    if asked == ("service", "userdelegationkey") and request.method == "POST":
        return _delegation_key(front, request, principal)
    if fields.get("comp") == "batch":
        return batch.answer(front, request)
    operation = operation_of(request, place, fields, front.rules)
    check_rights(principal, operation)
    if operation.copies:
        raise Refusal(400, "InvalidInput", "no copies by a token here")
    return front.forward(request)


def principal_of(front: Front, request: Request) -> Principal:
    """Whose token a request has."""
    token = (request.header("authorization") or "").removeprefix("Bearer ")
    principals = front.rules.principals
    if token in principals:
        return principals[token]
    if not front.rules.on("token") and principals:
        return next(iter(principals.values()))
    raise Refusal(401, "InvalidAuthenticationInfo")


def _delegation_key(front: Front, request: Request, principal: Principal) -> Reply:
    """*Get User Delegation Key*."""
    rules = front.rules
    if rules.busy:
        rules.busy -= 1
        raise Refusal(503, "ServerBusy")
    if not principal.may_delegate:
        raise Refusal(403, "AuthorizationPermissionMismatch")
    asked = {element.tag: element.text or "" for element in ET.fromstring(request.body)}  # noqa: S314
    start, expiry = (datetime.fromisoformat(asked[name]) for name in ("Start", "Expiry"))
    now = rules.now()
    if not now - MOST <= start.astimezone(UTC) < expiry.astimezone(UTC) <= now + MOST:
        raise Refusal(400, "InvalidXmlNodeValue", "within seven days of now")
    if expiry - start > MOST:
        raise Refusal(400, "InvalidXmlNodeValue", "seven days at most")
    key = front.account.delegation_key(principal, asked["Start"], asked["Expiry"])
    parts = {
        "SignedOid": key.signed_oid,
        "SignedTid": key.signed_tid,
        "SignedStart": key.signed_start,
        "SignedExpiry": key.signed_expiry,
        "SignedService": key.signed_service,
        "SignedVersion": key.signed_version,
        "Value": key.value,
    }
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
    body = f"<UserDelegationKey>{inner}</UserDelegationKey>".encode()
    return 200, [("Content-Type", "application/xml")], body
