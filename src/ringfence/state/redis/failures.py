"""What redis-py raises and the server refuses, in Ringfence's words.

Nothing of a command gets into a message, and of a server's text no more than a code and a command.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Final

from redis import exceptions as redis

from ringfence.errors import (
    AccessDenied,
    ConfigError,
    Problem,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.state.redis.wire import Refusal

BROKEN: Final = (redis.RedisError, OSError)
"""What a call raises that got no answer. ``TimeoutError`` and ``ssl.SSLError`` are OSErrors."""

OLDEST: Final = (6, 2)
"""First version of Redis whose commands the store uses. Every Valkey has them."""

_EXAMPLE: Final = "a URL like redis://user:password@host:6379/0"
_COMMAND: Final = re.compile(r"run the '([a-z]{1,20}(?:\|[a-z]{1,20})?)'")
# What the user may not do in a script, some versions say in words alone.
_IN_SCRIPT: Final = re.compile(r"The user executing the script can't|ACL failure in script")
_WANTED: Final = re.compile(r"Authentication required")
_DATABASE: Final = re.compile(r"DB index is out of range|SELECT is not allowed in cluster mode")
FOR_CLUSTER: Final = "a host and port, and no database but 0, for a cluster"


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of one server. ``where`` names it without user and password."""

    where: str

    def translate(self, error: Exception) -> RingfenceError:
        """The error for a call that got no answer, or could not even be made."""
        if isinstance(error, RingfenceError):
            return error
        if isinstance(error, redis.AuthenticationError):
            return self._not_known("NOAUTH" if _WANTED.search(str(error)) else "WRONGPASS")
        for kind, code in _WHILE_CONNECTING.items():
            if isinstance(error, kind):
                return self.refused(Refusal(f"{code} {error}"), "connect")
        found = _DATABASE.search(str(error))
        if found:
            other = "a database that the server has"
            return self.bad_url(FOR_CLUSTER if "cluster" in found[0] else other)
        if isinstance(error, redis.ResponseError):
            return self._unexpected(Refusal(str(error)).code, "connect")
        return self.unreachable(_reason(error))

    def refused(self, refusal: Refusal, what: str) -> RingfenceError:
        """The error for an answer that is a no.

        Args:
            refusal: The answer.
            what: What was tried, after "to": ``"read a run"``.
        """
        code = refusal.code
        if code in {"NOAUTH", "WRONGPASS"}:
            return self._not_known(code)
        if code == "NOPERM" or _IN_SCRIPT.search(refusal.text):
            return self._not_allowed(refusal, what)
        if code not in _SENTENCES:
            return self._unexpected(code, what)
        reason, hint = _SENTENCES[code]
        return StorageUnreachable(f"REDIS_URL {self.where}: {reason}.", hint=hint)

    def unreachable(self, reason: str) -> StorageUnreachable:
        """The error where no answer came."""
        return StorageUnreachable(
            f"REDIS_URL {self.where} is out of reach ({reason}).",
            hint="Check that the server runs, and host, port and scheme of REDIS_URL.",
        )

    def all_busy(self, connections: int, seconds: float) -> StorageUnreachable:
        """The error where no connection became free."""
        return StorageUnreachable(
            f"REDIS_URL {self.where}: all {connections} connections were busy for {seconds:g} s.",
            hint="The server is slow, or this process asks too much of it at once.",
        )

    def too_old(self, version: str) -> RingfenceError:
        """The error for a server without the commands that are needed."""
        return RingfenceError(
            f"REDIS_URL {self.where}: the server is Redis {version}; the state store needs Redis "
            "6.2 or later, or Valkey.",
            hint="Upgrade the server, or choose another EXECUTION_STATE_BACKEND.",
        )

    def bad_url(self, expected: str) -> ConfigError:
        """The error for a URL that cannot be meant."""
        return ConfigError((Problem("REDIS_URL", f"set, for {self.where}", expected),))

    def _not_known(self, code: str) -> ConfigError:
        wants = "wants a password" if code == "NOAUTH" else "refuses its user name or password"
        return ConfigError((Problem("REDIS_URL", f"set, but {self.where} {wants}", _EXAMPLE),))

    def _not_allowed(self, refusal: Refusal, what: str) -> AccessDenied:
        command = _COMMAND.search(refusal.text)
        lacks = f"run {command[1].upper()}" if command else "use these commands or keys"
        return AccessDenied(
            f"REDIS_URL {self.where}: the server refused to {what}; the user may not {lacks} "
            "(NOPERM).",
            hint="docs/state-redis.md has the ACL that the state store needs.",
        )

    def _unexpected(self, code: str, what: str) -> RingfenceError:
        hint = None
        if code == "WRONGTYPE":
            hint = "Something else writes keys of these names: give one of both another database."
        return RingfenceError(
            f"REDIS_URL {self.where}: the server could not {what} ({code}).", hint=hint
        )


