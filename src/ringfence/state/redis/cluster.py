"""A link to a cluster: who has which slot, and a link to each node."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from redis.crc import key_slot

from ringfence.errors import StorageUnreachable
from ringfence.state.redis.failures import Failures
from ringfence.state.redis.link import CLOSED, joined
from ringfence.state.redis.scripts import Command
from ringfence.state.redis.single import SingleLink
from ringfence.state.redis.wire import Refusal

Address = tuple[str, int]

REDIRECTIONS: Final = 8
"""How often a command is sent elsewhere, while slots move."""

_PAUSE_SECONDS: Final = 0.05
_REDIRECTS: Final = {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"}


class ClusterLink:
    """See :class:`ringfence.state.redis.link.Link`.

    Args:
        connect: Makes a link to the node at an address.
        first: The node of REDIS_URL, which is asked for the others.
        failures: The words for what goes wrong.
    """

    ordered = False

    def __init__(
        self, connect: Callable[[Address], SingleLink], first: Address, failures: Failures
    ) -> None:
        self._connect = connect
        self._first = first
        self._failures = failures
        self._nodes: dict[Address, SingleLink] = {}
        self._slots: dict[int, Address] = {}
        self._tags: dict[str, int] = {}
        self._finding: asyncio.Task[None] | None = None

    async def ask(
        self, commands: Sequence[Command], *, replay: bool, large: bool = False
    ) -> list[Any]:
        """See :meth:`ringfence.state.redis.link.Link.ask`. One round trip to each node, at once."""
        if not self._slots:
            await self.find_nodes()
        answers: list[Any] = [None] * len(commands)
        by_node: defaultdict[Address, list[int]] = defaultdict(list)
        for i, command in enumerate(commands):
            by_node[await self._address(command)].append(i)
        work = [
            self._ask_node(address, [commands[i] for i in places], replay, large)
            for address, places in by_node.items()
        ]
        told = await _all(work)
        for places, some in zip(by_node.values(), told, strict=True):
            for i, answer in zip(places, some, strict=True):
                answers[i] = answer
        return answers

    async def wait(self, command: Command, seconds: float) -> Any:
        """See :meth:`ringfence.state.redis.link.Link.wait`."""
        if not self._slots:
            await self.find_nodes()
        try:
            answer = await self._node(await self._address(command)).wait(command, seconds)
        except StorageUnreachable:
            await self.find_nodes()
            raise
        if isinstance(answer, Refusal) and answer.code in _REDIRECTS:
            await self.find_nodes()
            return None  # whoever waited looks, and waits again
        return answer

    async def close(self) -> None:
        """See :meth:`ringfence.state.redis.link.Link.close`."""
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    async def find_nodes(self) -> None:
        """Learns who has which slot, once for all who ask at the same time.

        Raises:
            StorageUnreachable: no node says.
        """
        if self._finding is None:
            self._finding = asyncio.create_task(self._find(), name="ringfence-redis-nodes")
            self._finding.add_done_callback(self._found)
        await joined(self._finding, self._failures.unreachable(CLOSED))

    def _found(self, finding: asyncio.Task[None]) -> None:
        self._finding = None
        if not finding.cancelled():
            finding.exception()  # asked for, so that nobody complains where nobody waits

    async def _find(self) -> None:
        failure: Exception | None = None
        for address in [*dict.fromkeys(self._slots.values()), self._first]:
            try:
                (told,) = await self._node(address).ask([("CLUSTER", "SLOTS")], replay=True)
            except StorageUnreachable as error:
                failure = error
                continue
            if isinstance(told, Refusal):
                failure = self._failures.refused(told, "tell its nodes (CLUSTER SLOTS)")
            elif slots := dict(_slots(told, address)):
                await self._settle(slots)
                return
        raise failure or self._failures.refused(Refusal("CLUSTERDOWN"), "tell its nodes")

    async def _settle(self, slots: dict[int, Address]) -> None:
        self._slots = slots
        # One that has left the cluster is not asked any more; what it still owes it may tell.
        for address in set(self._nodes) - set(slots.values()) - {self._first}:
            await self._nodes.pop(address).close()

    async def _ask_node(
        self, address: Address, commands: Sequence[Command], replay: bool, large: bool
    ) -> list[Any]:
        try:
            answers = await self._node(address).ask(commands, replay=replay, large=large)
        except StorageUnreachable:
            await self.find_nodes()  # another may have taken its slots over
            if not replay or await self._address(commands[0]) == address:
                raise
            answers = await self._node(await self._address(commands[0])).ask(
                commands, replay=False, large=large
            )
        for i, answer in enumerate(answers):
            if isinstance(answer, Refusal) and answer.code in _REDIRECTS:
                answers[i] = await self._follow(commands[i], answer, large)
        return answers

    async def _follow(self, command: Command, told: Any, large: bool) -> Any:
        """The answer of whoever has the slot now. What was redirected has not taken place."""
        for _ in range(REDIRECTIONS):
            if not isinstance(told, Refusal) or told.code not in _REDIRECTS:
                return told
            if told.code == "ASK":
                node = self._node(_target(told, self._first))
                both = [("ASKING",), command]
                told = (await node.ask(both, replay=False, large=large))[1]
                continue
            if told.code != "MOVED":
                await asyncio.sleep(_PAUSE_SECONDS)
            if told.code != "TRYAGAIN":
                await self.find_nodes()
            node = self._node(
                _target(told, self._first) if told.code == "MOVED" else await self._address(command)
            )
            told = (await node.ask([command], replay=False, large=large))[0]
        return told

    def _node(self, address: Address) -> SingleLink:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._connect(address)
        return node

    async def _address(self, command: Command) -> Address:
        slot = self._slot(_key(command))
        if slot not in self._slots:
            await self.find_nodes()
        if slot not in self._slots:
            raise self._failures.refused(Refusal("CLUSTERDOWN"), "serve every slot")
        return self._slots[slot]

    def _slot(self, key: str) -> int:
        tag = key[key.index("{") + 1 : key.index("}")]
        slot = self._tags.get(tag)
        if slot is None:
            slot = self._tags[tag] = int(key_slot(tag.encode()))
        return slot


_KEY_AT: Final[Mapping[str, int]] = {"EVALSHA": 3, "EVAL": 3, "XREAD": 6}


def _key(command: Command) -> str:
    """The first key of a command of this store."""
    return str(command[_KEY_AT.get(str(command[0]), 1)])


def _slots(told: Any, asked: Address) -> Iterable[tuple[int, Address]]:
    """Each slot with its primary, from CLUSTER SLOTS. An empty host is the one that was asked."""
    for first, last, (host, port, *_), *_ in told:
        address = (host.decode() if host else asked[0], int(port))
        for slot in range(first, last + 1):
            yield slot, address


def _target(moved: Refusal, asked: Address) -> Address:
    """The address of ``MOVED 3999 127.0.0.1:6381``."""
    host, _, port = moved.text.split()[2].rpartition(":")
    return host or asked[0], int(port)


async def _all(work: Sequence[Any]) -> list[Any]:
    """What all of it returns, or the first error once all of it has ended."""
    if len(work) == 1:
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
