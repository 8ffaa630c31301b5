"""Planted defects: the matrix must see each of them, or it proves nothing.

The policy that the provider renders is spoilt before it goes to the engine; the engine then
enforces the spoilt one, really.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ringfence.providers.aws import provider as aws
from ringfence.providers.aws.policy import SessionPolicy, split
from ringfence.scope import AccessMode, Scope, grants
from ringfence.testing.isolation import (
    Operation,
    Probe,
    Report,
    attack,
    neighbours_of,
    probes,
)
from tests.isolation.installation import Installation

pytestmark = pytest.mark.engine

Statement = dict[str, Any]
Spoil = Callable[[list[Statement]], None]


def objects(statements: list[Statement]) -> list[Statement]:
    return [each for each in statements if "Condition" not in each]


def listings(statements: list[Statement]) -> list[Statement]:
    return [each for each in statements if "Condition" in each]


def no_last_slash(statements: list[Statement]) -> None:
    for each in objects(statements):
        each["Resource"] = [f"{resource.removesuffix('/*')}*" for resource in each["Resource"]]


def another_app(statements: list[Statement]) -> None:
    for each in objects(statements):
        each["Resource"] += [r.replace("-app1/", "-app10/") for r in each["Resource"]]


def no_condition(statements: list[Statement]) -> None:
    for each in listings(statements):
        del each["Condition"]


def listing_without_slash(statements: list[Statement]) -> None:
    for each in listings(statements):
        prefixes = each["Condition"]["StringLike"]["s3:prefix"]
        prefixes[:] = [f"{prefix.removesuffix('/*')}*" for prefix in prefixes]


def whole_bucket(statements: list[Statement]) -> None:
    for each in objects(statements):
        each["Resource"] = sorted({f"{r.partition('/')[0]}/*" for r in each["Resource"]})


def logs_can_be_read(statements: list[Statement]) -> None:
    for each in objects(statements):
        each["Action"] = sorted({*each["Action"], "s3:GetObject"})


def nothing_can_be_deleted(statements: list[Statement]) -> None:
    for each in objects(statements):
        each["Action"] = [action for action in each["Action"] if action != "s3:DeleteObject"]


def the_execution_state(statements: list[Statement]) -> None:
    arn = objects(statements)[0]["Resource"][0]
    meta = arn.partition("/")[0].replace("content", "meta")
    statements.append(
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{meta}/execution/*"]}
    )


def attack_with(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope, spoil: Spoil
) -> Report:
    def spoilt(*args: Any, **kwargs: Any) -> tuple[SessionPolicy, ...]:
        return tuple(
            replace(each, text=spoil_text(each.text, spoil)) for each in split(*args, **kwargs)
        )

    monkeypatch.setattr(aws, "split", spoilt)
    longer = [each for each in neighbours_of(scope) if each.kind == "app, longer"]
    wanted = [p for p in probes(scope, longer, installation.case) if not is_beside(p)]
    held = grants(scope, installation.case)
    return attack(installation.tenant(scope), installation.owner, wanted, held)


def is_beside(probe: Probe) -> bool:
    """Places that say no more about these defects than the neighbour's own do."""
    return probe.kind.startswith(("beside", "odd key")) or "another bucket" in probe.kind


def spoil_text(text: str, spoil: Spoil) -> str:
    policy = json.loads(text)
    spoil(policy["Statement"])
    spoilt = json.dumps(policy, separators=(",", ":"))
    assert spoilt != text
    return spoilt


def seen(report: Report, what: str) -> set[Operation]:
    return {v.probe.operation for v in report.violations if v.what == what and v.probe}


WIDER: dict[Spoil, set[Operation]] = {
    no_last_slash: {Operation.GET, Operation.PUT, Operation.DELETE, Operation.COPY_FROM},
    another_app: {Operation.GET, Operation.HEAD, Operation.UPLOAD_START, Operation.DELETE_MANY},
    whole_bucket: {Operation.GET, Operation.COPY_TO, Operation.UPLOAD_ABORT},
    no_condition: {Operation.LIST, Operation.LIST_V1, Operation.LIST_LEVEL},
    listing_without_slash: {Operation.LIST, Operation.LIST_V1_LEVEL, Operation.LIST_AFTER},
    logs_can_be_read: {Operation.GET, Operation.GET_RANGE, Operation.COPY_FROM},
    the_execution_state: {Operation.GET, Operation.PART_COPY_FROM},
}
"""Each widening, and some of the operations by which it must show."""


@pytest.mark.parametrize("spoil", WIDER, ids=lambda spoil: spoil.__name__)
def test_a_wider_policy_is_seen(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope, spoil: Spoil
) -> None:
    report = attack_with(installation, monkeypatch, scope, spoil)
    assert WIDER[spoil] <= seen(report, "LEAK")
    with pytest.raises(AssertionError, match="LEAK"):
        report.check()


def test_a_narrower_policy_is_seen(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    report = attack_with(installation, monkeypatch, scope, nothing_can_be_deleted)
    assert seen(report, "LEAK") == set()
    assert {Operation.DELETE, Operation.DELETE_MANY} <= seen(report, "FALSE REFUSAL")


def test_what_a_leak_did_is_seen_too(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, scope: Scope
) -> None:
    """Not only the answer: a canary that came back, an object that changed, an upload that went."""
    report = attack_with(installation, monkeypatch, scope, whole_bucket)
    found = "\n".join(violation.found for violation in report.violations)
    for effect in ("came back", "is overwritten", "is gone", "is new", "holds the content of"):
        assert effect in found, effect
    assert "its upload" in found


def test_the_wrong_mode_is_seen(installation: Installation, scope: Scope) -> None:
    """A credential of another mode than the one that the probes expect."""
    wanted = replace(scope, mode=AccessMode.INVOKE_NONE)
    held = grants(wanted, installation.case)
    every = probes(wanted, (), installation.case)
    report = attack(installation.tenant(scope), installation.owner, every, held)
    assert {Operation.GET, Operation.LIST, Operation.PUT} <= seen(report, "LEAK")
