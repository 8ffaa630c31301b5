"""A tenant through obstore, the engine of the workspaces themselves.

It has no calls for the steps of an upload and none that copies between buckets, and knows keys as
paths: use it with :func:`tests.clients.site.is_plain` and
:func:`tests.clients.site.is_in_one_bucket`.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

from obstore.exceptions import BaseError, PermissionDeniedError
from obstore.store import S3Store

from ringfence.layout import BucketRole
from ringfence.testing.isolation import (
    LISTINGS,
    Answer,
    Ground,
    Operation,
    Outcome,
    Probe,
)
from tests.clients.site import TIMEOUT_SECONDS, WITHOUT_UPLOADS, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obstore.store import ClientConfig

OPERATIONS: Final = WITHOUT_UPLOADS - {Operation.LIST_V1, Operation.LIST_V1_LEVEL}
_RANGE_END: Final = 32
_PAGE: Final = 1000


class ObstoreTenant:
    """A fenced session. Its stores are on whole buckets: what fences them is the key alone."""

    def __init__(self, site: Site, operations: frozenset[Operation] = OPERATIONS) -> None:
        self.name = "obstore"
        self.operations = operations & OPERATIONS
        self._store = cache(lambda role: open_store(site, role))

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        store = self._store(probe.bucket)
        try:
            return _ATTEMPTS[probe.operation](store, probe, ground)
        except (BaseError, FileNotFoundError) as error:
            bodiless = probe.operation is Operation.HEAD
            found = Outcome.REFUSED if _is_refusal(error, bodiless) else Outcome.FAILED
            along = found if probe.operation is Operation.DELETE_MANY else None
            said = f"{type(error).__name__}: {str(error)[:200]}"
            return Answer(found, said, str(error).encode(), other=along)


def _is_refusal(error: Exception, bodiless: bool = False) -> bool:
    """The engine's own refusal, by its code; HEAD has no body, hence no code.

    The type tells nothing: a listing that is refused, and a key of a bulk delete, are raised as
    GenericError.
    """
    if bodiless:
        return isinstance(error, PermissionDeniedError)
    text = str(error)
    return "AccessDenied" in text and ("status code: 403" in text or "DeleteObjects" in text)


def open_store(site: Site, role: BucketRole) -> S3Store:
    """A store on a whole bucket, with the keys of a site."""
    options: ClientConfig = {
        "allow_http": site.endpoint.startswith("http:"),
        "timeout": timedelta(seconds=TIMEOUT_SECONDS),
        # An engine that stops waits for its idle connections, half a minute if need be.
        "pool_idle_timeout": timedelta(seconds=1),
    }
    if site.ca is not None:
        options["root_certificate"] = site.ca.read_bytes()
    return S3Store(
        site.bucket(role),
        endpoint=site.endpoint,
        region=site.region,
        access_key_id=site.keys.access,
        secret_access_key=site.keys.secret,
        session_token=site.keys.token,
        virtual_hosted_style_request=not site.path_style,
        client_options=options,
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
        **site.store_options,
    )


def _read(store: S3Store, probe: Probe, _: Ground) -> Answer:
    return _allowed(bytes(store.get(probe.key).bytes()))


def _read_range(store: S3Store, probe: Probe, _: Ground) -> Answer:
    return _allowed(bytes(store.get_range(probe.key, start=0, end=_RANGE_END)))


def _head(store: S3Store, probe: Probe, _: Ground) -> Answer:
    return _allowed(repr(store.head(probe.key)).encode())


def _put(store: S3Store, probe: Probe, ground: Ground) -> Answer:
    return _allowed(repr(store.put(probe.key, ground.body, use_multipart=False)).encode())


def _put_if_absent(store: S3Store, probe: Probe, ground: Ground) -> Answer:
    return _allowed(repr(store.put(probe.key, ground.body, mode="create")).encode())


def _put_if_match(store: S3Store, probe: Probe, ground: Ground) -> Answer:
    version = ground.version or '"none"'
    done = store.put(probe.key, ground.body, mode={"e_tag": version})
    return _allowed(repr(done).encode())


def _delete(store: S3Store, probe: Probe, _: Ground) -> Answer:
    store.delete(probe.key)
    return _allowed()


def _delete_many(store: S3Store, probe: Probe, _: Ground) -> Answer:
    # obstore says of several no more than the first failure, so they go one after the other: a
    # refusal of one must not depend on the other.
    assert probe.other is not None
    outcomes: list[Outcome] = []
    for path in (probe.other.key, probe.key):
        try:
            store.delete([path])
            outcomes.append(Outcome.ALLOWED)
        except BaseError as error:
            outcomes.append(Outcome.REFUSED if _is_refusal(error) else Outcome.FAILED)
    along, own = outcomes
    return Answer(own, f"{own}", other=along)


def _list(store: S3Store, probe: Probe, _: Ground) -> Answer:
    offset = f"{probe.key}!" if probe.operation is Operation.LIST_AFTER else None
    pages = store.list(probe.key or None, offset=offset, chunk_size=_PAGE)
    keys = [entry["path"] for page in pages for entry in page]
    return Answer(Outcome.ALLOWED, "listed", keys=tuple(keys))


def _list_level(store: S3Store, probe: Probe, _: Ground) -> Answer:
    found = store.list_with_delimiter(probe.key or None)
    keys = [entry["path"] for entry in found["objects"]]
    # obstore takes the last slash off a common prefix.
    keys += [f"{prefix}/" for prefix in found["common_prefixes"]]
    return Answer(Outcome.ALLOWED, "listed", keys=tuple(keys))


def _copy_from(store: S3Store, probe: Probe, _: Ground) -> Answer:
    assert probe.other is not None
    store.copy(probe.key, probe.other.key)
    return _allowed()


def _copy_to(store: S3Store, probe: Probe, _: Ground) -> Answer:
    assert probe.other is not None
    store.copy(probe.other.key, probe.key)
    return _allowed()


def _allowed(body: bytes = b"") -> Answer:
    return Answer(Outcome.ALLOWED, "done", body)


_ATTEMPTS: Final[Mapping[Operation, Callable[[S3Store, Probe, Ground], Answer]]] = {
    Operation.GET: _read,
    Operation.GET_RANGE: _read_range,
    Operation.HEAD: _head,
    Operation.PUT: _put,
    Operation.PUT_IF_ABSENT: _put_if_absent,
    Operation.PUT_IF_MATCH: _put_if_match,
    Operation.DELETE: _delete,
    Operation.DELETE_MANY: _delete_many,
    Operation.LIST: _list,
    Operation.LIST_AFTER: _list,
    Operation.LIST_LEVEL: _list_level,
    Operation.COPY_FROM: _copy_from,
    Operation.COPY_TO: _copy_to,
}
assert _ATTEMPTS.keys() == OPERATIONS
assert {*LISTINGS} - {*OPERATIONS} == {Operation.LIST_V1, Operation.LIST_V1_LEVEL}
