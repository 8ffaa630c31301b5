"""The evaluator itself, case by case from the IAM User Guide: the other proofs lean on it."""

from __future__ import annotations

import json

import pytest

from tests.policy.iam import Context, Decision, PolicyError, Request, parse

ALLOW, IMPLICIT, EXPLICIT = Decision.ALLOW, Decision.IMPLICIT_DENY, Decision.EXPLICIT_DENY
OBJECT = "arn:aws:s3:::bucket/a/key"


def policy(*statements: dict[str, object], version: str | None = "2012-10-17") -> str:
    body: dict[str, object] = {"Statement": list(statements)}
    return json.dumps(body if version is None else {"Version": version, **body})


def statement(**changes: object) -> dict[str, object]:
    base = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/a/*"}
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def on_condition(operator: str, key: str, value: object) -> dict[str, object]:
    return statement(Resource="*", Condition={operator: {key: value}})


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ((statement(),), ALLOW),
        ((statement(Action="s3:PutObject"),), IMPLICIT),
        ((statement(Resource="arn:aws:s3:::bucket/b/*"),), IMPLICIT),
        ((statement(Effect="Deny"),), EXPLICIT),
        ((statement(), statement(Effect="Deny")), EXPLICIT),
        ((statement(Effect="Deny"), statement()), EXPLICIT),
        ((statement(), statement(Effect="Deny", Action="s3:PutObject")), ALLOW),
        ((statement(Action="*", Resource="*"),), ALLOW),
    ],
)
def test_default_deny_and_explicit_deny_wins(
    statements: tuple[dict[str, object], ...], expected: Decision
) -> None:
    assert parse(policy(*statements)).decide(Request("s3:GetObject", OBJECT)) is expected


@pytest.mark.parametrize(
    ("element", "pattern", "allowed"),
    [
        ("Action", "S3:getobject", True),
        ("Action", "s3:*", True),
        ("Action", "s3:Get*", True),
        ("Action", "s3:GetObjec?", True),
        ("Action", "s3:GetObject?", False),
        ("Action", "s3:Get", False),
        ("Action", "iam:*", False),
        ("Action", ["s3:PutObject", "s3:GetObject"], True),
        ("NotAction", "s3:PutObject", True),
        ("NotAction", "s3:GetObject", False),
        ("NotAction", "s3:*", False),
    ],
)
def test_actions_match_without_case_and_with_wildcards(
    element: str, pattern: object, allowed: bool
) -> None:
    text = policy(statement(**{"Action": None, element: pattern}))
    assert parse(text).allows(Request("s3:GetObject", OBJECT)) is allowed


@pytest.mark.parametrize(
    ("element", "pattern", "resource", "allowed"),
    [
        ("Resource", "arn:aws:s3:::bucket/a/*", "arn:aws:s3:::bucket/a/b/c", True),
        ("Resource", "arn:aws:s3:::bucket/a/*", "arn:aws:s3:::bucket/a/", True),
        ("Resource", "arn:aws:s3:::bucket/a/*", "arn:aws:s3:::bucket/a", False),
        ("Resource", "arn:aws:s3:::bucket/a/*", "arn:aws:s3:::bucket/A/b", False),
        ("Resource", "arn:aws:s3:::bucket/a/*", "arn:aws:s3:::bucket/a/\nb", True),
        ("Resource", "arn:aws:s3:::bucket/a*", "arn:aws:s3:::bucket/ab/c", True),
        ("Resource", "arn:aws:s3:::bucket/?/x", "arn:aws:s3:::bucket/a/x", True),
        ("Resource", "arn:aws:s3:::bucket/?/x", "arn:aws:s3:::bucket//x", False),
        ("Resource", "arn:aws:s3:::buck*", "arn:aws:s3:::bucket/a/x", True),
        ("Resource", "arn:aws:s3:::bucket", "arn:aws:s3:::bucket/a/x", False),
        ("Resource", "arn:aws:s3:::bucket/a.c", "arn:aws:s3:::bucket/abc", False),
        ("Resource", "arn:aws:*:::bucket/a", "arn:aws:s3:::bucket/a", True),
        ("Resource", "arn:aws:s3:*:bucket/a:b", "arn:aws:s3:::bucket/a:b", False),
        ("Resource", "*", "arn:aws:s3:::bucket", True),
        ("NotResource", "arn:aws:s3:::bucket/a/*", "arn:aws:s3:::bucket/b", True),
        ("NotResource", "arn:aws:s3:::bucket/a/*", "arn:aws:s3:::bucket/a/b", False),
    ],
)
def test_resources_match_with_wildcards_within_a_segment(
    element: str, pattern: str, resource: str, allowed: bool
) -> None:
    text = policy(statement(**{"Resource": None, element: pattern}))
    assert parse(text).allows(Request("s3:GetObject", resource)) is allowed


@pytest.mark.parametrize(
    ("version", "tail", "key", "context", "allowed"),
    [
        ("2012-10-17", "${aws:username}/*", "ann/x", {"aws:username": "ann"}, True),
        ("2012-10-17", "${AWS:UserName}/*", "ann/x", {"aws:username": "ann"}, True),
        ("2012-10-17", "${aws:username}/*", "bob/x", {"aws:username": "ann"}, False),
        ("2012-10-17", "${aws:username}/*", "bob/x", {"aws:username": "*"}, False),
        ("2012-10-17", "${aws:username}/*", "*/x", {"aws:username": "*"}, True),
        ("2012-10-17", "${aws:username}/*", "${aws:username}/x", {}, False),
        ("2012-10-17", "${aws:username}", "${aws:username}", {"aws:username": "a"}, False),
        ("2012-10-17", "${aws:username, 'guest'}/*", "guest/x", {}, True),
        ("2012-10-17", "${aws:username, 'guest'}/*", "ann/x", {"aws:username": "ann"}, True),
        ("2012-10-17", "${*}/x", "*/x", {}, True),
        ("2012-10-17", "${*}/x", "a/x", {}, False),
        ("2012-10-17", "${?}/x", "?/x", {}, True),
        ("2012-10-17", "${?}/x", "a/x", {}, False),
        ("2012-10-17", "${$}{aws:username}", "${aws:username}", {"aws:username": "a"}, True),
        ("2008-10-17", "${aws:username}/*", "ann/x", {"aws:username": "ann"}, False),
        ("2008-10-17", "${aws:username}/*", "${aws:username}/x", {"aws:username": "ann"}, True),
        ("2008-10-17", "${*}/x", "${abc}/x", {}, True),
        (None, "${aws:username}/*", "ann/x", {"aws:username": "ann"}, False),
    ],
)
def test_variables_expand_with_the_newer_version_only(
    version: str | None, tail: str, key: str, context: Context, allowed: bool
) -> None:
    text = policy(statement(Resource=f"arn:aws:s3:::bucket/{tail}"), version=version)
    request = Request("s3:GetObject", f"arn:aws:s3:::bucket/{key}", context)
    assert parse(text).allows(request) is allowed


