"""The composition root: settings in, fenced storage out."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ringfence._registry import open_provider, open_state
from ringfence.config import Settings
from ringfence.errors import UsageError
from ringfence.installation import check_layout
from ringfence.layout import BucketRole
from ringfence.presigning import DEFAULT_LIFE, check_url
from ringfence.running import Run
from ringfence.scope import MODES, AccessMode, Area, Grant, Grants, Permission, Scope, grants
from ringfence.state.base import StateStore
from ringfence.state.record import RunRecord, RunStatus
from ringfence.vending import Credentials, Vendor
from ringfence.workspace import Workspace, to_area

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from ringfence.providers.base import Clock, PolicyDocument, Provider


def utc_now() -> datetime:
    """The time now, in UTC: the one clock of production code."""
    return datetime.now(UTC)


def new_run_id(now: datetime) -> str:
    """A fresh run id: 48 bits of milliseconds and 80 random bits, so that ids sort by age.

    The layout of a ULID (github.com/ulid/spec), in lower-case hexadecimal.
    """
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"


class Storage:
    """An installation's storage, opened: ``async with Storage.from_env() as storage``."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = utc_now,
        provider: Provider | None = None,
        state: StateStore | None = None,
    ) -> None:
        self.settings = settings
        self.provider = provider or open_provider(settings, clock)
        self.clock = clock
        self._given_state = state
        self._vendor = Vendor(
            self.provider, clock=clock, share=settings.cache_share, strict=settings.strict
        )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """From the variables of the Storage Providers page; None reads the process's own.

        Raises:
            ConfigError: with every problem there is.
        """
        return cls(Settings.from_env(env))

    async def __aenter__(self) -> Self:
        try:
            await check_layout(self._meta, self.settings)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes connections and forgets every credential. Idempotent."""
        import asyncio

        if "state" in self.__dict__:
            await self.state.close()
        # Waits for credentials that are being issued, which is bounded by the time-outs of the
        # provider; never on the event loop.
        await asyncio.to_thread(self._vendor.close)
        self.provider.close()

    @cached_property
    def state(self) -> StateStore:
        """Where run records live.

        Raises:
            ConfigError: the URL of its database is missing.
            MissingExtra: its package is not installed.
        """
        return self._given_state or open_state(self.settings, lambda: self._meta, self.clock)

    @cached_property
    def _meta(self) -> ObjectStore:
        # One for all: opening a store takes 15 ms, most of it for the certificates of TLS.
        return self.provider.open_bucket(BucketRole.META)

    def grants(self, scope: Scope) -> Grants:
        """What a scope may touch in this installation."""
        return grants(scope, self.settings.id_case)

    def explain(self, scope: Scope) -> tuple[PolicyDocument, ...]:
        """The native documents that would fence a scope, one for each credential. No network."""
        return self.provider.plan(self.grants(scope))

    async def vend(self, scope: Scope) -> Credentials:
        """Credentials fenced to a scope: one, or several where the cloud needs it.

        Raises:
            Refused: the provider cannot or may not fence this.
            StorageUnreachable: no usable answer in time.
        """
        return await self._vendor.vend(self.grants(scope), session=_session(scope))

    def open(self, scope: Scope) -> Workspace:
        """A scope's areas as stores. Nothing is asked of the network until it is awaited or used.

        ``await storage.open(scope)`` has its credentials issued first; see :class:`Workspace`.
        """
        granted = self.grants(scope)

        def opener(grant: Grant) -> ObjectStore:
            source = self._vendor.source(granted, grant.area, session=_session(scope))
            return self.provider.open(grant, source)

        return Workspace(scope, granted, opener, lambda: self.vend(scope))

    async def sign(
        self,
        scope: Scope,
        area: Area | str,
        path: str,
        *,
        method: str = "GET",
        expires_in: timedelta = DEFAULT_LIFE,
    ) -> str:
        """A URL for one request on one object of a scope's area, for somebody without credentials.

        It is made with the installation's keys after a check of the grant, and never with a fenced
        credential: see :mod:`ringfence.presigning` for why.

        Args:
            path: of the object, below the area's prefix.
            method: ``GET``, ``HEAD``, ``PUT`` or ``DELETE``.
            expires_in: at most RINGFENCE_CREDENTIAL_TTL.

        Raises:
            AccessDenied: the grant does not allow it.
            GrantNotEnforceable: this cloud, as configured, has no such URL.
            UsageError: the mode does not reach the area, or an argument cannot be meant.
        """
        import asyncio

        grant = self.open(scope).grant(to_area(area))
        checked = check_url(grant, path, method, expires_in, self.settings.credential_ttl)
        return await asyncio.to_thread(self.provider.sign, grant, path, checked, expires_in)

    @asynccontextmanager
    async def run(
        self,
        app: str,
        user: str,
        *,
        mode: AccessMode = AccessMode.INVOKE_WRITE,
        run_id: str | None = None,
        timeout: timedelta | float | None = None,  # noqa: ASYNC109 - kept in the record too
        workflow: str | None = None,
        workflow_version: str | None = None,
        trigger: str | None = None,
        stop_on_end: bool = True,
    ) -> AsyncIterator[Run]:
        """One execution: a record, a fenced workspace and a log, until the block is left.

        It ends COMPLETED, FAILED when the block raises, CANCELLED when the task is cancelled or the
        run is cancelled from outside, TIMEOUT after ``timeout`` (seconds, or a timedelta).

        Args:
            stop_on_end: interrupt the block when the run is cancelled from outside; without it, the
                block watches ``run.ended_elsewhere`` itself.

        Raises:
            RunCancelled: the run was cancelled from outside.
            RunExists: ``run_id`` is taken: by another run, or it is run elsewhere, or has ended.
            UsageError: the mode is none of an execution, which writes a log.
            Refused: storage cannot or may not fence it.
            StorageUnreachable: storage is out of reach.
            TimeoutError: the time limit was reached.
        """
        now = self.clock()
        run_id = new_run_id(now) if run_id is None else run_id
        scope = Scope(app, user, run_id, mode)
        _check_loggable(scope)
        record = RunRecord(
            id=run_id,
            app_id=app,
            user_id=user,
            mode=scope.mode,
            status=RunStatus.PENDING,
            version=1,
            created_at=now,
            updated_at=now,
            workflow=workflow,
            workflow_version=workflow_version,
            trigger=trigger,
            lease_seconds=int(self.settings.lease.total_seconds()),
            ttl_seconds=int(ttl.total_seconds()) if (ttl := self.settings.state_ttl) else 0,
        )
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        async with Run(
            record,
            self.open(scope),
            self.state,
            clock=self.clock,
            heartbeat_seconds=self.settings.heartbeat.total_seconds(),
            timeout_seconds=seconds,
            stop_on_end=stop_on_end,
        ) as run:
            yield run


def _session(scope: Scope) -> str:
    """What the cloud's audit log calls it: the run, or without one the app."""
    return scope.run_id or scope.app_id


def _check_loggable(scope: Scope) -> None:
    if Permission.WRITE not in MODES[scope.mode].get(Area.LOGS, ()):
        modes = [
            mode for mode, areas in MODES.items() if Permission.WRITE in areas.get(Area.LOGS, ())
        ]
        raise UsageError(
            f"The access mode {scope.mode} is none of an execution: it may not write a log.",
            hint=f"Run with one of {', '.join(modes)}; open the rest with storage.open().",
        )
