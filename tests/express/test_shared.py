"""RINGFENCE_EXPRESS_SHARED: the fence is the bucket, exactly that much and no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ringfence.errors import GrantNotEnforceable
from ringfence.scope import AccessMode, Area, Scope
from ringfence.storage import Storage
from ringfence.testing.isolation import Expected, attack, neighbours_of, probes
from tests.express.installation import Express
from tests.express.local_aws import ACCOUNT, EXPRESS, REGION, STANDARD, LocalAws
from tests.express.tenant import is_asked_for

pytestmark = pytest.mark.engine

Make = Callable[..., Express]
BUCKET = f"arn:aws:s3express:{REGION}:{ACCOUNT}:bucket"


def test_all_of_the_bucket_and_nothing_of_another(express: Make, scope: Scope) -> None:
    """The matrix, in which all places in the shared bucket are open, and all others are not."""
    installation = express("meta content", shared=True)
    credential = installation.credential(scope)
    near = [each for each in neighbours_of(scope) if each.near]
    held = credential.grants
    wanted = [p for p in probes(scope, near, installation.settings.id_case) if is_asked_for(p)]
    content = next(g.bucket for g in held if g.area is Area.APP)
    elsewhere = [p for p in wanted if p.bucket is not content and is_apart(p, content)]
    doors, _ = next(installation.doors(credential))
    tenant = installation.tenant(credential, doors)
    attack(tenant, installation.owner, elsewhere, held).check()
    assert len([p for p in elsewhere if p.expected is Expected.REFUSED]) > 100
    inside = [p for p in wanted if p.bucket is content and p.expected is Expected.REFUSED]
    report = attack(tenant, installation.owner, inside, held)
    refused = [v for v in report.violations if v.what == "NOT A REFUSAL"]
    leaks = {str(v.probe) for v in report.violations if v.what == "LEAK"}
    assert len(leaks) > 100, "every place of every app in the bucket is open, as enforcement says"
    # What is left are the forms that the engine has not: it never says 403 in this bucket.
    assert all("403" not in violation.found for violation in refused)


def is_apart(probe: object, content: object) -> bool:
    other = getattr(probe, "other", None)
    return other is None or other.bucket is not content


@pytest.mark.parametrize("mode", [AccessMode.READ_APP, AccessMode.EDIT_APP])
def test_the_session_reads_only_where_the_grants_do(
    express: Make, scope: Scope, aws: LocalAws, mode: AccessMode
) -> None:
    installation = express("meta", shared=True)
    credential = installation.credential(replace(scope, mode=mode))
    statements = json.loads(aws.directory.assumed[-1])["Statement"]
    (own,) = [s for s in statements if s["Action"] == ["s3express:CreateSession"]]
    reads = mode is AccessMode.READ_APP
    assert own["Resource"] == [f"{BUCKET}/{EXPRESS.meta}"]
    wanted = {"StringEquals": {"s3express:SessionMode": "ReadOnly"}} if reads else None
    assert own.get("Condition") == wanted
    wire = installation.wire(credential)
    assert wire.by_session("GET", EXPRESS.meta, "/?list-type=2&prefix=x%2F").status == 200
    written = wire.by_session("PUT", EXPRESS.meta, f"/apps/{scope.app_id}/x", b"1")
    assert written.status == (403 if reads else 200)
    copy = {"x-amz-copy-source": f"{EXPRESS.meta}/apps/{scope.app_id}/x"}
    copied = wire.by_iam("PUT", EXPRESS.meta, f"/apps/{scope.app_id}/y", b"", copy)
    assert copied.status == (403 if reads else 200)
    (said,) = (e.coarser for e in credential.enforcement if e.area is Area.META)
    assert said is not None
    assert said.startswith(f"bucket-wide: all objects of {EXPRESS.meta}, of every app")
    assert ("written" in said) is not reads


async def test_strict_refuses_it(express: Make, scope: Scope) -> None:
    installation = express("content", shared=True)
    strict = replace(installation.settings, strict=True)
    storage = Storage(strict, provider=installation.provider)
    with pytest.raises(GrantNotEnforceable, match=r"RINGFENCE_STRICT is set.*bucket-wide"):
        await storage.vend(scope)
    await storage.close()


async def test_no_url_is_signed(express: Make, scope: Scope) -> None:
    for flags in ({"shared": True}, {"access_points": True}):
        installation = express("content", **flags)
        storage = Storage(installation.settings, provider=installation.provider)
        with pytest.raises(GrantNotEnforceable, match="no URL for one object alone"):
            await storage.sign(scope, Area.APP, "x", expires_in=timedelta(minutes=1))
        await storage.close()


def test_other_express_buckets_are_shut(express: Make, scope: Scope) -> None:
    installation = express("meta content", shared=True)
    wire = installation.wire(installation.credential(scope))
    for name in (EXPRESS.meta, EXPRESS.log):
        for mode in (None, "ReadOnly", "ReadWrite"):
            reply = wire.session(name, mode)
            assert getattr(reply, "denied", False), (name, mode)
    assert wire.standard("GET", f"/{STANDARD.meta}/apps/{scope.app_id}/x", b"", {}).denied