def test_a_variable_without_a_value_makes_its_statement_void() -> None:
    void = statement(Resource=None, NotResource="arn:aws:s3:::bucket/${aws:username}")
    assert parse(policy(void)).decide(Request("s3:GetObject", OBJECT)) is IMPLICIT
    void = on_condition("StringNotEquals", "s3:prefix", "${aws:username}")
    request = Request("s3:GetObject", OBJECT, {"s3:prefix": "x"})
    assert parse(policy(void)).decide(request) is IMPLICIT


@pytest.mark.parametrize(
    ("operator", "value", "found", "holds"),
    [
        ("StringEquals", "a/", "a/", True),
        ("StringEquals", "a/", "A/", False),
        ("StringEquals", "a/*", "a/b", False),
        ("StringEquals", "a/*", "a/*", True),
        ("StringEquals", ["a/", "b/"], "b/", True),
        ("StringEquals", "a/", None, False),
        ("StringNotEquals", "a/", "b/", True),
        ("StringNotEquals", "a/", "a/", False),
        ("StringNotEquals", ["a/", "b/"], "b/", False),
        ("StringNotEquals", ["a/", "b/"], "c/", True),
        ("StringNotEquals", "a/", None, True),
        ("StringEqualsIgnoreCase", "a/", "A/", True),
        ("StringNotEqualsIgnoreCase", "a/", "A/", False),
        ("StringLike", "a/*", "a/b", True),
        ("StringLike", "a/*", "a/", True),
        ("StringLike", "a/*", "a", False),
        ("StringLike", "a/*", "A/b", False),
        ("StringLike", "a/?", "a/b", True),
        ("StringLike", "a/?", "a/", False),
        ("StringLike", ["a/*", "b/*"], "b/c", True),
        ("StringLike", "a/*", None, False),
        ("StringLike", "*", None, False),
        ("StringLike", "", "", True),
        ("StringLike", "*", "", True),
        ("StringLike", "${aws:username}/*", "ann/x", True),
        ("StringEquals", "${aws:username}/", "ann/", True),
        ("StringLike", "${*}", "*", True),
        ("StringLike", "${*}", "ann", False),
        ("StringNotLike", "a/*", "b/", True),
        ("StringNotLike", "a/*", "a/b", False),
        ("StringNotLike", "a/*", None, True),
        ("StringLikeIfExists", "a/*", None, True),
        ("StringLikeIfExists", "a/*", "b/", False),
        ("StringLikeIfExists", "a/*", "a/b", True),
        ("StringNotEqualsIfExists", "a/", None, True),
        ("StringNotEqualsIfExists", "a/", "a/", False),
        ("Null", "true", None, True),
        ("Null", "true", "a", False),
        ("Null", "false", None, False),
        ("Null", False, "a", True),
        ("ForAnyValue:StringEquals", ["a", "b"], ("x", "b"), True),
        ("ForAnyValue:StringEquals", ["a", "b"], ("x", "y"), False),
        ("ForAnyValue:StringEquals", ["a", "b"], None, False),
        ("ForAnyValue:StringLike", ["a*"], ("x", "ab"), True),
        ("ForAnyValue:StringLike", ["*"], "", False),
        ("ForAnyValue:StringNotEquals", ["a"], ("a", "b"), True),
        ("ForAnyValue:StringNotEquals", ["a"], ("a",), False),
        ("ForAllValues:StringEquals", ["a", "b", "c"], ("a", "b"), True),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "x"), False),
        ("ForAllValues:StringEquals", ["a"], None, True),
        ("ForAllValues:StringLike", ["a/*"], "", True),
        ("ForAllValues:StringLike", ["a/*"], "b/", False),
        ("ForAllValues:StringNotEquals", ["a"], ("b", "c"), True),
        ("ForAllValues:StringNotEquals", ["a"], ("a", "c"), False),
        ("ForAnyValue:StringEqualsIfExists", ["a"], None, True),
    ],
)
def test_condition_operators(
    operator: str, value: object, found: str | tuple[str, ...] | None, holds: bool
) -> None:
    context: dict[str, str | tuple[str, ...]] = {"aws:username": "ann"}
    if found is not None:
        context["s3:prefix"] = found
    text = policy(on_condition(operator, "S3:Prefix", value))
    assert parse(text).allows(Request("s3:GetObject", OBJECT, context)) is holds


