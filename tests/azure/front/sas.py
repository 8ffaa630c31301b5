"""Directory and blob SAS: signed again by Microsoft's own SDK, and compared."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from azure.storage.blob import generate_blob_sas
from azure.storage.blob._shared.constants import X_MS_VERSION
from azure.storage.filedatalake import UserDelegationKey, generate_directory_sas

from tests.azure.front.model import Place, Principal, Refusal, Rules, check_segments, unauthentic
from tests.azure.front.operations import Operation

KEY_FIELDS: Final = ("skoid", "sktid", "skt", "ske", "sks", "skv")
FIELDS: Final = frozenset(
    {"sv", "sr", "sdd", "sp", "st", "se", "spr", "sig", "ss", "srt", *KEY_FIELDS}
)
"""Every field of a SAS that the front knows. Others make a request unknown, so it is refused."""

_ORDER: Final = "racwdxyltmeop"


@dataclass(frozen=True, slots=True)
class Account:
    """What signatures are made of."""

    name: str
    key: str
    rules: Rules

    def delegation_key(self, principal: Principal, start: str, expiry: str) -> UserDelegationKey:
        """The user delegation key of a principal for a time: a function of what is in it."""
        made: UserDelegationKey = UserDelegationKey()  # type: ignore[no-untyped-call]
        made.signed_oid, made.signed_tid = principal.oid, principal.tid
        made.signed_start, made.signed_expiry = start, expiry
        made.signed_service, made.signed_version = "b", X_MS_VERSION
        text = f"{principal.oid}|{principal.tid}|{start}|{expiry}".encode()
        digest = hmac.digest(base64.b64decode(self.key), text, hashlib.sha256)
        made.value = base64.b64encode(digest).decode()
        return made


def is_sas(fields: dict[str, str]) -> bool:
    """Whether a request is by SAS."""
    return "sig" in fields


def check_sas(
    account: Account,
    sas: dict[str, str],
    place: Place,
    operation: Operation,
    fields: dict[str, str],
) -> None:
    """Refuses unless the SAS allows the operation at the place."""
    rules = account.rules
    if sas.get("sv") != X_MS_VERSION:
        raise unauthentic("another version than the front's SDK signs")
    if rules.on("protocol") and rules.scheme not in sas.get("spr", "https,http").split(","):
        raise Refusal(403, "AuthorizationProtocolMismatch")
    _check_times(account, sas)
    key, principal = _key(account, sas)
    if sas.get("sr") == "d":
        directory = _directory(account, sas, place, operation, fields)
        if not _looks(rules, operation):
            # Whatever directory it was signed for: it was signed, and the path is not looked at.
            return _check_letters(rules, sas.get("sp", ""), operation, principal)
        made = _directory_sas(account, place.container, directory, key, sas)
    elif sas.get("sr") == "b" and not operation.lists:
        made = _blob_sas(account, place, key, sas)
    else:
        raise unauthentic("no kind of SAS that this request can have")
    _compare(account, made, sas)
    if "sdd" in sas and sas["sdd"] != _field(made, "sdd"):
        raise unauthentic("Signed Directory Depth Invalid")
    return _check_letters(rules, sas.get("sp", ""), operation, principal)


def _looks(rules: Rules, operation: Operation) -> bool:
    """Whether the place that is asked for is looked at."""
    return rules.on("list prefix" if operation.lists else "path")


def _check_letters(
    rules: Rules, letters: str, operation: Operation, principal: Principal | None
) -> None:
    if [letter for letter in _ORDER if letter in letters] != list(letters):
        raise unauthentic("the letters are not in their order")
    if rules.on("letters") and not set(operation.any_of) & set(letters):
        raise Refusal(403, "AuthorizationPermissionMismatch")
    if principal is not None and rules.on("rights"):
        check_rights(principal, operation)


def check_rights(principal: Principal, operation: Operation) -> None:
    """What the principal's roles allow bounds every SAS of its keys."""
    if not set(operation.any_of) & set(principal.letters):
        raise Refusal(403, "AuthorizationPermissionMismatch", "not by the principal's roles")


def _directory_sas(
    account: Account,
    container: str,
    directory: str,
    key: str | UserDelegationKey,
    sas: dict[str, str],
) -> str:
    return generate_directory_sas(
        account.name,
        container,
        directory,
        key,
        permission=sas.get("sp"),
        expiry=sas.get("se"),
        start=sas.get("st"),
        protocol=sas.get("spr"),
    )


def _blob_sas(
    account: Account, place: Place, key: str | UserDelegationKey, sas: dict[str, str]
) -> str:
    return generate_blob_sas(
        account.name,
        place.container,
        place.blob,
        account_key=key if isinstance(key, str) else None,
        user_delegation_key=None if isinstance(key, str) else key,
        permission=sas.get("sp"),
        expiry=sas.get("se"),
        start=sas.get("st"),
        protocol=sas.get("spr"),
    )


def _directory(
    account: Account,
    sas: dict[str, str],
    place: Place,
    operation: Operation,
    fields: dict[str, str],
) -> str:
    """The first ``sdd`` segments of what is asked for: of the path, or of the prefix to list."""
    rules = account.rules
    if not rules.directory_sas:
        raise unauthentic("Directory SAS needs a hierarchical namespace")
    depth = sas.get("sdd", "")
    if not depth.isdecimal() or not int(depth):
        raise unauthentic("Signed Directory Depth Invalid")
    segments = place.segments
    if operation.lists:
        prefix = fields.get("prefix", "")
        check_segments(prefix, rules)
        segments = prefix.split("/")
    wrong = len(segments) < int(depth) or "" in segments[: int(depth)]
    if wrong and _looks(rules, operation):
        raise unauthentic("Signed Directory Depth Invalid")
    return "/".join(segments[: int(depth)])


def _check_times(account: Account, sas: dict[str, str]) -> None:
    rules, now = account.rules, account.rules.now()
    if rules.on("expiry") and now >= _instant(sas.get("se", "")):
        raise unauthentic("Signature not valid in the specified time frame")
    if rules.on("start") and "st" in sas and now < _instant(sas["st"]):
        raise unauthentic("Signature not valid in the specified time frame")


def _key(account: Account, sas: dict[str, str]) -> tuple[str | UserDelegationKey, Principal | None]:
    """What the SAS must have been signed with, and for a delegation key, who stands behind it."""
    if not any(name in sas for name in KEY_FIELDS):
        return account.key, None
    rules, now = account.rules, account.rules.now()
    who = [p for p in rules.principals.values() if (p.oid, p.tid) == (sas["skoid"], sas["sktid"])]
    if not who:
        raise unauthentic("no such principal")
    ends = _instant(sas["ske"])
    in_time = _instant(sas["skt"]) <= now < ends and _instant(sas["se"]) <= ends
    if rules.on("key life") and not in_time:
        raise unauthentic("Signature not valid in the specified key time frame")
    return account.delegation_key(who[0], sas["skt"], sas["ske"]), who[0]


def _compare(account: Account, made: str, sas: dict[str, str]) -> None:
    same = hmac.compare_digest(_field(made, "sig"), sas["sig"])
    if account.rules.on("signature") and not same:
        raise unauthentic("Signature did not match")


def _field(token: str, name: str) -> str:
    return dict(parse_qsl(token)).get(name, "")


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise unauthentic("a time that is none") from None
