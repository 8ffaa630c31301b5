"""A Credential Access Boundary as Google would read it: refused, or rules to ask."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import celpy
from celpy.adapter import json_to_cel
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError
from lark import Token, Tree

from tests.gcp.double.checks import Check
from tests.gcp.double.roles import ROLES

MAX_RULES: Final = 10
MAX_OPERATORS: Final = 12
LIST_PREFIX: Final = "storage.googleapis.com/objectListPrefix"

_RESOURCE: Final = re.compile(r"//storage\.googleapis\.com/projects/_/buckets/([a-z0-9._-]{3,222})")
_METHODS: Final = {"startsWith", "endsWith", "getAttribute"}
_NODES: Final = {
    *("expr", "conditionalor", "conditionaland", "relation", "relation_eq", "addition"),
    *("multiplication", "unary", "member", "member_dot", "member_dot_arg", "exprlist"),
    *("primary", "literal", "ident", "paren_expr"),
}
"""Of celpy's grammar: or, and, equality, methods, names, texts. No other construct is known."""

_RULE_KEYS: Final = {"availablePermissions", "availableResource", "availabilityCondition"}
_CONDITION_KEYS: Final = {"expression", "title", "description"}


class Rejected(Exception):
    """A token endpoint's refusal, by the codes of OAuth 2.0."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Rule:
    bucket: str
    permissions: frozenset[str]
    expression: str


@dataclass(frozen=True, slots=True)
class Need:
    """One permission that a request needs, on one resource. ``listing`` is the prefix it lists."""

    permission: str
    bucket: str
    resource: str
    listing: str | None = None


def parse(options: str, off: Collection[Check]) -> tuple[Rule, ...]:
    """The rules of an exchange's ``options``, which hold a URL-quoted document."""
    if Check.QUOTED_OPTIONS not in off and not options.startswith("%7B"):
        raise Rejected("invalid_request", "options are not URL-encoded")
    try:
        document = json.loads(unquote(options))
        rows = document["accessBoundary"]["accessBoundaryRules"]
        whole = set(document) == {"accessBoundary"} and len(document["accessBoundary"]) == 1
    except (ValueError, KeyError, TypeError):
        raise Rejected("invalid_request", "no access boundary in options") from None
    if not whole or not isinstance(rows, list) or not rows:
        raise Rejected("invalid_request", "the access boundary has no rules, or other fields")
    if len(rows) > MAX_RULES and Check.RULES not in off:
        raise Rejected("invalid_request", f"more than {MAX_RULES} rules")
    return tuple(_rule(row, off) for row in rows)


def _rule(row: Any, off: Collection[Check]) -> Rule:
    if not isinstance(row, dict) or set(row) != _RULE_KEYS:
        raise Rejected("invalid_request", "a rule has other fields, or lacks some")
    bucket = _RESOURCE.fullmatch(str(row["availableResource"]))
    if bucket is None:
        raise Rejected("invalid_request", "availableResource is no bucket")
    condition = row["availabilityCondition"]
    if not isinstance(condition, dict) or not set(condition) <= _CONDITION_KEYS:
        raise Rejected("invalid_request", "availabilityCondition has other fields")
    expression = str(condition.get("expression", ""))
    _check_expression(expression, off)
    return Rule(bucket[1], _permissions(row["availablePermissions"], off), expression)


def _permissions(names: Any, off: Collection[Check]) -> frozenset[str]:
    if not isinstance(names, list) or not names:
        raise Rejected("invalid_request", "a rule has no permissions")
    found: frozenset[str] = frozenset()
    for name in names:
        role = str(name).removeprefix("inRole:")
        if Check.KNOWN_ROLES not in off and (role == name or role not in ROLES):
            raise Rejected("invalid_request", f"{name} is no role")
        found |= ROLES.get(role, frozenset())
    return found


def _check_expression(expression: str, off: Collection[Check]) -> None:
    try:
        tree = celpy.Environment().compile(expression)
    except CELParseError:
        raise Rejected("invalid_request", "the condition is no CEL") from None
    operators = expression.count("||") + expression.count("&&")
    if operators > MAX_OPERATORS:
        raise Rejected("invalid_request", "the condition has too many logical operators")
    if Check.FUNCTIONS in off:
        return
    for node in tree.iter_subtrees():
        _check_node(node)


def _check_node(node: Tree[Any]) -> None:
    if node.data not in _NODES:
        raise Rejected("invalid_request", f"the condition uses {node.data}")
    if node.data == "member_dot_arg" and str(node.children[1]) not in _METHODS:
        raise Rejected("invalid_request", f"the condition calls {node.children[1]}")
    if len(node.children) > 1 and node.data in {"expr", "addition", "multiplication", "unary"}:
        raise Rejected("invalid_request", f"the condition uses {node.data}")
    for child in node.children:
        if isinstance(child, Token) and child.type == "STRING_LIT" and child[0] not in "'\"":
            raise Rejected("invalid_request", "the condition has a raw string")


def allows(rules: Collection[Rule], need: Need, off: Collection[Check]) -> bool:
    """Whether any rule gives what is needed."""
    return any(_applies(rule, need, off) for rule in rules)


def _applies(rule: Rule, need: Need, off: Collection[Check]) -> bool:
    if rule.bucket != need.bucket and Check.BUCKET not in off:
        return False
    if need.permission not in rule.permissions and Check.PERMISSION not in off:
        return False
    if Check.CONDITION in off:
        return True
    listing = need.listing
    if listing is not None and Check.LIST_PREFIX in off:
        return True
    return holds(rule.expression, need.resource, listing)


def _get_attribute(api: Mapping[Any, Any], name: Any, default: Any) -> Any:
    return api.get(name, default)


@lru_cache(maxsize=4096)
def _program(expression: str) -> celpy.Runner:
    environment = celpy.Environment()
    functions = {"getAttribute": _get_attribute}
    return environment.program(environment.compile(expression), functions=functions)


@lru_cache(maxsize=1 << 16)
def holds(expression: str, resource: str, listing: str | None) -> bool:
    """Whether a condition is true. One that fails is not."""
    attributes = {} if listing is None else {LIST_PREFIX: listing}
    context = {
        "resource": json_to_cel({"name": resource}),
        "api": json_to_cel(attributes),
    }
    try:
        return bool(_program(expression).evaluate(context))
    except CELEvalError:
        return False