def test_all_keys_and_all_operators_of_a_condition_must_hold() -> None:
    condition = {"StringEquals": {"k:a": "1", "k:b": "2"}, "StringLike": {"k:c": "3*"}}
    parsed = parse(policy(statement(Condition=condition)))
    full = {"k:a": "1", "k:b": "2", "k:c": "34"}
    assert parsed.allows(Request("s3:GetObject", OBJECT, full))
    for key in full:
        assert not parsed.allows(Request("s3:GetObject", OBJECT, {**full, key: "x"}))


def test_the_home_folder_example_of_the_guide() -> None:
    text = policy(
        {
            "Effect": "Allow",
            "Action": ["s3:ListAllMyBuckets", "s3:GetBucketLocation"],
            "Resource": "arn:aws:s3:::*",
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": "arn:aws:s3:::bucket",
            "Condition": {"StringLike": {"s3:prefix": ["", "home/", "home/${aws:username}/"]}},
        },
        {
            "Effect": "Allow",
            "Action": "s3:*",
            "Resource": [
                "arn:aws:s3:::bucket/home/${aws:username}",
                "arn:aws:s3:::bucket/home/${aws:username}/*",
            ],
        },
    )
    parsed = parse(text)

    def allows(action: str, tail: str, **context: str) -> bool:
        full = {"aws:username": "ann", **{f"s3:{key}": value for key, value in context.items()}}
        return parsed.allows(Request(f"s3:{action}", f"arn:aws:s3:::{tail}", full))

    assert allows("ListBucket", "bucket", prefix="home/ann/")
    assert allows("ListBucket", "bucket", prefix="")
    assert not allows("ListBucket", "bucket")
    assert not allows("ListBucket", "bucket", prefix="home/ann/x")
    assert not allows("ListBucket", "bucket", prefix="home/bob/")
    assert allows("DeleteObject", "bucket/home/ann/x")
    assert not allows("DeleteObject", "bucket/home/anna/x")


