"""The double's checks, each switched off: the attack that it is there for gets through then.

Without these the front could be one that refuses by luck, and the matrix would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from ringfence.layout import Prefix
from ringfence.providers.azure import provider as azure
from ringfence.providers.azure.sas import DirectorySas, SigningKey, directory_sas, mint
from ringfence.scope import Area, Grant, Permission, Scope, grants
from ringfence.testing.isolation import (
    Operation,
    Place,
    Report,
    attack,
    neighbours_of,
    probes,
)
from tests.azure.front import CHECKS, Principal
from tests.azure.installation import Installation, by_principal
from tests.azure.test_fence import BLOCK, Scene, make_scene, swapped
from tests.azure.test_matrix import on_azure
from tests.azure.wire import Owner, tenant_of


def foreign_read(scene: Scene) -> bool:
    return scene.send("GET", scene.at(scene.foreign)).body == b"secret"


def forged(scene: Scene) -> bool:
    sas = swapped(scene.sas, sig="AAAA", sdd=str(scene.foreign.key.count("/")))
    return scene.send("GET", scene.at(scene.foreign), sas=sas).body == b"secret"


def after_its_end(scene: Scene) -> bool:
    later = datetime.now(UTC) + timedelta(hours=2)
    with scene.installation.front.with_rules(now=lambda: later):
        return scene.send("GET", scene.at(scene.own)).status == 200


def before_its_start(scene: Scene) -> bool:
    from azure.storage.filedatalake import generate_directory_sas

    sas = generate_directory_sas(
        scene.tenant.at.account,
        scene.installation.buckets.of(scene.grant.bucket),
        scene.grant.prefix.removesuffix("/"),
        scene.installation.front.azurite.key,
        permission="r",
        expiry=datetime.now(UTC) + timedelta(hours=2),
        start=datetime.now(UTC) + timedelta(hours=1),
    )
    return scene.send("GET", scene.at(scene.own), sas=sas).status == 200


def in_clear(scene: Scene) -> bool:
    """The SAS of an installation whose endpoint is https."""
    sas = directory_sas(scene.grant, scene.installation.buckets.of, "https://a.example")
    made = mint(
        sas,
        scene.tenant.at.account,
        SigningKey(scene.installation.front.azurite.key),
        datetime.now(UTC) + timedelta(hours=1),
    )
    return scene.send("GET", scene.at(scene.own), sas=made).status == 200


def reader_writes(scene: Scene) -> bool:
    held = replace(scene.grant, permissions=frozenset({Permission.READ}))
    (credential,) = scene.installation.issue((held,))
    sas = credential.fields["sas_token"].reveal()
    return scene.send("PUT", scene.at(scene.own), b"x", BLOCK, sas=sas).status == 201


def lists_all(scene: Scene) -> bool:
    target = f"{scene.container}?restype=container&comp=list&prefix=apps/"
    return scene.foreign.key.encode() in scene.send("GET", target).body


def lists_beside(scene: Scene) -> bool:
    bare = quote(scene.grant.prefix.removesuffix("/"), safe="")
    target = f"{scene.container}?restype=container&comp=list&prefix={bare}"
    return scene.foreign.key.encode() in scene.send("GET", target).body


def batches(scene: Scene) -> bool:
    scene.batch(scene.own)
    return scene.installation.owner.read(scene.own) is None


def climbs(scene: Scene) -> bool:
    segment = scene.foreign.key.split("/")[-2]
    path = scene.at(scene.own).replace("object", f"../{segment}/object")
    return scene.send("GET", path).status not in {400, 403}


def unknown_operation(scene: Scene) -> bool:
    reply = scene.send("GET", f"{scene.at(scene.own)}?comp=tags")
    return reply.status not in {400, 403}


def tags(scene: Scene) -> bool:
    """Tags by a header of a put, which need a letter that nobody is given."""
    headers = {**BLOCK, "x-ms-tags": "a=b"}
    return scene.send("PUT", scene.at(scene.own), b"x", headers).status == 201


def copies(scene: Scene) -> bool:
    to = Place(scene.grant.bucket, f"{scene.grant.prefix}stolen")
    source = f"{scene.tenant.at.root}{scene.at(scene.foreign)}"
    scene.send("PUT", scene.at(to), b"", {"x-ms-copy-source": source})
    return scene.installation.owner.read(to) == b"secret"


def unknown_parameter(scene: Scene) -> bool:
    query = f"restype=container&comp=list&prefix={quote(scene.grant.prefix)}&include=deleted"
    return scene.send("GET", f"{scene.container}?{query}").status == 200


def wrong_shared_key(scene: Scene) -> bool:
    owner = scene.installation.owner
    thief = Owner(owner.wire, owner.at, scene.tenant.at.account, "AAAA")
    return thief.read(scene.foreign) == b"secret"


def token_of_nobody(scene: Scene) -> bool:
    headers = {"Authorization": "Bearer made-up"}
    return scene.send("GET", scene.at(scene.foreign), b"", headers, sas="").body == b"secret"


def key_outlived(scene: Scene) -> bool:
    """A SAS that says a later end than its delegation key has."""
    front = scene.installation.front
    installation = by_principal(front)
    now = datetime.now(UTC)
    key, _ = installation.provider._key(now, timedelta(minutes=5))
    sas = directory_sas(scene.grant, installation.buckets.of, front.endpoint)
    late = mint(sas, front.azurite.account, key, now + timedelta(days=3))
    installation.provider.close()
    return scene.send("GET", scene.at(scene.own), sas=late).status == 200


def beyond_the_roles(scene: Scene) -> bool:
    """A SAS that says more than the principal behind it may."""
    front = scene.installation.front
    reader = Principal("a-reader", letters="rl", oid="6f1d0b51-0000-4000-8000-00000000000a")
    installation = by_principal(front, reader, fence=lambda: None)
    (credential,) = installation.issue((scene.grant,))
    installation.provider.close()
    sas = credential.fields["sas_token"].reveal()
    return scene.send("DELETE", scene.at(scene.own), sas=sas).status == 202


ATTACKS: dict[str, Callable[[Scene], bool]] = {
    "signature": forged,
    "expiry": after_its_end,
    "start": before_its_start,
    "protocol": in_clear,
    "path": foreign_read,
    "letters": reader_writes,
    "list prefix": lists_all,
    "list beside": lists_beside,
    "batch": batches,
    "dots": climbs,
    "operations": unknown_operation,
    "headers": tags,
    "copy source": copies,
    "parameters": unknown_parameter,
    "key life": key_outlived,
    "rights": beyond_the_roles,
    "shared key": wrong_shared_key,
    "token": token_of_nobody,
}
"""For each check, what succeeds without it."""


def test_every_check_has_its_attack() -> None:
    assert set(ATTACKS) == CHECKS


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_a_check_is_what_stops_its_attack(keyed: Installation, scope: Scope, check: str) -> None:
    keyed.front.rules.principals.setdefault("t", Principal("t"))
    scene = make_scene(keyed, scope)
    assert not ATTACKS[check](scene)
    keyed.front.rules.off.add(check)
    assert ATTACKS[check](scene), "the attack fails although nothing checks for it"


# --- defects of the provider, which the matrix must see -------------------------------------------


def above(sas: DirectorySas) -> DirectorySas:
    return replace(sas, directory=sas.directory.rpartition("/")[0] or "apps")


def everything(sas: DirectorySas) -> DirectorySas:
    return replace(sas, letters="rcwdl")


def another_app(sas: DirectorySas) -> DirectorySas:
    return replace(sas, directory=sas.directory.replace("-app1", "-app10"))


def without_delete(sas: DirectorySas) -> DirectorySas:
    return replace(sas, letters=sas.letters.replace("d", ""))


def with_the_last_slash(sas: DirectorySas) -> DirectorySas:
    return replace(sas, directory=f"{sas.directory}/")


DEFECTS: dict[Callable[[DirectorySas], DirectorySas], tuple[str, set[Operation]]] = {
    above: ("LEAK", {Operation.GET, Operation.PUT, Operation.LIST, Operation.COPY_FROM}),
    everything: ("LEAK", {Operation.GET, Operation.GET_RANGE, Operation.DELETE}),
    another_app: ("LEAK", {Operation.GET, Operation.UPLOAD_START, Operation.DELETE}),
    without_delete: ("FALSE REFUSAL", {Operation.DELETE}),
    with_the_last_slash: ("FALSE REFUSAL", {Operation.GET, Operation.PUT, Operation.LIST}),
}


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_a_defect_of_the_provider_is_seen(
    keyed: Installation,
    scope: Scope,
    monkeypatch: pytest.MonkeyPatch,
    defect: Callable[[DirectorySas], DirectorySas],
) -> None:
    keyed.provider._check_fence()
    monkeypatch.setattr(azure, "directory_sas", lambda *args: defect(directory_sas(*args)))
    report = report_of(keyed, scope)
    what, operations = DEFECTS[defect]
    seen = {v.probe.operation for v in report.violations if v.what == what and v.probe}
    assert operations <= seen, str(report)
    with pytest.raises(AssertionError, match=what):
        report.check()


def report_of(installation: Installation, scope: Scope) -> Report:
    longer = [each for each in neighbours_of(scope) if each.kind == "app, longer"]
    held = grants(scope, installation.case)
    every = on_azure(probes(scope, longer, installation.case), held)
    wanted = [p for p in every if p.area in {Area.APP, Area.LOGS} and p.prefix]
    return attack(installation.tenant(scope), installation.owner, wanted, held)


def test_the_grants_of_a_scope_are_those_that_are_fenced(keyed: Installation, scope: Scope) -> None:
    """A grant of another place than the scope's is one that the matrix sees."""
    held = grants(scope, keyed.case)
    moved = tuple(_moved(grant) for grant in held)
    tenant = tenant_of(keyed.front, keyed.buckets, keyed.issue(moved))
    longer = [each for each in neighbours_of(scope) if each.kind == "app, longer"]
    every = on_azure(probes(scope, longer, keyed.case), held)
    wanted = [probe for probe in every if probe.prefix and probe.area]
    report = attack(tenant, keyed.owner, wanted, held)
    assert {"LEAK", "FALSE REFUSAL"} <= {v.what for v in report.violations}


def _moved(grant: Grant) -> Grant:
    return replace(grant, prefix=Prefix(grant.prefix.replace("-app1/", "-app10/")))
