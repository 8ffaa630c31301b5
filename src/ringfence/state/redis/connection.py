"""Opens the server of REDIS_URL: finds out what it is, and whether it will do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ringfence.errors import ConfigError, Problem, UsageError
from ringfence.secret import Secret
from ringfence.state.redis.cluster import Address, ClusterLink
from ringfence.state.redis.failures import FOR_CLUSTER, OLDEST, Failures
from ringfence.state.redis.link import CLOSED, Limits, Link, joined
from ringfence.state.redis.scripts import ALL
from ringfence.state.redis.single import SingleLink
from ringfence.state.redis.wire import Refusal

_log = logging.getLogger(__name__)

_EXPECTED: Final = "a URL like redis://user:password@host:6379/0"
_POOLS: Final = (
    "max_connections",
    "timeout",
    "decode_responses",
    "encoding",
    "health_check_interval",
)
"""What a URL may say for redis-py's pools and clients, which are not used here."""


class Connector:
    """Connects at first use, once for all who ask at the same time; after a failure, again.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads it.
        limits: How many connections, and how long.

    Raises:
        ConfigError: the URL cannot be read.
    """

    def __init__(self, url: Secret, limits: Limits) -> None:
        self._options = _options(url)
        self._failures = Failures(_where(self._options))
        self._limits = limits
        self._link: Link | None = None
        self._opening: asyncio.Task[Link] | None = None
        self._closed = False

    @property
    def failures(self) -> Failures:
        """The words for what goes wrong with this server."""
        return self._failures

    async def link(self) -> Link:
        """The link to the server.

        Raises:
            StorageUnreachable: there is no answer in time.
            ConfigError: the server does not know the user or the password.
            RingfenceError: it is too old, or says no.
        """
        if self._closed:
            raise UsageError("The state store is closed.")
        if self._link is not None:
            return self._link
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="ringfence-redis-open")
            self._opening.add_done_callback(self._opened)
        return await joined(self._opening, self._failures.unreachable(CLOSED))

    async def renew(self, link: Link) -> None:
        """Gives a link up whose server is not what it was, so that the next call looks again."""
        if self._link is link:
            self._link = None
            await link.close()

    async def close(self) -> None:
        """Closes every connection. Idempotent."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._link is not None:
            await self._link.close()

    def _opened(self, opening: asyncio.Task[Link]) -> None:
        self._opening = None
        # Asked for, so that nobody complains where all who waited are gone.
        if not opening.cancelled() and opening.exception() is None:
            self._link = opening.result()

    async def _open(self) -> Link:
        single = SingleLink(self._connection, self._failures, self._limits)
        keep = False
        try:
            about = await self._about(single)
            if about.get("cluster_enabled") == "1":
                return await self._open_cluster()
            loads = [("SCRIPT", "LOAD", script.source) for script in ALL]
            await single.ask(loads, replay=True)
            keep = True
            return single
        finally:
            if not keep:
                await single.close()

    async def _about(self, link: Link) -> Mapping[str, str]:
        (answer,) = await link.ask([("INFO",)], replay=True)
        if isinstance(answer, Refusal):
            raise self._failures.refused(answer, "say what it is")
        about = _parsed(answer)
        version = about.get("redis_version", "0")
        if "valkey_version" not in about and _version(version) < OLDEST:
            raise self._failures.too_old(version)
        policy = about.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            _log.warning(
                "REDIS_URL %s: its maxmemory-policy is %s. Runs that it evicts are lost; set it to "
                "noeviction.",
                self._failures.where,
                policy,
            )
        return about

    def _connection(self, **address: str | int) -> AbstractConnection:
        options = {**self._options, **address, "protocol": 2, "retry": Retry(NoBackoff(), 0)}
        kind: type[AbstractConnection] = options.pop("connection_class", Connection)
        # Time-outs are set around whole calls: redis-py would start a task for each write.
        options |= {"socket_timeout": None, "socket_connect_timeout": None}
        try:
            return kind(**options)
        except TypeError:
            raise self._failures.bad_url(f"{_EXPECTED}, with options of redis-py") from None

    async def _open_cluster(self) -> Link:
        if self._options.get("db") or "path" in self._options:
            raise self._failures.bad_url(FOR_CLUSTER)
        first = (self._options.get("host", "localhost"), self._options.get("port", 6379))
        cluster = ClusterLink(self._node, first, self._failures)
        try:
            await cluster.find_nodes()
        except BaseException:
            await cluster.close()
            raise
        return cluster

    def _node(self, address: Address) -> SingleLink:
        host, port = address
        failures = Failures(f"{host}:{port}")
        return SingleLink(lambda: self._connection(host=host, port=port), failures, self._limits)


def _options(url: Secret) -> dict[str, Any]:
    try:
        options: dict[str, Any] = dict(parse_url(url.reveal()))
    except ValueError:
        problem = Problem("REDIS_URL", "set, but not as one can be read", _EXPECTED)
        raise ConfigError((problem,)) from None
    for name in (*_POOLS, "socket_timeout", "socket_connect_timeout", "protocol"):
        options.pop(name, None)
    return options


def _where(options: Mapping[str, Any]) -> str:
    if "path" in options:
        return str(options["path"])
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def _parsed(info: bytes) -> dict[str, str]:
    lines = info.decode("utf-8", errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