def test_without_case_resources_and_conditions_meet_but_do_not_widen() -> None:
    text = policy(
        statement(Resource="arn:aws:s3:::bucket/App1/*"),
        statement(
            Action="s3:ListBucket",
            Resource="arn:aws:s3:::bucket",
            Condition={"StringLike": {"s3:prefix": "App1/*"}},
        ),
    )
    exact, folded = parse(text), parse(text, case_insensitive=True)
    get = Request("s3:GetObject", "arn:aws:s3:::bucket/app1/x")
    listing = Request("s3:ListBucket", "arn:aws:s3:::bucket", {"s3:prefix": "aPP1/"})
    for request in (get, listing):
        assert not exact.allows(request)
        assert folded.allows(request)
    assert not folded.allows(Request("s3:GetObject", "arn:aws:s3:::bucket/app10/x"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "is an object"),
        ('{"Version":"2012-10-17"}', "is an object"),
        ('{"Statement":[]}', "no statement"),
        ('{"Version":"2013-01-01","Statement":[]}', "no such version"),
        ('{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}', "a key twice"),
        (policy(statement(Effect="allow")), "no such effect"),
        (policy(statement(Effect=None)), "no such effect"),
        (policy(statement(Principal="*")), "unknown in a statement"),
        (policy(statement(actions="s3:*")), "unknown in a statement"),
        ('{"Id":"x","Statement":[]}', "unknown in a policy"),
        (policy(statement(Sid="with space")), "not a Sid"),
        (policy(statement(Action=None)), "one of Action and NotAction"),
        (policy(statement(NotAction="s3:GetObject")), "one of Action and NotAction"),
        (policy(statement(Resource=None)), "one of Resource and NotResource"),
        (policy(statement(Action=[])), "one or more strings"),
        (policy(statement(Action=[1])), "one or more strings"),
        (policy(statement(Action="GetObject")), "not an action"),
        (policy(statement(Resource="bucket/a/*")), "not an ARN"),
        (policy(statement(Resource="arn:aws:${x}:::a")), "before the fifth colon"),
        (policy(statement(Resource="arn:aws:s3:::a/${aws:username")), "without its end"),
        (policy(on_condition("StringLike", "s3:prefix", "${x")), "without its end"),
        (policy(on_condition("StringSounds", "s3:prefix", "x")), "unknown operator"),
        (policy(on_condition("NumericEquals", "s3:max-keys", "1")), "unknown operator"),
        (policy(on_condition("NullIfExists", "s3:prefix", "true")), "unknown operator"),
        (policy(on_condition("ForAnyValue:Null", "s3:prefix", "true")), "unknown operator"),
        (policy(on_condition("ForSome:StringLike", "s3:prefix", "x")), "unknown operator"),
        (policy(on_condition("StringLike", "s3:prefix", [])), "one or more strings"),
        (policy(on_condition("Null", "s3:prefix", "maybe")), "Null is true or false"),
        (policy(statement(Condition=["x"])), "is an object"),
        ('{"Statement":{"Condition":{"StringLike":{"k:a":"1","K:A":"2"}}}}', "a key twice"),
    ],
)
def test_what_iam_would_refuse_is_refused(text: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        parse(text)


def test_a_multivalued_key_needs_a_set_operator() -> None:
    parsed = parse(policy(on_condition("StringLike", "k:tags", "a")))
    with pytest.raises(PolicyError, match="set operator"):
        parsed.decide(Request("s3:GetObject", OBJECT, {"k:tags": ("a", "b")}))


def test_a_statement_alone_needs_no_list() -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": statement()})
    assert parse(text).allows(Request("s3:GetObject", OBJECT))
