"""The words of the front: a request as it came, a refusal, the rules, who may what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote
from xml.sax.saxutils import escape

CHECKS: Final = frozenset(
    {
        "signature",
        "expiry",
        "start",
        "protocol",
        "path",
        "letters",
        "list prefix",
        "list beside",
        "batch",
        "dots",
        "operations",
        "headers",
        "copy source",
        "parameters",
        "key life",
        "rights",
        "shared key",
        "token",
    }
)
"""What can be switched off, each to show that the attacks notice."""

Reply = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers, body."""

_DOTS: Final = frozenset({".", ".."})


class Refusal(Exception):
    """An answer that is an error, as the service words it."""

    def __init__(self, status: int, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail

    @property
    def body(self) -> bytes:
        detail = (
            f"<AuthenticationErrorDetail>{escape(self.detail)}</AuthenticationErrorDetail>"
            if self.detail
            else ""
        )
        code = f"<Code>{self.code}</Code><Message>Refused by the front.</Message>"
        return f'<?xml version="1.0" encoding="utf-8"?><Error>{code}{detail}</Error>'.encode()


def unauthentic(detail: str) -> Refusal:
    """The one code for every signature that does not hold."""
    return Refusal(403, "AuthenticationFailed", detail)


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody in Entra ID, and the letters that their roles come to on every container."""

    token: str
    letters: str = "rcwdl"
    may_delegate: bool = True
    oid: str = "6f1d0b51-0000-4000-8000-000000000001"
    tid: str = "6f1d0b51-0000-4000-8000-000000000002"


@dataclass(slots=True)
class Rules:
    """How the account behaves.

    ``off`` are the checks that are switched off. ``scheme`` is how requests count as having come:
    a test of https alone needs no certificate. ``directory_sas`` is whether the service knows
    them at all, which it may not on a flat account.
    """

    hierarchical: bool = True
    directory_sas: bool = True
    information: bool = True
    scheme: str = "http"
    off: set[str] = field(default_factory=set)
    principals: dict[str, Principal] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    busy: int = 0
    """How many requests for a delegation key are throttled first."""

    def on(self, check: str) -> bool:
        """Whether a check is made."""
        assert check in CHECKS, check
        return check not in self.off


@dataclass(frozen=True, slots=True)
class Request:
    """One request, nothing of it normalised."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def raw_path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def raw_query(self) -> list[str]:
        """The fields of the query as they came."""
        return [part for part in self.target.partition("?")[2].split("&") if part]

    def header(self, name: str) -> str | None:
        """A header, whatever its case."""
        return next((v for n, v in self.headers.items() if n.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names: the account, a container, a blob, each decoded."""

    container: str
    blob: str

    @property
    def segments(self) -> list[str]:
        return self.blob.split("/") if self.blob else []


def parse_fields(raw: list[str], rules: Rules) -> dict[str, str]:
    """A query's fields, decoded. One that comes twice could be read in two ways."""
    found: dict[str, str] = {}
    for part in raw:
        name, _, value = part.partition("=")
        name = unquote(name)
        if name in found and rules.on("parameters"):
            raise Refusal(400, "InvalidQueryParameterValue", f"{name} comes twice")
        found.setdefault(name, unquote(value.replace("+", " ")))
    return found


def parse_path(raw: str, account: str, rules: Rules) -> Place:
    """What a raw path names.

    Decoded once, as the service does, and before it is split: an encoded slash is a slash.
    """
    decoded = unquote(raw, errors="strict")
    if not decoded.startswith(f"/{account}"):
        raise Refusal(400, "InvalidUri", "not this account")
    rest = decoded.removeprefix(f"/{account}")
    if rest and not rest.startswith("/"):
        raise Refusal(400, "InvalidUri", "not this account")
    check_segments(rest, rules)
    container, _, blob = rest.removeprefix("/").partition("/")
    return Place(container, blob)


def check_segments(path: str, rules: Rules) -> None:
    """Refuses what somebody between here and the disk may read as "go up"."""
    bad = _DOTS.intersection(path.split("/")) or "\\" in path or "\0" in path
    if bad and rules.on("dots"):
        raise Refusal(400, "InvalidUri", "a dot segment, a backslash or a NUL")
