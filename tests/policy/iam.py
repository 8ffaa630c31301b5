"""An evaluator of IAM policies, written from the IAM User Guide and from nothing of Ringfence.

Its sources, by the names of their pages: *Grammar of the IAM JSON policy language*, *Policy
evaluation logic*, *IAM JSON policy elements* (*Action*, *Resource*, *Condition*, *Condition
operators*), *IAM policy elements: Variables and tags*, and *Creating a condition with multiple keys
or values*.

What it does not know, it refuses: an element, an operator or a form that is not here raises
:class:`PolicyError`, so that a policy is never judged by half of what it says. It evaluates
identity and session policies (no ``Principal``) and string conditions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Final

Values = tuple[str, ...]
Context = Mapping[str, str | Values]
"""The request's context keys. Names are compared without case; a tuple is a multivalued key."""

VARIABLES_SINCE: Final = "2012-10-17"
_VERSIONS: Final = ("2008-10-17", VARIABLES_SINCE)


class PolicyError(ValueError):
    """A policy that IAM would refuse, or that says what this evaluator does not know."""


class _Unresolved(Exception):
    """A variable without a value: the statement that holds it is invalid, so it does not apply."""


class Decision(Enum):
    """Default deny; an allow lifts it; an explicit deny wins over every allow."""

    IMPLICIT_DENY = "implicit deny"
    ALLOW = "allow"
    EXPLICIT_DENY = "explicit deny"


@dataclass(frozen=True, slots=True)
class Request:
    """One action on one resource, as a service asks IAM about it."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on one key. ``each`` is the set operator: ForAnyValue, ForAllValues or none."""

    operator: str
    each: str
    if_exists: bool
    key: str
    values: Values


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. ``not_actions`` and ``not_resources`` say that the lists are negated."""

    allow: bool
    actions: Values
    not_actions: bool
    resources: Values
    not_resources: bool
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy. ``case_insensitive`` compares resources and conditions as SeaweedFS does."""

    version: str
    statements: tuple[Statement, ...]
    case_insensitive: bool = False

    def decide(self, request: Request) -> Decision:
        """What this policy says of a request, all statements considered."""
        effects = {s.allow for s in self.statements if self._applies(s, request)}
        if False in effects:
            return Decision.EXPLICIT_DENY
        return Decision.ALLOW if True in effects else Decision.IMPLICIT_DENY

    def allows(self, request: Request) -> bool:
        """Whether the request is allowed."""
        return self.decide(request) is Decision.ALLOW

    def _applies(self, statement: Statement, request: Request) -> bool:
        if _any_action(statement.actions, request.action) is statement.not_actions:
            return False
        try:
            found = any(self._is_resource(each, request) for each in statement.resources)
            return found is not statement.not_resources and all(
                self._holds(condition, request.context) for condition in statement.conditions
            )
        except _Unresolved:
            return False

    def _is_resource(self, pattern: str, request: Request) -> bool:
        if pattern == "*":
            return True
        # Each of an ARN's segments is matched by itself; only the sixth may hold variables.
        wanted, found = _segments(pattern), _segments(request.resource)
        head = zip(wanted[:5], found[:5], strict=True)
        return (
            wanted[:5] == found[:5] or all(self._like(part, value, None) for part, value in head)
        ) and self._like(wanted[5], found[5], request.context)

    def _holds(self, condition: Condition, context: Context) -> bool:
        found = _values(context, condition.key)
        if condition.operator == "Null":
            return (found is None) is (condition.values[0].lower() == "true")
        if found is None and condition.if_exists:
            return True
        if condition.each:
            return self._holds_for_set(condition, found or (), context)
        if found is None:
            return _negated(condition.operator)
        if len(found) != 1:
            raise PolicyError(f"{condition.key} has many values: it needs a set operator")
        return self._compare(condition, found[0], context)

    def _holds_for_set(self, condition: Condition, found: Values, context: Context) -> bool:
        # An empty data set, such as an empty string: true for all of it, false for any of it.
        results = [self._compare(condition, value, context) for value in found if value]
        return all(results) if condition.each == "ForAllValues" else any(results)

    def _compare(self, condition: Condition, value: str, context: Context) -> bool:
        """Values are alternatives; a negated operator holds when none of them matches."""
        test = self._like if "Like" in condition.operator else self._equal
        fold = "IgnoreCase" in condition.operator
        if fold:
            value = value.casefold()
        wanted = (each.casefold() if fold else each for each in condition.values)
        return any(test(each, value, context) for each in wanted) is not _negated(
            condition.operator
        )

    def _equal(self, wanted: str, value: str, context: Context | None) -> bool:
        expanded = self._expanded(wanted, context)
        return self._fold("".join(text for text, _ in expanded)) == self._fold(value)

    def _like(self, pattern: str, value: str, context: Context | None) -> bool:
        expanded = self._expanded(pattern, context)
        return _glob(tuple((self._fold(t), wild) for t, wild in expanded), self._fold(value))

    def _expanded(self, text: str, context: Context | None) -> tuple[_Part, ...]:
        if self.version == VARIABLES_SINCE and context is not None and "${" in text:
            return _expand(text, context)
        return ((text, True),)

    def _fold(self, text: str) -> str:
        return text.casefold() if self.case_insensitive else text


