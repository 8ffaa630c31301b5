"""Waking those who follow a run's events: one connection that listens, for all runs of a store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ringfence.errors import RingfenceError
from ringfence.state.postgres.failures import FAILURES, translate
from ringfence.state.tailing import Polling

if TYPE_CHECKING:
    from asyncpg import Connection

    from ringfence.layout import EncodedId
    from ringfence.state.postgres.address import Address
    from ringfence.state.postgres.database import Database
    from ringfence.state.postgres.statements import Statement

WATCH_SECONDS: Final = 60.0
"""How long the server sends notifications for a run after it was asked to."""

LONGEST_POLL: Final = 1.0
"""Seconds between two looks where nothing wakes."""

_LEFT_SECONDS: Final = 10.0
_PING_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)

_log = logging.getLogger(__name__)


class Listener:
    """Notifications by run. Connects when the first run is followed, and again when it must.

    Args:
        address: Where the server is.
        channel: Which notifications: the name of the schema.
    """

    def __init__(self, address: Address, channel: str) -> None:
        self._address = address
        self._channel = channel
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self.listens = False

    async def ready(self) -> bool:
        """Whether notifications come. The first call waits until that is known."""
        if self._task is None:
            self._settled.clear()
            self._task = asyncio.create_task(
                self._keep_listening(), name="ringfence-postgres-listener"
            )
        if not self.listens:
            await self._settled.wait()
        return self.listens

    @contextlib.contextmanager
    def waiting(self, run: str) -> Iterator[asyncio.Event]:
        """An event that is set by the next notification for a run, or when there will be none."""
        woken = asyncio.Event()
        self._waiting[run].add(woken)
        try:
            yield woken
        finally:
            self._waiting[run].discard(woken)
            if not self._waiting[run]:
                del self._waiting[run]

    async def close(self) -> None:
        """Stops listening; who waits is woken. The next call of ``ready`` begins anew."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep_listening(self) -> None:
        failures = 0
        while True:
            try:
                connection = await self._address.connect(statements=False)
                try:
                    if await _pooled(connection):
                        return  # what it listens to would be another's connection a moment later
                    failures = 0
                    await self._listen(connection)
                finally:
                    self._stopped()
                    connection.terminate()
            except (*FAILURES, RingfenceError) as error:
                if failures == 0:
                    said = translate(error, self._address.where, self._channel)
                    _log.warning("Events are looked for every second meanwhile: %s", said)
            finally:
                self._settled.set()
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
            failures += 1

    async def _listen(self, connection: Connection) -> None:
        """Returns, or fails, when the connection has ended."""
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        await connection.add_listener(self._channel, self._notified)
        self.listens = True
        self._settled.set()
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PING_SECONDS):
                    await ended.wait()
            if not ended.is_set():  # a peer that vanished says nothing
                await connection.execute("SELECT 1")

    def _stopped(self) -> None:
        self.listens = False
        for run in list(self._waiting):
            self._wake(run)

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self._wake(str(payload))

    def _wake(self, run: str) -> None:
        for woken in self._waiting.get(run, ()):
            woken.set()


class RunArrival:
    """Waits until one run may have more events, or has ended: see ``tailing.Arrival``."""

    def __init__(
        self,
        listener: Listener,
        database: Database,
        watch: Statement,
        run: EncodedId,
        clock: Callable[[], object],
    ) -> None:
        self._listener = listener
        self._database = database
        self._watch = watch
        self._run = run
        self._clock = clock
        self._poll = Polling(most=LONGEST_POLL)
        self._watched_until = 0.0

    async def __call__(self, after: int) -> None:
        """Waits. Where nothing is to be had that wakes, for a second at most."""
        if not await self._listener.ready():
            await self._poll(after)
            return
        with self._listener.waiting(self._run) as woken:
            if await self._watched(after):
                await woken.wait()

    async def _watched(self, after: int) -> bool:
        """Has the server send notifications. Whether there is something to wait for then."""
        now = asyncio.get_running_loop().time()
        if now < self._watched_until - _LEFT_SECONDS:
            return True
        rows = await self._database.ask(self._watch, self._run, self._clock(), WATCH_SECONDS)
        self._watched_until = now + WATCH_SECONDS
        return bool(rows) and rows[0]["last"] <= after and rows[0]["state"] in _OPEN


_OPEN: Final = ("PENDING", "RUNNING")


async def _pooled(connection: Connection) -> bool:
    """Whether a pooler stands before the server: it cannot tell the server's process."""
    async with connection.transaction():
        found = await connection.fetchval("SELECT pg_backend_pid()")
    return bool(found != connection.get_server_pid())
