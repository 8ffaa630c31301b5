"""What must be true of an Azure account before a SAS is a fence, found out once for each process.

A directory SAS is documented for accounts with a hierarchical namespace. Microsoft's SDKs of 2026
sign them for flat accounts as well (azure-sdk-for-python#45929), where the service may or may not
enforce them. So the account is asked which it is, and whatever it says, the fence is tried before
anybody is given a credential: two objects of the installation's own, one directory beside the
other, and a SAS of the one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from ringfence.errors import (
    AccessDenied,
    BucketMissing,
    GrantNotEnforceable,
    StorageUnreachable,
)
from ringfence.layout import FENCE_PROBE_PREFIX, BucketRole, Prefix
from ringfence.providers.azure.refusals import AzureRefusal, ask
from ringfence.scope import Area, Grant, Permission

if TYPE_CHECKING:
    import httpx

PROBE_LIFE: Final = timedelta(minutes=5)
"""Of the SAS that the fence is tried with."""

_OWN: Final = f"{FENCE_PROBE_PREFIX}a/canary"
_SIBLING: Final = f"{FENCE_PROBE_PREFIX}ab/canary"
_ABOVE: Final = f"{FENCE_PROBE_PREFIX}canary"
_CANARY: Final = b"A canary of Ringfence's own."
CANARIES: Final = (_OWN, _SIBLING)
"""The objects that must lie there, in the meta container."""

PROBE_GRANT: Final = Grant(
    Area.META,
    BucketRole.META,
    Prefix(f"{FENCE_PROBE_PREFIX}a/"),
    frozenset({Permission.READ, Permission.LIST}),
)
"""What the SAS of a probe says: read and list one of the two directories."""

_SHARE_NAMES: Final = (
    "It opens none of them. Where no id of an app is the beginning of another's, as with UUIDs, or "
    "where such names may be seen, set RINGFENCE_AZURE_NAMES_SHARED=true; else use another account."
)

Own = Callable[[str, str, Mapping[str, str], int], dict[str, str]]
"""The headers by which a request is the installation's own; see :class:`FenceCheck`."""


@dataclass(frozen=True, slots=True)
class _Probe:
    """One request that must be refused, and what it would open."""

    what: str
    method: str
    url: str
    shows: str | None = None
    """A listing may be answered as long as this is not in it."""
    way_out: str | None = None
    """What to do about it, where it is no hole but coarse."""