_Part = tuple[str, bool]
"""A piece of a pattern, and whether ``*`` and ``?`` in it are wildcards."""

_VARIABLE: Final = re.compile(r"\$\{([^{}]*)\}")
_WITH_DEFAULT: Final = re.compile(r"(.+?), '(.*)'")
_FIXED: Final = ("*", "?", "$")


def _expand(text: str, context: Context) -> tuple[_Part, ...]:
    """The pattern with its variables replaced.

    What a variable stands for is literal: a ``*`` in a user's name matches a ``*``.
    """
    parts: list[_Part] = []
    end = 0
    for variable in _VARIABLE.finditer(text):
        parts.append((text[end : variable.start()], True))
        parts.append((_variable(variable[1], context), False))
        end = variable.end()
    parts.append((text[end:], True))
    return tuple(parts)


def _variable(name: str, context: Context) -> str:
    if name in _FIXED:
        return name
    default = _WITH_DEFAULT.fullmatch(name)
    found = _values(context, default[1] if default else name)
    if found is not None and len(found) == 1:
        return found[0]
    if default is None:
        raise _Unresolved(name)
    return default[2]


def _glob(parts: tuple[_Part, ...], value: str) -> bool:
    return _regex(parts).fullmatch(value) is not None


@lru_cache(maxsize=4096)
def _regex(parts: tuple[_Part, ...]) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    pieces = [
        wild.get(character, re.escape(character)) if is_pattern else re.escape(character)
        for text, is_pattern in parts
        for character in text
    ]
    return re.compile("".join(pieces), re.DOTALL)


@lru_cache(maxsize=4096)
def _any_action(patterns: Values, action: str) -> bool:
    return any(_glob(((pattern.lower(), True),), action.lower()) for pattern in patterns)


@lru_cache(maxsize=4096)
def _segments(arn: str) -> Values:
    segments = tuple(arn.split(":", 5))
    if len(segments) != 6 or segments[0] != "arn":
        raise PolicyError(f"not an ARN: {arn!r}")
    return segments


def _values(context: Context, key: str) -> Values | None:
    for name, value in context.items():
        if name.lower() == key.lower():
            return (value,) if isinstance(value, str) else value
    return None


def _negated(operator: str) -> bool:
    return operator.startswith("StringNot")


# Parsing ---------------------------------------------------------------------------------------

