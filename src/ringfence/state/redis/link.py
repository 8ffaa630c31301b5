"""What can be asked of a server, be it single or a cluster; and the limits of both."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from ringfence.errors import RingfenceError
from ringfence.state.redis.scripts import Command

_T = TypeVar("_T")

CONNECT_SECONDS: Final = 5.0
COMMAND_SECONDS: Final = 30.0
"""How long an answer may take."""

MOST_CONNECTIONS: Final = 64
"""Connections to each node for calls that have one to themselves. As many again wait for events,
and one is shared by all other calls."""

LARGE_BYTES: Final = 64 * 1024
"""Commands from this size on have a connection to themselves, so that the others need not wait."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a link; by default those above."""

    connections: int = MOST_CONNECTIONS
    seconds: float = COMMAND_SECONDS
    connect_seconds: float = CONNECT_SECONDS


CLOSED: Final = "its connections were closed"


class Link(Protocol):
    """Sends commands. Answers are bytes, numbers, None, and lists of them; what the server refuses
    is a :class:`ringfence.state.redis.wire.Refusal` among them.

    Every method raises an error of Ringfence where there is no answer in time.
    """

    ordered: bool
    """Whether the commands of one call take place in their order, and none of them where one before
    it got no answer."""

    async def ask(
        self, commands: Sequence[Command], *, replay: bool, large: bool = False
    ) -> list[Any]:
        """Sends all of the commands, and returns their answers.

        Args:
            commands: In any number of slots.
            replay: Whether they may be sent once more where the connection turns out to be dead.
            large: Whether the answers may be.
        """
        ...

    async def wait(self, command: Command, seconds: float) -> Any:
        """Sends a command that blocks, on a connection of its own, and returns the answer.

        Args:
            command: What to send.
            seconds: For how long it blocks at most.

        Raises:
            BlockingIOError: as many wait already as may.
        """
        ...

    async def close(self) -> None:
        """Closes every connection, those in use too. Idempotent."""
        ...


async def joined(task: asyncio.Task[_T], closed: RingfenceError) -> _T:
    """What a task returns that several wait for. Who is cancelled leaves it to the others.

    Raises:
        RingfenceError: ``closed``, where the task itself was cancelled.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        this = asyncio.current_task()
        if task.cancelled() and not (this and this.cancelling()):
            raise closed from None
        raise
