"""What of a bucket matters beside its boundary: its ACLs, and its folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ringfence.errors import IssueRefused
from ringfence.providers.base import Clock
from ringfence.providers.gcp.exchange import patiently
from ringfence.providers.gcp.refusals import about_bucket, about_folder, acls_in_use

if TYPE_CHECKING:
    from ringfence.layout import Prefix
    from ringfence.providers.gcp.source import Token
    from ringfence.providers.gcp.transport import Answer, HttpRequest

LOOK_AGAIN: Final = timedelta(hours=1)
"""Uniform access can be turned off again for 90 days ("Uniform bucket-level access")."""

MOST_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class _Seen:
    at: datetime
    hierarchical: bool


@dataclass(frozen=True, slots=True)
class BucketLooks:
    """Looks at buckets, each once an hour, with the installation's own token. Thread-safe.

    ``base_url`` is the endpoint of Cloud Storage.
    """

    base_url: str
    request: HttpRequest
    clock: Clock
    sleep: Callable[[float], None]
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _made: set[tuple[str, Prefix]] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def check(self, bucket: str, source: Token) -> None:
        """Refuses a bucket whose objects may have ACLs, and one that cannot be looked at.

        Raises:
            IssueRefused: the bucket has no uniform access, or that cannot be known. It is looked at
                again the next time.
            StorageUnreachable: no usable answer in time.
        """
        now = self.clock()
        with self._lock:
            seen = self._seen.get(bucket)
        if seen is not None and now - seen.at < LOOK_AGAIN:
            return
        description = self._described(bucket, source)
        if not _is_on(description, "iamConfiguration", "uniformBucketLevelAccess"):
            raise acls_in_use(bucket)
        with self._lock:
            self._seen[bucket] = _Seen(now, _is_on(description, "hierarchicalNamespace"))

    def make_folders(self, bucket: str, prefix: Prefix, source: Token) -> None:
        """Makes the folders of a prefix, where a bucket that was checked has any.

        Writing an object makes the folders above it, which takes ``storage.folders.create`` on
        each. A fenced token has that inside its prefix, and not on the folders above.

        Raises:
            IssueRefused: they could not be made.
            StorageUnreachable: no usable answer in time.
        """
        with self._lock:
            if not self._seen[bucket].hierarchical or (bucket, prefix) in self._made:
                return
        url = f"{self.base_url}/storage/v1/b/{quote(bucket, safe='')}/folders?recursive=true"
        body = json.dumps({"name": prefix}).encode()
        answer = self._ask(bucket, source, url, method="POST", body=body)
        if answer.status not in {200, 409}:  # 409: it is there
            raise about_folder(answer, bucket, self.base_url)
        with self._lock:
            if len(self._made) >= MOST_REMEMBERED:
                self._made.clear()
            self._made.add((bucket, prefix))

    def _described(self, bucket: str, source: Token) -> Any:
        """The bucket's metadata, as far as it is asked for."""
        fields = "fields=iamConfiguration,hierarchicalNamespace"
        url = f"{self.base_url}/storage/v1/b/{quote(bucket, safe='')}?{fields}"
        answer = self._ask(bucket, source, url)
        if answer.status != 200:
            raise about_bucket(answer, bucket, self.base_url)
        try:
            return json.loads(answer.data)
        except (ValueError, RecursionError):
            raise IssueRefused(
                f"{self.base_url} does not answer as Cloud Storage does.",
                hint="Check GCS_ENDPOINT.",
            ) from None

    def _ask(self, bucket: str, source: Token, url: str, **more: Any) -> Answer:
        from google.auth.exceptions import TransportError

        headers = {
            "Authorization": f"Bearer {source.secret.reveal()}",
            "Content-Type": "application/json",
        }
        try:
            return patiently(lambda: self.request(url, headers=headers, **more), self.sleep)
        except TransportError:
            raise about_bucket(None, bucket, self.base_url) from None


def _is_on(description: Any, *path: str) -> bool:
    """Whether a setting of a bucket is on; one that is not there is off."""
    for name in (*path, "enabled"):
        description = description.get(name) if isinstance(description, dict) else None
    return description is True