_SENTENCES: Final[dict[str, tuple[str, str]]] = {
    "OOM": (
        "the server's memory is full, so it stores nothing more",
        (
            "Raise maxmemory, or let runs expire sooner (EXECUTION_STATE_TTL_SECONDS). Leave "
            "maxmemory-policy at noeviction: a run that is evicted is lost."
        ),
    ),
    "READONLY": (
        "the server is a read-only replica",
        "Point REDIS_URL to the primary. After a failover, try again.",
    ),
    "MISCONF": (
        "the server stores nothing, since it cannot write to its disk",
        "See its log; its disk may be full.",
    ),
    "NOREPLICAS": (
        "the server stores nothing, since too few replicas follow it (min-replicas-to-write)",
        "Try again once the replicas are back.",
    ),
    "BUSY": ("the server is busy with a script of someone else", "Try again."),
    "LOADING": ("the server is still loading its data", "Try again in a moment."),
    "MASTERDOWN": ("the server is a replica that has lost its primary", "Try again in a moment."),
    "CLUSTERDOWN": (
        "the cluster is down, or does not serve every slot",
        "See CLUSTER INFO on one of its nodes.",
    ),
    "TRYAGAIN": ("the cluster is moving slots", "Try again."),
    "MOVED": ("the cluster is moving slots", "Try again."),
    "ASK": ("the cluster is moving slots", "Try again."),
}

_WHILE_CONNECTING: Final[dict[type[Exception], str]] = {
    redis.NoPermissionError: "NOPERM",
    redis.BusyLoadingError: "LOADING",
    redis.MasterDownError: "MASTERDOWN",
    redis.ClusterDownError: "CLUSTERDOWN",
}


def _reason(error: BaseException) -> str:
    """Why there was no answer. Of the errors' texts, only what is known is taken."""
    chain = [error]
    while (under := chain[-1].__cause__ or chain[-1].__context__) is not None:
        if under in chain:
            break
        chain.append(under)
    if any(isinstance(each, ssl.SSLError) for each in chain):
        return "TLS cannot be agreed on there, or its certificate is not trusted"
    text = " ".join(map(str, chain))
    for pattern, reason in _REASONS:
        if pattern.search(text):
            return reason
    if any(isinstance(each, redis.TimeoutError | TimeoutError) for each in chain):
        return "no answer in time"
    return "the connection broke"


_REASONS: Final = (
    (re.compile(r"does not speak Redis"), "it does not speak Redis there"),
    (re.compile(r"max number of clients"), "it has too many clients"),
    (re.compile(r"refused|Connect call failed", re.I), "it refuses connections"),
    (re.compile(r"Name or service|getaddrinfo|nodename|resolution", re.I), "its name is unknown"),
    (re.compile(r"No such file", re.I), "there is no such socket"),
    (re.compile(r"Permission denied", re.I), "its socket may not be opened"),
    (re.compile(r"No route|unreachable", re.I), "there is no way to it"),
    (re.compile(r"timed? ?out|no answer", re.I), "no answer in time"),
)
