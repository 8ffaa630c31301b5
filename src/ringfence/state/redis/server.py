"""The server as the store asks it: scripts that it may not know, and refusals as errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ringfence.state.redis.connection import Connector
from ringfence.state.redis.link import Link
from ringfence.state.redis.scripts import Command, with_source
from ringfence.state.redis.wire import Refusal

_CHANGED: Final = {"READONLY", "MOVED", "ASK"}
"""Answers of a server that has become a replica, or part of a cluster."""


class Server:
    """Answers or errors of Ringfence.

    Args:
        connector: Opens the link.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def ask(
        self, command: Command, *, what: str, replay: bool = True, large: bool = False
    ) -> Any:
        """The answer to one command.

        Args:
            command: What to send.
            what: What it is for, after "to".
            replay: Whether it may be sent once more where a kept connection turns out to be dead.
            large: Whether the answer may be.
        """
        link = await self._connector.link()
        answers = await link.ask((command,), replay=replay, large=large)
        if isinstance(answers[0], Refusal):
            answers = await self._settled(link, (command,), answers, what)
        return answers[0]

    async def ask_all(
        self, commands: Sequence[Command], *, what: str, large: bool = False
    ) -> list[Any]:
        """The answers to commands that may be repeated, in any number of slots."""
        link = await self._connector.link()
        answers = await link.ask(commands, replay=True, large=large)
        return await self._settled(link, commands, answers, what)

    async def ask_in_order(self, commands: Sequence[Command], *, what: str) -> list[Any]:
        """The answers to commands that may be repeated, each of which follows on the one before: in
        one round trip, where that keeps the order.
        """
        link = await self._connector.link()
        if link.ordered:
            answers = await link.ask(commands, replay=True)
            return await self._settled(link, commands, answers, what)
        return [await self.ask(command, what=what) for command in commands]

    async def wait(self, command: Command, seconds: float, *, what: str) -> Any:
        """The answer to a command that blocks for so many seconds at most.

        Raises:
            BlockingIOError: as many wait already as may.
        """
        link = await self._connector.link()
        answer = await link.wait(command, seconds)
        return (await self._settled(link, (command,), [answer], what))[0]

    async def close(self) -> None:
        """Closes every connection. Idempotent."""
        await self._connector.close()

    async def _settled(
        self, link: Link, commands: Sequence[Command], answers: list[Any], what: str
    ) -> list[Any]:
        """The answers, once every script that the server did not know has been sent to it."""
        unknown = [i for i, answer in enumerate(answers) if _is_unknown(answer)]
        if unknown:
            # None of them has taken place; but what is sent now may, without an answer.
            again = [with_source(commands[i]) for i in unknown]
            told = await link.ask(again, replay=False)
            for i, answer in zip(unknown, told, strict=True):
                answers[i] = answer
        for answer in answers:
            if isinstance(answer, Refusal):
                if answer.code in _CHANGED:
                    await self._connector.renew(link)
                raise self._connector.failures.refused(answer, what)
        return answers


def _is_unknown(answer: Any) -> bool:
    return isinstance(answer, Refusal) and answer.code == "NOSCRIPT"
