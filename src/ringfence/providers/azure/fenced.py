"""obstore's Azure store, with deletes that a directory SAS allows.

object_store deletes on Azure by ``POST /container?comp=batch``, one object or many. That is a
request to the container, which a directory SAS does not open (Blob Storage REST API, *Blob Batch*:
the SAS of the container or of the account). Each object has a ``DELETE`` of its own, which it does
open, so these stores delete with that; object_store's plain HTTP store sends it, ten at a time,
with the same time-outs and retries, and no Python runs for it.

Everything else is obstore's, and the store is an ``AzureStore`` to whoever is given it. The
functions ``obstore.delete(store, ...)`` and ``obstore.rename(store, ...)`` go to the native store
and are refused by the fence: delete and rename with the store's own methods.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from obstore.store import AzureStore, HTTPStore

from ringfence.providers.base import Clock, CredentialSource
from ringfence.secret import REDACTED

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_QUERY: Final = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]*")
_SIGNATURE: Final = re.compile(r"(?:^|&)sig=([^&]*)")


@dataclass(frozen=True, slots=True)
class _Opened:
    """A store for deletes, by one SAS, and until when to use it."""

    store: HTTPStore
    sas: str
    until: datetime


class Deletions:
    """Single deletes below a directory's URL, by whatever SAS the lease has at the time."""

    def __init__(
        self,
        url: str,
        lease: CredentialSource,
        client: ClientConfig,
        retry: RetryConfig,
        clock: Clock = lambda: datetime.now(UTC),
    ) -> None:
        self._url = url
        self._lease = lease
        self._client = client
        self._retry = retry
        self._clock = clock
        self._opened: _Opened | None = None

    def __repr__(self) -> str:
        return f"<Deletions {self._url}>"

    def delete(self, paths: str | Sequence[str]) -> None:
        """Deletes objects. Blocking."""
        opened = self._fresh() or self._renewed()
        with _without(opened.sas):
            opened.store.delete(paths)

    async def delete_async(self, paths: str | Sequence[str]) -> None:
        """Deletes objects. A renewal of the credential blocks a thread and not the event loop."""
        opened = self._fresh()
        if opened is None:
            opened = await asyncio.to_thread(self._renewed)
        with _without(opened.sas):
            await opened.store.delete_async(paths)

    def _fresh(self) -> _Opened | None:
        opened = self._opened
        return opened if opened is not None and self._clock() < opened.until else None

    def _renewed(self) -> _Opened:
        lease = self._lease()
        opened = self._opened
        sas = lease.credential.fields["sas_token"].reveal()
        if opened is not None and opened.sas == sas:
            store = opened.store
        else:
            url = f"{self._url}?{sas}"
            store = HTTPStore.from_url(url, client_options=self._client, retry_config=self._retry)
        self._opened = renewed = _Opened(store, sas, lease.until)
        return renewed


@contextmanager
def _without(sas: str) -> Iterator[None]:
    """Around requests whose URL holds a SAS: no error that leaves it does."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it may quote the URL
        # obstore hides a URL with a SAS in its Azure store only. Without its cause: that one's
        # text is the whole.
        text = redacted(str(error), sas)
        raise type(error)(text) from None


def redacted(text: str, sas: str) -> str:
    """``text`` without the query of any URL, and without the signature of that SAS."""
    text = _QUERY.sub(r"\1", text)
    found = _SIGNATURE.search(sas)
    signature = found[1] if found else sas
    for form in {signature, unquote(signature), signature.lower()}:
        text = text.replace(form, REDACTED) if form else text
    return text


class FencedAzureStore(AzureStore):
    """An ``AzureStore`` on one directory by its SAS."""

    deletions: Deletions

    def delete(self, paths: str | Sequence[str]) -> None:
        """Deletes objects, each with a request of its own, ten at a time."""
        self.deletions.delete(paths)

    async def delete_async(self, paths: str | Sequence[str]) -> None:
        """As :meth:`delete`."""
        await self.deletions.delete_async(paths)

    def rename(self, from_: str, to: str, *, overwrite: bool = True) -> None:
        """Copies, then deletes, as object_store does on every cloud: not in one step."""
        self.copy(from_, to, overwrite=overwrite)
        self.delete(from_)

    async def rename_async(self, from_: str, to: str, *, overwrite: bool = True) -> None:
        """As :meth:`rename`."""
        await self.copy_async(from_, to, overwrite=overwrite)
        await self.delete_async(from_)
