"""Buckets with a hierarchical namespace: folders have permissions of their own there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from obstore.exceptions import PermissionDeniedError

from ringfence.errors import IssueRefused
from ringfence.layout import IdCase
from ringfence.providers.base import Lease
from ringfence.providers.gcp.buckets import BucketLooks
from ringfence.scope import AccessMode, Grants, Scope, grants
from ringfence.storage import Storage
from ringfence.testing.isolation import probes
from tests.gcp.double.backend import Backend
from tests.gcp.double.roles import OWNER
from tests.gcp.installation import Installation, installed
from tests.gcp.raw import XmlTenant, bearer, token_of
from tests.gcp.test_matrix import at_tenants, besieged, near
from tests.isolation.wire import Reply, Wire

SCOPE = Scope("app1", "user", "run1")


@pytest.fixture
def deep(backend: Backend) -> Iterator[Installation]:
    """An installation whose buckets have folders."""
    with installed(backend) as made:
        made.world.hierarchical |= set(made.world.buckets)
        yield made


def put_everywhere(deep: Installation, held: Grants) -> None:
    provider = deep.provider()
    (credential,) = provider.issue(held, session="folders")
    provider.close()
    lease = Lease(credential, credential.expires_at)
    for grant in held:
        provider.open(grant, lambda: lease).put("a/b/c", b"x")


def test_an_execution_writes_below_folders_that_were_made_for_it(deep: Installation) -> None:
    put_everywhere(deep, grants(SCOPE))
    content = {name for bucket, name in deep.world.folders if bucket == deep.buckets.content}
    assert {"apps/app1/", "users/user/apps/app1/a/b/", "tmp/user/user/apps/"} <= content


def test_without_them_it_could_not(deep: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BucketLooks, "make_folders", lambda *_: None)
    with pytest.raises(PermissionDeniedError, match=r"storage\.folders\.create .*/folders/apps/ "):
        put_everywhere(deep, grants(SCOPE))


def test_they_are_made_once_and_for_who_may_write(deep: Installation) -> None:
    provider = deep.provider()
    for _ in range(3):
        provider.issue(grants(SCOPE), session="folders")
    made = [line for line in deep.world.asked if line.startswith("POST /storage/")]
    assert len(made) == 4
    provider.issue(grants(Scope("app2", "user", "run1", AccessMode.READ_APP)), session="folders")
    assert len([line for line in deep.world.asked if line.startswith("POST /storage/")]) == 4
    again = deep.provider()
    assert again.issue(grants(SCOPE), session="folders"), "those that are there are no trouble"
    for each in (provider, again):
        each.close()


def test_a_flat_bucket_is_asked_for_none(gcs: Installation, scope: Scope) -> None:
    before = len(gcs.world.asked)
    put_everywhere(gcs, grants(scope))
    assert not [line for line in gcs.world.asked[before:] if "/folders" in line]


def test_an_account_that_may_not_make_folders_is_told(deep: Installation) -> None:
    deep.tokens.own = OWNER - {"storage.folders.create"}
    provider = deep.provider()
    with pytest.raises(IssueRefused, match=r"storage\.folders\.create"):
        provider.issue(grants(SCOPE), session="folders")
    assert deep.tokens.exchanges == []
    provider.close()


def test_a_fenced_token_makes_folders_in_its_own_place_only(deep: Installation) -> None:
    provider = deep.provider()
    (credential,) = provider.issue(grants(SCOPE), session="folders")
    provider.close()
    wire = Wire(deep.front.url, None)

    def make(name: str) -> Reply:
        at = f"/storage/v1/b/{deep.buckets.content}/folders?recursive=true"
        body = json.dumps({"name": name}).encode()
        return wire.send("POST", at, body, bearer(token_of(credential)))

    assert make("apps/app1/own/").status == 200
    for foreign in ("apps/app10/", "apps/app10/x/", "apps/", "x/", "users/other/"):
        assert make(foreign).status == 403, foreign


def test_a_mode_is_fenced_in_there_too(deep: Installation) -> None:
    wanted = at_tenants(probes(SCOPE, near(SCOPE)[:1], IdCase.EXACT))
    besieged(deep, SCOPE, wanted, XmlTenant).check()


async def test_a_run_works_there(deep: Installation) -> None:
    async with Storage.from_env(deep.env) as storage:
        async with storage.run(app="billing", user="auth0|42") as run:
            await run.user.put_async("deep/er/x", b"1")
            run.log.info("stored")
        record = await storage.state.get(run.record.id)
        assert record is not None
        assert record.status == "COMPLETED"