_OPERATORS: Final = frozenset(
    {
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
        "Null",
    }
)
_OPERATOR: Final = re.compile(r"(?:(ForAnyValue|ForAllValues):)?([A-Za-z]+?)(IfExists)?")
_ELEMENTS: Final = frozenset(
    {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
_SID: Final = re.compile(r"[A-Za-z0-9]*")


def parse(text: str, *, case_insensitive: bool = False) -> Policy:
    """Parses an identity or session policy.

    Raises:
        PolicyError: it is no JSON, has a key twice, or says what is not known here.
    """
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates)
    except json.JSONDecodeError as error:
        raise PolicyError(f"not JSON: {error}") from None
    policy = _object(document, "policy", {"Version", "Statement"})
    version = policy.get("Version", _VERSIONS[0])
    if version not in _VERSIONS:
        raise PolicyError(f"no such version: {version!r}")
    statements = policy.get("Statement")
    listed = statements if isinstance(statements, list) else [statements]
    if not listed:
        raise PolicyError("no statement")
    parsed = tuple(_statement(each, variables=version == VARIABLES_SINCE) for each in listed)
    return Policy(str(version), parsed, case_insensitive)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key.lower() for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise PolicyError(f"a key twice: {sorted(keys)}")
    return dict(pairs)


def _object(value: object, what: str, known: Iterable[str] | None = None) -> dict[str, object]:
    if not isinstance(value, dict):
        raise PolicyError(f"a {what} is an object, not {value!r}")
    unknown = set(value) - set(value if known is None else known)
    if unknown:
        raise PolicyError(f"unknown in a {what}: {sorted(unknown)}")
    return value


def _statement(value: object, *, variables: bool) -> Statement:
    body = _object(value, "statement", _ELEMENTS)
    effect = body.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError(f"no such effect: {effect!r}")
    if not _SID.fullmatch(str(body.get("Sid", ""))):
        raise PolicyError(f"not a Sid: {body['Sid']!r}")
    actions, not_actions = _either(body, "Action", "NotAction")
    resources, not_resources = _either(body, "Resource", "NotResource")
    for action in actions:
        _check_action(action)
    for resource in resources:
        _check_resource(resource, variables=variables)
    conditions = tuple(_conditions(body.get("Condition"), variables=variables))
    return Statement(effect == "Allow", actions, not_actions, resources, not_resources, conditions)


def _either(body: dict[str, object], plain: str, negated: str) -> tuple[Values, bool]:
    if (plain in body) is (negated in body):
        raise PolicyError(f"one of {plain} and {negated} is needed")
    name = plain if plain in body else negated
    return _strings(body[name], name), name == negated


def _strings(value: object, what: str) -> Values:
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(each, str) for each in listed):
        raise PolicyError(f"{what} is one or more strings, not {value!r}")
    return tuple(listed)


def _check_action(action: str) -> None:
    service, colon, name = action.partition(":")
    if action != "*" and not (colon and name and service.isalnum()):
        raise PolicyError(f"not an action: {action!r}")


def _check_resource(resource: str, *, variables: bool) -> None:
    if resource == "*":
        return
    segments = _segments(resource)
    if variables:
        if any("${" in segment for segment in segments[:5]):
            raise PolicyError(f"a variable before the fifth colon: {resource!r}")
        _check_variables(resource)


def _check_variables(text: str) -> None:
    if text.count("${") != len(_VARIABLE.findall(text)):
        raise PolicyError(f"a variable without its end: {text!r}")


def _conditions(value: object, *, variables: bool) -> Iterable[Condition]:
    if value is None:
        return
    for written, keys in _object(value, "condition").items():
        match = _OPERATOR.fullmatch(written)
        if match is None or match[2] not in _OPERATORS:
            raise PolicyError(f"unknown operator: {written!r}")
        each, operator, if_exists = match[1] or "", match[2], match[3] is not None
        if operator == "Null" and (each or if_exists):
            raise PolicyError(f"unknown operator: {written!r}")
        for key, wanted in _object(keys, "condition").items():
            values = _condition_values(operator, wanted)
            if variables and operator != "Null":
                for text in values:
                    _check_variables(text)
            yield Condition(operator, each, if_exists, key, values)


def _condition_values(operator: str, value: object) -> Values:
    listed = value if isinstance(value, list) else [value]
    written = [str(each).lower() if isinstance(each, bool) else each for each in listed]
    values = _strings([str(each) if isinstance(each, int) else each for each in written], operator)
    if operator == "Null" and values not in (("true",), ("false",)):
        raise PolicyError(f"Null is true or false, not {value!r}")
    return values
