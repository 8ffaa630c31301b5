"""The vendor: issues credentials through a provider with caching, single flight and renewal.

A credential is served from the cache until a set share of its life is gone; callers that ask for
the same grants at once wait for one issue; an error is never cached. Providers block, so issuing
happens on a few worker threads: the event loop never waits, and neither does a store that signs a
request while its credential is fresh.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from ringfence.errors import (
    CredentialExpired,
    GrantNotEnforceable,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.providers.base import (
    Clock,
    Credential,
    CredentialSource,
    Lease,
    PolicyDocument,
    Provider,
)
from ringfence.scope import Area, Grants

DEFAULT_SHARE: Final = 0.5
"""The share of a credential's life for which it is served from the cache."""
DEFAULT_CAPACITY: Final = 4096
"""Most sets of grants that are cached; the one used longest ago goes first."""
DEFAULT_WORKERS: Final = 8
"""Most credentials that are being issued at a time."""
MIN_REMAINING: Final = timedelta(seconds=60)
"""What a credential must have left to stand in while its renewal fails."""
RETRY_AFTER: Final = timedelta(seconds=15)
"""How long a store goes on with its old credential before a failed renewal is tried again."""
ISSUE_TIMEOUT_SECONDS: Final = 120.0
"""Longest wait of a store for its renewal; providers bound themselves well below it."""

_log = logging.getLogger(__name__)

Credentials = tuple[Credential, ...]


def refuse_coarse(documents: Iterable[PolicyDocument]) -> None:
    """What RINGFENCE_STRICT means: nothing is issued that its cloud cannot hold to exactly.

    Raises:
        GrantNotEnforceable: with what the cloud would allow beyond a grant.
    """
    coarse = [e for document in documents for e in document.enforcement if e.coarser]
    if coarse:
        said = "; ".join(f"{each.area}: {each.coarser}" for each in coarse)
        raise GrantNotEnforceable(
            f"RINGFENCE_STRICT is set, and this cloud would allow more than was granted ({said}). "
            "Nothing was issued.",
            hint="Unset it to accept that, or choose a way that is exact: "
            "`ringfence grants --explain` shows how exactly each area is enforced.",
        )


@dataclass(frozen=True, slots=True)
class _Issued:
    """What is in the cache: the credentials, and when to have them anew."""

    credentials: Credentials
    renew_at: datetime
    expires_at: datetime


class Vendor:
    """Vends credentials. Thread-safe; use it from any event loop or none."""

    def __init__(
        self,
        provider: Provider,
        *,
        clock: Clock = lambda: datetime.now(UTC),
        share: float = DEFAULT_SHARE,
        capacity: int = DEFAULT_CAPACITY,
        workers: int = DEFAULT_WORKERS,
        strict: bool = False,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._share = share
        self._strict = strict
        self._capacity = capacity
        self._lock = threading.Lock()
        self._cache: OrderedDict[Grants, _Issued] = OrderedDict()
        self._flights: dict[Grants, Future[_Issued]] = {}
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="ringfence-vendor")

    async def vend(self, grants: Grants, *, session: str) -> Credentials:
        """The credentials for these grants: from the cache, or issued for all who ask now.

        Cancelling a caller does not cancel the issue that others may be waiting for; it ends by
        itself within the provider's time-outs.

        Args:
            session: who they are for, in the cloud's audit log. The first who asks names them.

        Raises:
            Refused: the provider refuses; see :meth:`ringfence.providers.base.Provider.issue`.
            StorageUnreachable: no usable answer in time.
        """
        cached = self._fresh(grants)
        if cached is not None:
            return cached.credentials
        waiter = asyncio.wrap_future(self._flight(grants, session))
        # Without this a caller that was cancelled would leave "exception was never retrieved".
        waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
        return (await asyncio.shield(waiter)).credentials

    def source(self, grants: Grants, area: Area, *, session: str) -> CredentialSource:
        """Where a store on ``area`` gets its credential from, for as long as it lives.

        The source blocks while it renews. A renewal that fails is covered by the old credential
        for as long as that has a minute left.
        """

        def lease() -> Lease:
            issued = self._fresh(grants) or self._renewed(grants, session)
            credential = next(c for c in issued.credentials if c.covers(area))
            return Lease(credential, max(issued.renew_at, self._clock() + RETRY_AFTER))

        return lease

    def close(self) -> None:
        """Waits for what is being issued and forgets every credential. Idempotent."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._cache.clear()

    def _fresh(self, grants: Grants) -> _Issued | None:
        with self._lock:
            return self._cached(grants)

    def _cached(self, grants: Grants) -> _Issued | None:
        """What is in the cache and still served. Under the lock."""
        issued = self._cache.get(grants)
        if issued is None or self._clock() >= issued.renew_at:
            return None
        self._cache.move_to_end(grants)
        return issued

    def _renewed(self, grants: Grants, session: str) -> _Issued:
        try:
            return self._flight(grants, session).result(ISSUE_TIMEOUT_SECONDS)
        except (StorageUnreachable, TimeoutError) as error:
            with self._lock:
                old = self._cache.get(grants)
            if old is None or old.expires_at - self._clock() < MIN_REMAINING:
                raise
            _log.warning("A credential could not be renewed, the old one goes on: %s", error)
            return old

    def _flight(self, grants: Grants, session: str) -> Future[_Issued]:
        with self._lock:
            flight = self._flights.get(grants)
            # One that ended since the look at the cache has left what it brought there.
            if flight is None and (issued := self._cached(grants)) is not None:
                flight = Future()
                flight.set_result(issued)
            elif flight is None:
                try:
                    flight = self._workers.submit(self._issue, grants, session)
                except RuntimeError:
                    raise RingfenceError("This storage is closed; open it anew.") from None
                self._flights[grants] = flight
            return flight

    def _issue(self, grants: Grants, session: str) -> _Issued:
        try:
            if self._strict:
                refuse_coarse(self._provider.plan(grants))
            issued = self._judged(self._provider.issue(grants, session=session))
            self._keep(grants, issued)
            return issued
        finally:
            # After it is in the cache, so that nobody finds neither.
            with self._lock:
                self._flights.pop(grants, None)

    def _judged(self, credentials: Credentials) -> _Issued:
        expires_at = min(credential.expires_at for credential in credentials)
        if expires_at <= self._clock():
            raise CredentialExpired(
                f"The new credential had already expired, at {expires_at:%Y-%m-%d %H:%M:%SZ}.",
                hint="The clock of this machine, or of the storage, is off: set it (NTP).",
            )
        renew_at = min(
            c.issued_at + (c.expires_at - c.issued_at) * self._share for c in credentials
        )
        return _Issued(credentials, renew_at, expires_at)

    def _keep(self, grants: Grants, issued: _Issued) -> None:
        with self._lock:
            self._cache[grants] = issued
            self._cache.move_to_end(grants)
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
