"""Planted defects: each change to a policy must turn the equality check red.

The properties are only worth what they would catch. Here every statement of every mode's policy is
spoilt in every way below, one at a time, and the check must see it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ringfence.layout import BucketRole, IdCase
from ringfence.providers.aws.policy import render
from ringfence.scope import AccessMode, Scope, grants
from tests.policy.ids import BucketNames
from tests.policy.matrix import disagreements, probe_calls, verdicts

Statement = dict[str, Any]
Defect = tuple[str, list[Statement]]
Defects = Callable[[list[Statement]], Iterator[Defect]]

NAMES: BucketNames = {role: f"acme-{role}" for role in BucketRole}
ARN = "arn:aws:s3:::"


def each(statements: list[Statement], *, listing: bool) -> Iterator[tuple[int, Statement]]:
    for index, statement in enumerate(statements):
        if ("Condition" in statement) is listing:
            yield index, statement


def with_field(
    statements: list[Statement], index: int, field: str, value: object
) -> list[Statement]:
    changed = copy.deepcopy(statements)
    changed[index][field] = value
    return changed


def replaced(values: list[str], old: str, new: str) -> list[str]:
    return [new if value == old else value for value in values]


def other_resources(statements: list[Statement]) -> Iterator[Defect]:
    for index, statement in each(statements, listing=False):
        for resource in statement["Resource"]:
            bucket, _, key = resource.removeprefix(ARN).partition("/")
            parent = key.removesuffix("/*").rpartition("/")[0]
            spoilt = {
                "no last slash": f"{resource.removesuffix('/*')}*",
                "no wildcard": resource.removesuffix("*"),
                "one level only": f"{resource.removesuffix('*')}?",
                "its parent": f"{ARN}{bucket}/{parent}/*",
                "the whole bucket": f"{ARN}{bucket}/*",
                "everything": "*",
                "buckets that begin alike": f"{ARN}{bucket}*/{key}",
                "a neighbour": resource.replace("app1", "app10").replace("user", "user2"),
                **{f"in {name}": f"{ARN}{name}/{key}" for name in NAMES.values() if name != bucket},
            }
            for what, new in spoilt.items():
                values = replaced(statement["Resource"], resource, new)
                yield (
                    f"{resource} becomes {what}",
                    with_field(statements, index, "Resource", values),
                )
            values = [*statement["Resource"], f"{resource.removesuffix('/*')}0/*"]
            yield (
                f"beside {resource} a neighbour",
                with_field(statements, index, "Resource", values),
            )


def other_actions(statements: list[Statement]) -> Iterator[Defect]:
    for index, statement in each(statements, listing=False):
        actions = statement["Action"]
        for action in actions:
            fewer = [other for other in actions if other != action]
            if fewer:
                yield f"without {action}", with_field(statements, index, "Action", fewer)
            values = replaced(actions, action, f"{action}*")
            if action in {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}:
                yield f"{action} with a wildcard", with_field(statements, index, "Action", values)
        more = ["s3:*", "*", "s3:GetObjectVersion", "s3:PutObjectAcl", "s3:PutObjectTagging"]
        rest = {"s3:GetObject", "s3:PutObject", "s3:DeleteObject"} - set(actions)
        for action in (*more, *sorted(rest)):
            yield f"with {action}", with_field(statements, index, "Action", [*actions, action])
        changed = with_field(statements, index, "NotAction", ["s3:CreateBucket"])
        del changed[index]["Action"]
        yield "NotAction", changed


def other_conditions(statements: list[Statement]) -> Iterator[Defect]:
    for index, statement in each(statements, listing=True):
        prefixes = statement["Condition"]["StringLike"]["s3:prefix"]

        def condition(
            operator: str, key: str, values: list[str], at: int = index
        ) -> list[Statement]:
            return with_field(statements, at, "Condition", {operator: {key: values}})

        dropped = copy.deepcopy(statements)
        del dropped[index]["Condition"]
        yield "no condition", dropped
        for operator in ("StringEquals", "StringLikeIfExists", "StringNotLike"):
            yield f"by {operator}", condition(operator, "s3:prefix", prefixes)
        yield "for all values", condition("ForAllValues:StringLike", "s3:prefix", prefixes)
        yield "on the delimiter", condition("StringLike", "s3:delimiter", prefixes)
        for prefix in prefixes:
            spoilt = {
                "no last slash": f"{prefix.removesuffix('/*')}*",
                "no wildcard": prefix.removesuffix("*"),
                "its parent": f"{prefix.removesuffix('/*').rpartition('/')[0]}/*",
                "everything": "*",
                "the root": "",
                "a neighbour": prefix.replace("app1", "app10"),
            }
            for what, new in spoilt.items():
                values = replaced(prefixes, prefix, new)
                yield f"{prefix} becomes {what}", condition("StringLike", "s3:prefix", values)
            more = [*prefixes, "execution/*"]
            yield "with the execution state", condition("StringLike", "s3:prefix", more)


def other_listings(statements: list[Statement]) -> Iterator[Defect]:
    for index, statement in each(statements, listing=True):
        arns = statement["Resource"]
        for name in NAMES.values():
            if f"{ARN}{name}" not in arns:
                values = [*arns, f"{ARN}{name}"]
                yield f"also of {name}", with_field(statements, index, "Resource", values)
        yield "of any bucket", with_field(statements, index, "Resource", ["*"])
        yield "of buckets alike", with_field(statements, index, "Resource", [f"{a}*" for a in arns])
        for action in ("s3:ListBucketVersions", "s3:List*"):
            actions = ["s3:ListBucket", action]
            yield f"with {action}", with_field(statements, index, "Action", actions)


def other_statements(statements: list[Statement]) -> Iterator[Defect]:
    for index in range(len(statements)):
        if len(statements) > 1:
            yield f"without {index}", statements[:index] + statements[index + 1 :]
        yield f"{index} denies", with_field(statements, index, "Effect", "Deny")
    content = f"{ARN}{NAMES[BucketRole.CONTENT]}"
    for action in ("s3:ListBucketMultipartUploads", "s3:GetBucketPolicy", "s3:ListBucket"):
        extra = {"Effect": "Allow", "Action": [action], "Resource": [content]}
        yield f"and {action}", [*statements, extra]
    everything = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}
    yield "and everything", [*statements, everything]
    objects = [statement for _, statement in each(statements, listing=False)]
    if len({tuple(statement["Action"]) for statement in objects}) > 1:
        lists = [statement for _, statement in each(statements, listing=True)]
        yield "the objects' statements as one", [*lists, merged(objects)]


def merged(objects: list[Statement]) -> Statement:
    return {
        "Effect": "Allow",
        "Action": [action for statement in objects for action in statement["Action"]],
        "Resource": [resource for statement in objects for resource in statement["Resource"]],
    }


@pytest.mark.parametrize(
    ("mode", "case"),
    [*((mode, IdCase.EXACT) for mode in AccessMode), (AccessMode.INVOKE_READ, IdCase.FOLDED)],
)
def test_every_planted_defect_is_seen(mode: AccessMode, case: IdCase) -> None:
    scope = Scope("app1", "user", "run1", mode)
    wanted = grants(scope, case)
    text = render(wanted, NAMES.__getitem__)
    meant = verdicts(wanted, NAMES, probe_calls(scope, case, NAMES))
    assert list(disagreements([text], meant)) == []

    kinds: list[Defects] = [other_resources, other_actions, other_statements]
    kinds += [other_conditions, other_listings]
    unseen, planted = [], 0
    for kind in kinds:
        for what, statements in kind(json.loads(text)["Statement"]):
            planted += 1
            spoilt = json.dumps({"Version": "2012-10-17", "Statement": statements})
            if not any(disagreements([spoilt], meant)):
                unseen.append(f"{kind.__name__}: {what}")
    assert unseen == []
    assert planted >= 25
