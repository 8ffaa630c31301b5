"""The matrix's tenants through SDKs: obstore, and Google's own google-cloud-storage."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from google.auth.credentials import Credentials as AnyCredentials
from google.oauth2.credentials import Credentials
from obstore.exceptions import BaseError, PermissionDeniedError
from obstore.store import GCSStore

from ringfence.config import Buckets
from ringfence.layout import BucketRole
from ringfence.providers.gcp.store import GcsAddress, open_gcs
from ringfence.testing.isolation import LISTINGS, Answer, Ground, Operation, Outcome, Probe
from tests.gcp.google_client import Forbidden, GoogleAPIError, storage
from tests.gcp.installation import PROJECT

TIMEOUT_SECONDS: Final = 20.0

_DENIED: Final = "403 Forbidden: <?xml version='1.0'?><Error><Code>AccessDenied</Code>"


class ObstoreTenant:
    """A fenced token through obstore, on whole buckets: it may ask for any key.

    It copies within a bucket only, and ends every prefix in a slash; see :meth:`can_ask`.
    """

    name = "obstore"
    operations = frozenset(
        {
            *(Operation.GET, Operation.GET_RANGE, Operation.HEAD, Operation.PUT),
            *(Operation.PUT_IF_ABSENT, Operation.PUT_IF_MATCH, Operation.DELETE),
            *(Operation.LIST, Operation.LIST_LEVEL, Operation.LIST_AFTER),
            *(Operation.COPY_FROM, Operation.COPY_TO),
        }
    )

    def __init__(self, endpoint: str, buckets: Buckets, token: str) -> None:
        ends = datetime.now(UTC) + timedelta(hours=1)
        self._stores = {
            role: open_gcs(
                GcsAddress(buckets.of(role), endpoint),
                None,
                lambda: {"token": token, "expires_at": ends},
            )
            for role in BucketRole
        }

    @staticmethod
    def can_ask(probe: Probe) -> bool:
        """Whether obstore asks for just what the probe says."""
        between = probe.other is not None and probe.other.bucket is not probe.bucket
        return not between and (probe.operation not in LISTINGS or probe.key.endswith("/"))

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        store = self._stores[probe.bucket]
        try:
            body, keys = _WITH_OBSTORE[probe.operation](store, probe, ground)
        except BaseError as error:
            # A listing that is refused has no error class of its own in obstore.
            refused = isinstance(error, PermissionDeniedError) or _DENIED in str(error)
            return Answer(Outcome.REFUSED if refused else Outcome.FAILED, str(error)[:200])
        return Answer(Outcome.ALLOWED, "done", body, tuple(keys))


Done = tuple[bytes, list[str]]


def _get(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    del ground
    return bytes(store.get(probe.key).bytes()), []


def _put(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    store.put(probe.key, ground.body)
    return b"", []


def _put_if_match(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    store.put(probe.key, ground.body, mode={"version": ground.version or "1"})
    return b"", []


def _put_if_absent(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    store.put(probe.key, ground.body, mode="create")
    return b"", []


def _list(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    del ground
    offset = f"{probe.key}!" if probe.operation is Operation.LIST_AFTER else None
    return b"", [meta["path"] for page in store.list(probe.key, offset=offset) for meta in page]


def _list_level(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    del ground
    found = store.list_with_delimiter(probe.key)
    # obstore takes the last slash off a folder's name.
    folders = [f"{name}/" for name in found["common_prefixes"]]
    return b"", [meta["path"] for meta in found["objects"]] + folders


def _copy(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    del ground
    assert probe.other is not None
    ends = (probe.key, probe.other.key)
    store.copy(*(ends if probe.operation is Operation.COPY_FROM else reversed(ends)))
    return b"", []


def _range(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    del ground
    return bytes(store.get_range(probe.key, start=0, length=32)), []


def _head(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    del ground
    store.head(probe.key)
    return b"", []


def _delete(store: GCSStore, probe: Probe, ground: Ground) -> Done:
    del ground
    store.delete(probe.key)
    return b"", []


_WITH_OBSTORE: Final[dict[Operation, Callable[[GCSStore, Probe, Ground], Done]]] = {
    Operation.GET: _get,
    Operation.GET_RANGE: _range,
    Operation.HEAD: _head,
    Operation.PUT: _put,
    Operation.PUT_IF_ABSENT: _put_if_absent,
    Operation.PUT_IF_MATCH: _put_if_match,
    Operation.DELETE: _delete,
    Operation.LIST: _list,
    Operation.LIST_LEVEL: _list_level,
    Operation.LIST_AFTER: _list,
    Operation.COPY_FROM: _copy,
    Operation.COPY_TO: _copy,
}


class GoogleTenant:
    """A fenced token through google-cloud-storage."""

    name = "google-cloud-storage"
    operations = ObstoreTenant.operations | {Operation.DELETE_MANY}

    def __init__(self, endpoint: str, buckets: Buckets, token: str) -> None:
        self._endpoint = endpoint
        self._bucket = buckets.of
        self._token = token

    @cached_property
    def _client(self) -> Any:
        credentials: AnyCredentials = Credentials(self._token)  # type: ignore[no-untyped-call]
        options = {"api_endpoint": self._endpoint}
        return storage.Client(PROJECT, credentials, client_options=options)

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        bucket = self._client.bucket(self._bucket(probe.bucket))
        if probe.operation is Operation.DELETE_MANY:
            return self._delete_many(bucket, probe)
        act = _WITH_GOOGLE[probe.operation]
        try:
            body, keys = act(self, bucket, probe, ground)
        except Forbidden as error:
            return Answer(Outcome.REFUSED, str(error)[:200])
        except GoogleAPIError as error:
            return Answer(Outcome.FAILED, str(error)[:200])
        return Answer(Outcome.ALLOWED, "done", body, tuple(keys))

    def _delete_many(self, bucket: Any, probe: Probe) -> Answer:
        assert probe.other is not None
        answers = []
        try:
            with self._client.batch(raise_exception=False) as batch:
                bucket.blob(probe.other.key).delete(retry=None)
                bucket.blob(probe.key).delete(retry=None)
        except GoogleAPIError as error:
            return Answer(Outcome.FAILED, str(error)[:200])
        answers = [response.status_code for response in batch._responses]
        along, here = (_by_status(status) for status in answers)
        return Answer(here, f"{answers}", other=along)

    def far(self, probe: Probe) -> Any:
        assert probe.other is not None
        return self._client.bucket(self._bucket(probe.other.bucket)).blob(probe.other.key)


def _by_status(status: int) -> Outcome:
    if status == 403:
        return Outcome.REFUSED
    return Outcome.ALLOWED if 200 <= status < 300 else Outcome.FAILED


_NO_RETRY: Final[dict[str, Any]] = {"retry": None, "timeout": TIMEOUT_SECONDS}


def _google_get(tenant: GoogleTenant, bucket: Any, probe: Probe, ground: Ground) -> Done:
    del tenant, ground
    ends = {"end": 31} if probe.operation is Operation.GET_RANGE else {}
    return bytes(bucket.blob(probe.key).download_as_bytes(**ends, **_NO_RETRY)), []


def _google_head(tenant: GoogleTenant, bucket: Any, probe: Probe, ground: Ground) -> Done:
    del tenant, ground
    bucket.blob(probe.key).reload(**_NO_RETRY)
    return b"", []


def _google_put(tenant: GoogleTenant, bucket: Any, probe: Probe, ground: Ground) -> Done:
    del tenant
    match = {
        Operation.PUT_IF_ABSENT: {"if_generation_match": 0},
        Operation.PUT_IF_MATCH: {"if_generation_match": int(ground.version or "1")},
    }.get(probe.operation, {})
    bucket.blob(probe.key).upload_from_string(ground.body, **match, **_NO_RETRY)
    return b"", []


def _google_delete(tenant: GoogleTenant, bucket: Any, probe: Probe, ground: Ground) -> Done:
    del tenant, ground
    bucket.blob(probe.key).delete(**_NO_RETRY)
    return b"", []


def _google_list(tenant: GoogleTenant, bucket: Any, probe: Probe, ground: Ground) -> Done:
    del tenant, ground
    query: dict[str, Any] = {"prefix": probe.key or None}
    if probe.operation is Operation.LIST_LEVEL:
        query["delimiter"] = "/"
    if probe.operation is Operation.LIST_AFTER:
        query["start_offset"] = f"{probe.key}!"
    found = bucket.list_blobs(**query, **_NO_RETRY)
    keys = [blob.name for blob in found]
    return b"", [*keys, *found.prefixes]


def _google_copy(tenant: GoogleTenant, bucket: Any, probe: Probe, ground: Ground) -> Done:
    del ground
    here, far = bucket.blob(probe.key), tenant.far(probe)
    source, to = (here, far) if probe.operation is Operation.COPY_FROM else (far, here)
    to.rewrite(source, **_NO_RETRY)
    return b"", []


_WITH_GOOGLE: Final[dict[Operation, Callable[[GoogleTenant, Any, Probe, Ground], Done]]] = {
    Operation.GET: _google_get,
    Operation.GET_RANGE: _google_get,
    Operation.HEAD: _google_head,
    Operation.PUT: _google_put,
    Operation.PUT_IF_ABSENT: _google_put,
    Operation.PUT_IF_MATCH: _google_put,
    Operation.DELETE: _google_delete,
    Operation.LIST: _google_list,
    Operation.LIST_LEVEL: _google_list,
    Operation.LIST_AFTER: _google_list,
    Operation.COPY_FROM: _google_copy,
    Operation.COPY_TO: _google_copy,
}