class FenceCheck:
    """Tries the fence of an account. Thread-safe; blocking; what was found good is not asked again.

    Args:
        account: its name, for messages.
        variable: the one that names the meta container, for messages.
        container: the URL of the meta container.
        information: the URL of the account's information.
        own: the headers of a request by the installation's own credentials, for its method, its
            URL, the headers that it has already and the size of its content.
        sas: a SAS of :data:`PROBE_GRANT`, for some minutes.
        names_shared: whether a listing may show names in a directory whose own begins alike.
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        account: str,
        variable: str,
        container: str,
        information: str,
        own: Own,
        sas: Callable[[], str],
        names_shared: bool = False,
    ) -> None:
        self._http = http
        self._account = account
        self._variable = variable
        self._container = container
        self._information = information
        self._own = own
        self._sas = sas
        self._names_shared = names_shared
        self._lock = threading.Lock()
        self._good = False

    def __call__(self) -> None:
        """Returns when the fence holds.

        Raises:
            GrantNotEnforceable: it does not, with what to do about it.
            StorageUnreachable: the account does not answer, or only with failures.
        """
        with self._lock:
            if not self._good:
                self._try(self.is_hierarchical())
                self._good = True

    def is_hierarchical(self) -> bool | None:
        """Whether the account has a hierarchical namespace; None where it will not say."""
        url = self._information
        try:
            answer = ask(self._http, "GET", url, headers=self._own("GET", url, {}, 0))
        except AzureRefusal as refusal:
            if refusal.denied:
                return None
            raise self._unsure(refusal) from None
        said = str(answer.headers.get("x-ms-is-hns-enabled", "")).lower()
        return {"true": True, "false": False}.get(said)

    def _plant(self) -> None:
        """Puts the canaries that are not there yet."""
        wanted = {"x-ms-blob-type": "BlockBlob", "If-None-Match": "*"}
        for key in CANARIES:
            url = f"{self._container}/{quote(key)}"
            headers = self._own("PUT", url, wanted, len(_CANARY))
            try:
                ask(self._http, "PUT", url, headers=headers, content=_CANARY)
            except AzureRefusal as refusal:
                if refusal.code == "ContainerNotFound":
                    raise BucketMissing(
                        f"{self._variable} does not exist at {self._container}.",
                        hint="Make it with your provider's tools, or correct the variable.",
                    ) from None
                if refusal.denied:
                    raise self._no_write(refusal) from None
                if refusal.status not in {409, 412}:  # it is there
                    raise self._unsure(refusal) from None

    def _no_write(self, refusal: AzureRefusal) -> AccessDenied:
        return AccessDenied(
            f"The installation may not write to {self._container} ({refusal.said}), so its fence "
            "could not be tried and nothing was issued.",
            hint=(
                "Check AZURE_STORAGE_ACCOUNT_KEY; without a key, give the principal the role "
                "Storage Blob Data Contributor on the three containers."
            ),
        )

    def _try(self, hierarchical: bool | None) -> None:
        self._plant()
        sas = self._sas()
        try:
            ask(self._http, "GET", f"{self._container}/{quote(_OWN)}?{sas}")
        except AzureRefusal as refusal:
            if not refusal.denied:
                raise self._unsure(refusal) from None
            raise self._no_fence(
                f"it refuses one outright ({refusal.said})", hierarchical
            ) from None
        for probe in self._probes(sas):
            if not self._is_refused(probe):
                what = f"one of {_OWN.rpartition('/')[0]} {probe.what}"
                raise self._no_fence(what, hierarchical, probe.way_out)

    def _probes(self, sas: str) -> Iterator[_Probe]:
        def object_(key: str) -> str:
            return f"{self._container}/{quote(key)}?{sas}"

        def listing(**prefix: str) -> str:
            query = urlencode({"restype": "container", "comp": "list", **prefix})
            return f"{self._container}?{query}&{sas}"

        bare = PROBE_GRANT.prefix.removesuffix("/")
        sibling = _SIBLING.removesuffix("canary")
        yield _Probe("reads the directory beside it", "GET", object_(_SIBLING))
        yield _Probe("reads the directory above it", "GET", object_(_ABOVE))
        yield _Probe("lists the whole container", "GET", listing())
        yield _Probe("lists the directory above it", "GET", listing(prefix=FENCE_PROBE_PREFIX))
        yield _Probe("lists the directory beside it", "GET", listing(prefix=sibling))
        if not self._names_shared:
            alike = "lists the names in the directory beside it, which begins alike"
            yield _Probe(alike, "GET", listing(prefix=bare), sibling, _SHARE_NAMES)
        yield _Probe("writes, although it may only read", "PUT", object_(_OWN))
        yield _Probe("deletes, although it may only read", "DELETE", object_(_OWN))

    def _is_refused(self, probe: _Probe) -> bool:
        # A write without content: where the fence lets it through, a canary is empty, no more.
        headers = {"x-ms-blob-type": "BlockBlob"} if probe.method == "PUT" else {}
        try:
            answer = ask(self._http, probe.method, probe.url, headers=headers)
        except AzureRefusal as refusal:
            if refusal.passing:
                raise self._unsure(refusal) from None
            return refusal.denied
        return probe.shows is not None and probe.shows.encode() not in answer.content

    def _unsure(self, refusal: AzureRefusal) -> StorageUnreachable:
        return StorageUnreachable(
            f"The Azure account {self._account} did not let its fence be tried ({refusal.said}), "
            "so nothing was issued.",
            hint=f"Check AZURE_STORAGE_ENDPOINT and {self._variable}, and try again.",
        )

    def _no_fence(
        self, what: str, hierarchical: bool | None, way_out: str | None = None
    ) -> GrantNotEnforceable:
        if way_out is not None:
            return GrantNotEnforceable(
                f"The Azure account {self._account} does not hold a listing by directory SAS to "
                f"its place: {what}. Nothing was issued.",
                hint=way_out,
            )
        if hierarchical:
            return GrantNotEnforceable(
                f"The Azure account {self._account} does not hold a directory SAS to its place: "
                f"{what}. Nothing was issued.",
                hint="This is a hole in its fence: report it, and use another account.",
            )
        kind = "has no hierarchical namespace" if hierarchical is False else "does not say its kind"
        return GrantNotEnforceable(
            f"The Azure account {self._account} {kind}, and it does not enforce a directory SAS: "
            f"{what}. Nothing was issued.",
            hint=(
                "Use an account with a hierarchical namespace (Data Lake Storage Gen2), which is "
                "chosen when it is made; `az storage account hns-migration` gives one to an old "
                "account."
            ),
        )
