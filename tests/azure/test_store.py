"""The stores of a workspace, fenced: ordinary obstore stores whose deletes and renames work."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
)
from obstore.store import AzureStore, ObjectStore

from ringfence._registry import open_elsewhere
from ringfence.providers.azure.fenced import Deletions, FencedAzureStore, redacted
from ringfence.providers.base import Lease
from ringfence.scope import AccessMode, Area, Grant, Scope, grants
from ringfence.testing.isolation import Place
from tests.azure.installation import Installation, by_key, lease_of


def opened(
    installation: Installation, scope: Scope, area: Area = Area.APP
) -> tuple[FencedAzureStore, Grant]:
    held = grants(scope, installation.case)
    grant = next(each for each in held if each.area is area)
    (credential,) = installation.issue((grant,))
    return installation.provider.open(grant, lease_of(credential)), grant


def keys(store: ObjectStore) -> list[str]:
    return sorted(found["path"] for chunk in store.list() for found in chunk)


def test_it_is_an_ordinary_store(installation: Installation, scope: Scope) -> None:
    store, grant = opened(installation, scope)
    assert isinstance(store, AzureStore)
    obstore.put(store, "a/1", b"one")
    store.put("a/2", b"two")
    assert bytes(obstore.get(store, "a/1").bytes()) == b"one"
    assert bytes(store.get_range("a/2", start=1, end=3)) == b"wo"
    assert store.head("a/2")["size"] == 3
    assert keys(store) == ["a/1", "a/2"]
    level = store.list_with_delimiter()
    assert list(level["common_prefixes"]) == ["a"]
    store.copy("a/1", "b/1")
    assert bytes(store.get("b/1").bytes()) == b"one"
    there = installation.owner.under(grant.bucket, grant.prefix)
    assert sorted(there) == [f"{grant.prefix}{key}" for key in ("a/1", "a/2", "b/1")]


def test_a_large_object_is_put_in_blocks(installation: Installation, scope: Scope) -> None:
    store, _ = opened(installation, scope)
    body = bytes(range(256)) * 40_000
    store.put("large", body, chunk_size=1 << 20)
    assert bytes(store.get("large").bytes()) == body
    with obstore.open_writer(store, "written", buffer_size=1 << 20) as writer:
        writer.write(body)
    assert store.head("written")["size"] == len(body)


def test_conditional_writes(installation: Installation, scope: Scope) -> None:
    store, _ = opened(installation, scope)
    first = store.put("one", b"1", mode="create")
    with pytest.raises(AlreadyExistsError):
        store.put("one", b"2", mode="create")
    store.put("one", b"2", mode={"e_tag": first["e_tag"]})
    with pytest.raises(PreconditionError):
        store.put("one", b"3", mode={"e_tag": first["e_tag"]})
    assert bytes(store.get("one").bytes()) == b"2"


ODD = (
    "plain",
    "a b",
    "per%cent",
    "a%2Fb",
    "plus+",
    "\u00e9\U0001f5c4",
    "semi;colon",
    "q?x=1",
    "h#x",
)


def test_it_deletes_exactly_that(installation: Installation, scope: Scope) -> None:
    store, _ = opened(installation, scope)
    left = {f"d/{name}" for name in ODD}
    for key in left:
        store.put(key, b"x")
    for name in ODD:
        store.delete(f"d/{name}")
        left.discard(f"d/{name}")
        assert keys(store) == sorted(left)


@pytest.mark.parametrize(
    "id_", ["auth0|x", "a+b:c=d,e@example.com", "per%cent", "\u00e9 \U0001f5c4", "a."]
)
def test_ids_lie_where_the_layout_says(keyed: Installation, tag: str, id_: str) -> None:
    """In the store, in the SAS and in the URL of a delete, each of which encodes in its own way."""
    store, grant = opened(keyed, Scope(f"{tag}{id_}", f"{tag}{id_}", f"{tag}{id_}"), Area.USER)
    store.put("a/x", b"x")
    store.copy("a/x", "b/y")
    there = keyed.owner.under(grant.bucket, grant.prefix)
    assert sorted(there) == [f"{grant.prefix}a/x", f"{grant.prefix}b/y"]
    store.delete(["a/x", "b/y"])
    assert keyed.owner.under(grant.bucket, grant.prefix) == {}


async def test_a_renewal_does_not_hold_up_the_event_loop(keyed: Installation, scope: Scope) -> None:
    grant = grants(scope, keyed.case)[0]
    (credential,) = keyed.issue((grant,))
    asked, go_on = threading.Event(), threading.Event()

    def lease() -> Lease:
        asked.set()
        assert go_on.wait(30), "the event loop waits for the lease, and the lease for it"
        return Lease(credential, credential.expires_at)

    keyed.owner.plant(Place(grant.bucket, f"{grant.prefix}x"), b"x")
    store = keyed.provider.open(grant, lease)
    deleting = asyncio.create_task(store.delete_async("x"))
    assert await asyncio.to_thread(asked.wait, 30)
    go_on.set()
    await deleting
    assert keys(store) == []


async def test_deletes_and_renames(installation: Installation, scope: Scope) -> None:
    store, _ = opened(installation, scope)
    for number in range(30):
        store.put(f"many/{number}", b"x")
    store.delete([f"many/{number}" for number in range(15)])
    await store.delete_async([f"many/{number}" for number in range(15, 29)])
    assert keys(store) == ["many/29"]
    store.rename("many/29", "moved")
    await store.rename_async("moved", "moved/again")
    assert keys(store) == ["moved/again"]
    store.put("taken", b"y")
    with pytest.raises(AlreadyExistsError):
        store.rename("moved/again", "taken", overwrite=False)
    assert keys(store) == ["moved/again", "taken"], "nothing is deleted when the copy fails"
    store.rename("moved/again", "taken")
    assert bytes(store.get("taken").bytes()) == b"x"
    with pytest.raises(FileNotFoundError):
        store.delete("gone")
    with pytest.raises(FileNotFoundError):
        await store.rename_async("gone", "anywhere")


def test_a_delete_is_one_request_of_its_own(installation: Installation, scope: Scope) -> None:
    store, grant = opened(installation, scope)
    store.put("x", b"x")
    with installation.front.recording() as requests:
        store.delete("x")
    (request,) = requests
    assert request.method == "DELETE"
    assert request.raw_path.endswith(f"/{installation.buckets.content}/{grant.prefix}x")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "./x"])
def test_no_delete_climbs(installation: Installation, scope: Scope, path: str) -> None:
    """object_store refuses the path; a store that read it as "go up" would delete elsewhere."""
    store, _ = opened(installation, scope)
    with installation.front.recording() as requests, pytest.raises(Exception, match="string path"):
        store.delete(path)
    assert requests == []


def test_the_functions_of_obstore_are_refused_and_not_wider(
    installation: Installation, scope: Scope
) -> None:
    """``obstore.delete`` goes to the native store, which asks for a batch: the fence says no."""
    store, _ = opened(installation, scope)
    store.put("kept", b"x")
    with pytest.raises(GenericError, match="403"):
        obstore.delete(store, "kept")
    assert keys(store) == ["kept"]


OPERATIONS: dict[str, Callable[[FencedAzureStore], Any]] = {
    "get": lambda store: store.get("x").bytes(),
    "head": lambda store: store.head("x"),
    "list": lambda store: [*store.list()],
    "put": lambda store: store.put("y", b"y"),
    "delete": lambda store: store.delete("x"),
    "copy": lambda store: store.copy("x", "z"),
    "rename": lambda store: store.rename("x", "z"),
}
MAY = {
    (AccessMode.INVOKE_WRITE, Area.APP): set(OPERATIONS),
    (AccessMode.INVOKE_READ, Area.APP): {"get", "head", "list"},
    (AccessMode.INVOKE_WRITE, Area.LOGS): {"put"},
    (AccessMode.READ_LOGS, Area.LOGS): {"get", "head", "list"},
}


@pytest.mark.parametrize(("mode", "area"), MAY)
def test_permissions_through_obstore(
    installation: Installation, scope: Scope, mode: AccessMode, area: Area
) -> None:
    scope = Scope(scope.app_id, scope.user_id, scope.run_id, mode)
    store, grant = opened(installation, scope, area)
    whole = installation.provider.open_bucket(grant.bucket, grant.prefix)
    for name, attempt in OPERATIONS.items():
        whole.put("x", b"x")
        if name in MAY[mode, area]:
            attempt(store)
        else:
            # obstore calls a refused listing a generic failure on Azure.
            with pytest.raises((PermissionDeniedError, GenericError), match="403"):
                attempt(store)


def test_tags_need_a_letter_that_nobody_has(installation: Installation, scope: Scope) -> None:
    store, _ = opened(installation, scope)
    with pytest.raises(PermissionDeniedError):
        store.put("x", b"x", tags={"a": "b"})
    store.put("x", b"x", attributes={"Content-Type": "text/plain", "author": "me"})
    assert store.get("x").attributes["author"] == "me"


def test_no_error_shows_the_sas(installation: Installation, scope: Scope) -> None:
    scope = Scope(scope.app_id, scope.user_id, scope.run_id, AccessMode.INVOKE_READ)
    grant = next(g for g in grants(scope, installation.case) if g.area is Area.APP)
    (credential,) = installation.issue((grant,))
    store = installation.provider.open(grant, lease_of(credential))
    sas = credential.fields["sas_token"].reveal()
    signature = sas.partition("sig=")[2]
    for attempt in OPERATIONS.values():
        try:
            attempt(store)
        except Exception as error:  # noqa: BLE001 - whatever is raised
            shown = "".join(traceback.format_exception(error))
            assert signature not in shown
            assert "sig=" not in shown


def test_an_endpoint_out_of_reach_shows_no_sas_either() -> None:
    sas = "sv=1&sp=d&sig=abc%2Fdef%3D"
    lease = Lease(_credential(sas), datetime.now(UTC) + timedelta(minutes=5))
    client: Any = {"allow_http": True, "connect_timeout": timedelta(seconds=1)}
    deletions = Deletions("http://127.0.0.1:1/a/c/d", lambda: lease, client, {"max_retries": 0})
    with pytest.raises(Exception, match=r"127\.0\.0\.1") as raised:
        deletions.delete("x")
    shown = "".join(traceback.format_exception(raised.value))
    assert "abc%2Fdef" not in shown
    assert "abc/def" not in shown
    assert "sp=d" not in shown
    assert "sig" not in repr(deletions)


def _credential(sas: str) -> Any:
    from ringfence.providers.base import Credential
    from ringfence.secret import Secret

    now = datetime.now(UTC)
    return Credential((), {"sas_token": Secret(sas)}, now, now, ())


def test_redaction_leaves_what_helps() -> None:
    text = "Error performing DELETE http://h/a/c/x?se=1&sig=s%2Bx in 1ms - 403 (s+x)"
    assert redacted(text, "se=1&sig=s%2Bx") == (
        "Error performing DELETE http://h/a/c/x in 1ms - 403 (********)"
    )


def test_it_opens_elsewhere_by_its_address(installation: Installation, scope: Scope) -> None:
    held = grants(scope, installation.case)
    grant = next(each for each in held if each.area is Area.USER)
    (credential,) = installation.issue((grant,))
    address = installation.provider.address(grant)
    store: Any = open_elsewhere("azure", address, grant.prefix, lease_of(credential))
    store.put("x", b"elsewhere")
    store.rename("x", "y")
    assert bytes(store.get("y").bytes()) == b"elsewhere"
    store.delete("y")
    assert keys(store) == []


def test_the_environment_says_nothing_about_a_store(
    installation: Installation, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore reads AZURE_* by itself; what is meant for something else must not be heard."""
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/elsewhere")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "elsewhere")
    monkeypatch.setenv("AZURE_CONTAINER_NAME", "elsewhere")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    store, _ = opened(installation, scope)
    store.put("x", b"x")
    store.delete("x")
    assert keys(store) == []


@pytest.mark.soak
async def test_twenty_lives_by_the_clock_on_the_wall(front: Any, scope: Scope) -> None:
    """The SAS are short, and the store goes on over their ends: reads, writes, deletes."""
    installation = by_key(front, credential_ttl=timedelta(seconds=4))
    grant = next(g for g in grants(scope, installation.case) if g.area is Area.APP)
    end = datetime.now(UTC) + timedelta(seconds=20 * 3)

    def lease() -> Lease:
        (credential,) = installation.issue((grant,))
        return Lease(credential, datetime.now(UTC) + timedelta(seconds=1))

    store = installation.provider.open(grant, lease)
    while datetime.now(UTC) < end:
        await store.put_async("x", b"x")
        assert bytes(await (await store.get_async("x")).bytes_async()) == b"x"
        await store.delete_async("x")
        await asyncio.sleep(0.05)
    installation.provider.close()
