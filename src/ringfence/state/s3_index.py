"""Reading an app's list of runs from its index, newest first, without reading the rest.

The index is one empty object for each run, named by its position, so that the order of keys is the
order of the list. An engine that lists in order is read from the cursor on, a request for up to
1,000 runs. S3 Express lists in no order and has no start-after; there the levels of the position
are walked down, each sorted here, but no deeper than one request can tell all that lies below.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ringfence.layout import Position, Prefix, parse_position
from ringfence.providers._obstore import translating
from ringfence.state.s3_objects import LIST_PAGE, RunObjects

if TYPE_CHECKING:
    from obstore import ObjectMeta

LEVELS: Final = 3
"""Levels of a position above the runs themselves."""


NODES_AT_ONCE: Final = 16
"""Nodes that are looked into at the same time, at most."""


class _Node(NamedTuple):
    prefix: str
    levels: int


@dataclass(frozen=True, slots=True)
class RunIndex:
    """The index of one app's runs."""

    objects: RunObjects
    prefix: Prefix
    ordered: bool

    def positions(self, after: Position | None) -> AsyncGenerator[Position]:
        """Every position after one, in order. Requests are made as it is consumed."""
        return self._in_order(after) if self.ordered else self._sorted(after)

    async def _in_order(self, after: Position | None) -> AsyncGenerator[Position]:
        offset = None if after is None else f"{self.prefix}{after}"
        with translating("list the runs", self.objects.bucket):
            stream = self.objects.store.list(self.prefix, offset=offset, chunk_size=LIST_PAGE)
            async for chunk in stream:
                for position in self._positions_in(chunk):
                    yield position

    async def _sorted(self, after: Position | None) -> AsyncGenerator[Position]:
        waiting, width = [_Node(self.prefix, LEVELS)], 1
        while waiting:
            nodes = [waiting.pop() for _ in range(min(width, len(waiting)))]
            contents = await asyncio.gather(*map(self._whole, nodes))
            for index, (node, found) in enumerate(zip(nodes, contents, strict=True)):
                if found is None:
                    waiting += reversed(nodes[index + 1 :])
                    waiting += reversed(await self._children(node, after))
                    # Its children are many, so what comes first is likely to be enough for a page.
                    width = 1
                    break
                for position in sorted(found):
                    if after is None or position > after:
                        yield position
            else:
                # Where runs are far apart, a page of them lies in as many nodes.
                width = min(2 * width, NODES_AT_ONCE)

    async def _whole(self, node: _Node) -> list[Position] | None:
        """Every position under a node, or None where one list request cannot tell them all.

        Nodes of the lowest level are told whatever they hold.
        """
        found: list[Position] = []
        with translating("list the runs", self.objects.bucket):
            async for chunk in self.objects.store.list(node.prefix, chunk_size=LIST_PAGE):
                if node.levels and len(found) + len(chunk) > LIST_PAGE:
                    return None
                found += self._positions_in(chunk)
        return found

    async def _children(self, node: _Node, after: Position | None) -> list[_Node]:
        with translating("list the runs", self.objects.bucket):
            listed = await self.objects.store.list_with_delimiter_async(node.prefix)
        prefixes = sorted(f"{prefix.rstrip('/')}/" for prefix in listed["common_prefixes"])
        first = "" if after is None else f"{self.prefix}{after}"
        return [
            _Node(prefix, node.levels - 1) for prefix in prefixes if prefix >= first[: len(prefix)]
        ]

    def _positions_in(self, chunk: Sequence[ObjectMeta]) -> list[Position]:
        names = (found["path"].removeprefix(self.prefix) for found in chunk)
        return [position for position in map(parse_position, names) if position is not None]
