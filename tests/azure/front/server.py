"""The front: takes requests as they come, refuses what the service would, forwards the rest.

What it knows is little, and everything else is refused: it is a double, and one that says yes too
often proves nothing. A request that is forwarded goes on with the path that was authorised, byte
for byte, signed with the account's key.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

from tests.azure.azurite import Azurite
from tests.azure.front import batch, dfs, entra
from tests.azure.front.listening import listen
from tests.azure.front.model import (
    Place,
    Refusal,
    Reply,
    Request,
    Rules,
    parse_fields,
    parse_path,
    unauthentic,
)
from tests.azure.front.operations import check_headers, operation_of
from tests.azure.front.sas import (
    FIELDS,
    Account,
    check_sas,
    is_sas,
)
from tests.azure.front.upstream import NONE, Upstream
from tests.azure.sharedkey import authorization


class Front:
    """A running front before an Azurite, and the rules by which it answers."""

    def __init__(self, azurite: Azurite) -> None:
        self.azurite = azurite
        self.rules = Rules()
        self.account = Account(azurite.account, azurite.key, self.rules)
        self.blocks: dict[str, list[tuple[int, str]]] = {}
        """Of files that are appended to by the dfs shapes: position and block, by path."""
        self._upstream = Upstream(azurite)
        self._server = listen(self)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.requests: list[Request] = []
        """What came, while it is being recorded."""
        self._recording = False

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def endpoint(self) -> str:
        """The account's blob endpoint."""
        return f"{self.root}/{self.azurite.account}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def with_rules(self, **changes: Any) -> Iterator[Rules]:
        """Other rules for a while."""
        before = {name: getattr(self.rules, name) for name in changes}
        for name, value in changes.items():
            setattr(self.rules, name, value)
        try:
            yield self.rules
        finally:
            for name, value in before.items():
                setattr(self.rules, name, value)

    @contextmanager
    def recording(self) -> Iterator[list[Request]]:
        """The requests that come for a while."""
        self.requests, self._recording = [], True
        try:
            yield self.requests
        finally:
            self._recording = False

    # --- answering -----------------------------------------------------------------------------

    def answer(self, request: Request) -> Reply:
        """What the account says to a request."""
        if self._recording:
            self.requests.append(request)
        try:
            return self._answer(request)
        except Refusal as refusal:
            return _refused(refusal)
        except (ValueError, KeyError) as error:
            return _refused(Refusal(400, "InvalidInput", type(error).__name__))

    def _answer(self, request: Request) -> Reply:
        place = parse_path(request.raw_path, self.account.name, self.rules)
        fields = parse_fields(request.raw_query, self.rules)
        given = request.header("authorization") or ""
        if is_sas(fields):
            return self._by_sas(request, place, fields)
        if given.startswith("SharedKey "):
            self._check_shared_key(request, given)
            return self._by_owner(request, place, fields)
        if given.startswith("Bearer "):
            return entra.by_bearer(self, request, place, fields)
        raise Refusal(401, "NoAuthenticationInformation")

    def _by_sas(self, request: Request, place: Place, fields: dict[str, str]) -> Reply:
        sas = {name: value for name, value in fields.items() if name in FIELDS}
        rest = {name: value for name, value in fields.items() if name not in FIELDS}
        if rest.get("comp") == "batch":
            if self.rules.on("batch"):
                raise Refusal(403, "AuthorizationResourceTypeMismatch", "no batch by this SAS")
            return batch.answer(self, request)
        if dfs.is_one(request, rest):
            return dfs.answer(self, request, place, sas, rest)
        operation = operation_of(request, place, rest, self.rules)
        check_sas(self.account, sas, place, operation, rest)
        check_headers(request, self.rules)
        query = [p for p in request.raw_query if unquote(p.partition("=")[0]) not in FIELDS]
        if operation.lists and self.rules.on("list beside"):
            query = _within(query, rest.get("prefix", ""), sas["sdd"])
        if not operation.copies:
            return self.forward(request, {}, query)
        source = request.header("x-ms-copy-source") or ""
        if self.rules.on("copy source"):
            self._check_source(source)
        return self.forward(request, {"x-ms-copy-source": self._moved(source)}, query)

    def _by_owner(self, request: Request, place: Place, fields: dict[str, str]) -> Reply:
        """The account's own key may do everything that Azurite knows."""
        if fields.get("comp") == "properties" and fields.get("restype") == "account":
            return self.information(request)
        if fields.get("comp") == "batch":
            return batch.answer(self, request)
        source = request.header("x-ms-copy-source")
        return self.forward(request, {"x-ms-copy-source": self._moved(source)} if source else {})

    def _check_shared_key(self, request: Request, given: str) -> None:
        signed = authorization(
            self.account.name, self.account.key, request.method, request.target, request.headers
        )
        same = hmac.compare_digest(signed, given)
        if self.rules.on("shared key") and not same:
            raise unauthentic("The MAC signature is not the same")

    def information(self, request: Request) -> Reply:
        """*Get Account Information*."""
        del request
        if not self.rules.information:
            raise Refusal(403, "AuthorizationPermissionMismatch")
        headers = [
            ("x-ms-sku-name", "Standard_LRS"),
            ("x-ms-account-kind", "StorageV2"),
            ("x-ms-is-hns-enabled", str(self.rules.hierarchical).lower()),
        ]
        return 200, headers, b""

    def _check_source(self, source: str) -> None:
        """The source of a copy is read with the SAS in its URL, or not at all."""
        parts = urlsplit(source)
        if f"{parts.scheme}://{parts.netloc}" != self.root:
            raise Refusal(403, "CannotVerifyCopySource", "elsewhere")
        reading = Request("GET", source.removeprefix(self.root), {}, b"")
        place = parse_path(reading.raw_path, self.account.name, self.rules)
        fields = parse_fields(reading.raw_query, self.rules)
        sas = {name: value for name, value in fields.items() if name in FIELDS}
        if not is_sas(sas):
            raise Refusal(403, "CannotVerifyCopySource", "no SAS")
        rest = {name: value for name, value in fields.items() if name not in FIELDS}
        check_sas(self.account, sas, place, operation_of(reading, place, rest, self.rules), rest)

    def _moved(self, source: str) -> str:
        """The source of a copy as Azurite finds it: the same path, readable by a SAS of Azurite's
        own kind."""
        from azure.storage.blob import generate_blob_sas

        raw = source.partition("?")[0]
        path = raw.removeprefix(self.root)
        place = parse_path(path, self.account.name, self.rules)
        token = generate_blob_sas(
            self.account.name,
            place.container,
            place.blob,
            account_key=self.account.key,
            permission="r",
            expiry="2999-01-01T00:00:00Z",
        )
        return f"http://127.0.0.1:{self.azurite.port}{path}?{token}"

    def forward(
        self, request: Request, changes: Mapping[str, str] = NONE, query: list[str] | None = None
    ) -> Reply:
        """Sends a request on to Azurite. See :class:`upstream.Upstream`."""
        return self._upstream.forward(request, changes, query)

    def hang_up(self) -> None:
        """Closes this thread's connection to Azurite."""
        self._upstream.hang_up()


def _refused(refusal: Refusal) -> Reply:
    headers = [("Content-Type", "application/xml"), ("x-ms-error-code", refusal.code)]
    return refusal.status, headers, refusal.body


def _within(query: list[str], prefix: str, depth: str) -> list[str]:
    """A listing of a directory's bare name: what is in it, and not what begins like it."""
    if prefix.endswith("/") or prefix.count("/") + 1 != int(depth):
        return query
    kept = [part for part in query if part.partition("=")[0] != "prefix"]
    return [*kept, f"prefix={quote(prefix + '/', safe='')}"]
