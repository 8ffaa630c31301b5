"""A tenant through aiobotocore, on an event loop of its own: the matrix asks from threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, TypeVar

from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.exceptions import ClientError

from ringfence.testing.isolation import Answer, Ground, Operation, Probe
from tests.clients import calls
from tests.clients.boto import client_arguments, config
from tests.clients.site import TIMEOUT_SECONDS, Site

T = TypeVar("T")


class AioTenant:
    """A fenced session."""

    def __init__(
        self,
        client: Any,
        site: Site,
        loop: asyncio.AbstractEventLoop,
        operations: frozenset[Operation] = frozenset(Operation),
    ) -> None:
        self.name = "aiobotocore"
        self.operations = operations
        self._client = client
        self._site = site
        self._loop = loop

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        asked = asyncio.run_coroutine_threadsafe(self._ask(probe, ground), self._loop)
        return asked.result(2 * TIMEOUT_SECONDS)

    async def _ask(self, probe: Probe, ground: Ground) -> Answer:
        method, params = calls.call(probe, ground, self._site.bucket)
        try:
            response = await getattr(self._client, method)(**params)
            body = await response["Body"].read() if "Body" in response else b""
        except ClientError as error:
            return calls.raised(probe, error)
        return calls.done(probe, response, body)


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread, for as long as the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="aio-tenant", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_SECONDS)
        loop.close()


@contextmanager
def aio_tenant(
    site: Site, operations: frozenset[Operation] = frozenset(Operation)
) -> Iterator[AioTenant]:
    """A tenant with the keys of a site."""
    with running_loop() as loop:

        def wait(work: Coroutine[Any, Any, T]) -> T:
            return asyncio.run_coroutine_threadsafe(work, loop).result(TIMEOUT_SECONDS)

        stack = AsyncExitStack()
        made = get_session().create_client(
            "s3", config=AioConfig(**config(site)), **client_arguments(site)
        )
        client = wait(stack.enter_async_context(made))
        try:
            yield AioTenant(client, site, loop, operations)
        finally:
            wait(stack.aclose())
