"""Cloudflare's API, for tests: the one call that issues temporary credentials.

Shapes of answers are those that Cloudflare documents for its API; error codes those that it
documents for R2 (*Error codes*) or that are known from public reports.
"""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.r2.checks import NONE_OFF, Check
from tests.r2.front import R2Front
from tests.r2.http1 import Headers, Request, Response, serving
from tests.r2.sessions import SCOPES, Issued, Session

MAX_TTL: Final = 604_800
MAX_PREFIXES: Final = 100
"""Cloudflare documents no such limit; a double has to end somewhere."""
EDIT: Final = "Workers R2 Storage: Edit"

_KNOWN: Final = frozenset(
    {"bucket", "parentAccessKeyId", "permission", "ttlSeconds", "prefixes", "objects"}
)

Fault = Callable[[Request], Response | None]
"""What happens in place of an answer, or None where nothing does."""


class ApiError(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(slots=True)
class CloudflareApi:
    """The double. ``tokens`` maps a bearer's token to its permissions; ``calls`` are the bodies of
    those that were answered or refused."""

    front: R2Front
    tokens: dict[str, frozenset[str]] = field(repr=False)
    off: frozenset[Check] = NONE_OFF
    fault: Fault = lambda _: None
    calls: list[Any] = field(default_factory=list)
    url: str = ""

    def handle(self, request: Request) -> Response:
        fault = self.fault(request)
        if fault is not None:
            return fault
        try:
            return _answer(200, self._issued(request), [])
        except ApiError as error:
            return _answer(error.status, None, [(error.code, error.message)])

    def _issued(self, request: Request) -> dict[str, str]:
        self._check_bearer(request)
        account = self.front.parent.account
        want = f"/client/v4/accounts/{account}/r2/temp-access-credentials"
        if request.target != want and not (
            self._off(Check.ACCOUNT) and request.target.endswith("/r2/temp-access-credentials")
        ):
            known = request.target.startswith("/client/v4/accounts/")
            code = 7003 if known else 7000
            raise ApiError(404, code, f"Could not route to {request.target}")
        if request.method != "POST":
            raise ApiError(405, 10405, "Method not allowed for this authentication scheme")
        body = _body(request)
        self.calls.append(body)
        return self._issue(body)

    def _check_bearer(self, request: Request) -> None:
        scheme, _, token = (request.header("authorization") or "").partition(" ")
        if scheme != "Bearer" or not token or not token.isascii() or " " in token:
            raise ApiError(400, 6003, "Invalid request headers")
        permissions = self.tokens.get(token)
        if permissions is None and not self._off(Check.BEARER):
            raise ApiError(403, 9109, "Invalid access token")
        if EDIT not in (permissions or ()) and not self._off(Check.PERMISSION):
            raise ApiError(403, 10000, "Authentication error")

    def _issue(self, body: dict[str, Any]) -> dict[str, str]:
        parent, unknown = self.front.parent, body.keys() - _KNOWN
        if unknown:
            raise ApiError(400, 10040, f"Unknown fields: {sorted(unknown)}")
        if body.get("parentAccessKeyId") != parent.access_key and not self._off(Check.PARENT):
            raise ApiError(404, 10021, "The parent access key does not exist.")
        bucket = body.get("bucket")
        if not isinstance(bucket, str) or bucket not in parent.buckets:
            raise ApiError(404, 10006, "The specified bucket does not exist.")
        operations = self._operations(body.get("permission"))
        ttl = body.get("ttlSeconds", 900)
        if not isinstance(ttl, int) or (not 1 <= ttl <= MAX_TTL and not self._off(Check.TTL)):
            raise ApiError(400, 10022, f"ttlSeconds must be between 1 and {MAX_TTL}")
        prefixes, objects = (self._paths(body, name) for name in ("prefixes", "objects"))
        issued = Issued(
            secrets.token_hex(16),
            secrets.token_hex(32),
            secrets.token_urlsafe(64),
            Session(bucket, operations, prefixes, objects),
            self.front.now().timestamp() + ttl,
        )
        self.front.identities.issued[issued.access_key] = issued
        return {
            "accessKeyId": issued.access_key,
            "secretAccessKey": issued.secret,
            "sessionToken": issued.token,
        }

    def _operations(self, permission: object) -> frozenset[str]:
        if not isinstance(permission, str) or permission not in SCOPES:
            raise ApiError(400, 10023, "Invalid permission")
        most = SCOPES[self.front.parent.scope]
        beyond = permission.startswith("admin-") or not SCOPES[permission] <= most
        if beyond and not self._off(Check.PARENT_RIGHTS):
            raise ApiError(403, 10003, "The parent access key may not do this")
        return SCOPES[permission]

    def _paths(self, body: dict[str, Any], name: str) -> tuple[str, ...]:
        rows = body.get(name, [])
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise ApiError(400, 10024, f"Invalid {name}")
        odd = len(rows) > MAX_PREFIXES or any(not 1 <= len(r.encode()) <= 1024 for r in rows)
        if odd and not self._off(Check.PREFIXES):
            raise ApiError(400, 10024, f"Invalid {name}")
        return tuple(rows)

    def _off(self, check: Check) -> bool:
        return check in self.off


def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, 10026, "Could not parse the body")
    return body


def _answer(status: int, result: Any, errors: list[tuple[int, str]]) -> Response:
    return answer(
        status,
        {
            "success": status == 200,
            "errors": [{"code": code, "message": message} for code, message in errors],
            "messages": [],
            "result": result,
        },
    )


def answer(status: int, document: Any, headers: Headers = ()) -> Response:
    """An answer in JSON."""
    own = (("Content-Type", "application/json"), *headers)
    return Response(status, own, json.dumps(document).encode())


@contextmanager
def cloudflare_api(
    front: R2Front,
    tokens: dict[str, frozenset[str]],
    *,
    tls: ssl.SSLContext | None = None,
    off: frozenset[Check] = NONE_OFF,
) -> Iterator[CloudflareApi]:
    """Serves the API on a loopback port of its own."""
    api = CloudflareApi(front, tokens, off)
    with serving(api.handle, tls) as host:
        api.url = f"{'https' if tls else 'http'}://{host}"
        yield api
