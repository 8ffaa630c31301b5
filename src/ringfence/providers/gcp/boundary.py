"""Credential Access Boundaries: the renderer from grants to Google's own language. No network.

A boundary has at most ten rules, each a bucket, some roles and a CEL condition; a token may do what
any rule allows (IAM, "Credential Access Boundaries"). The condition is what holds a prefix:

* an object is there as ``projects/_/buckets/B/objects/NAME``, and a folder of a bucket with
  hierarchical namespace as ``projects/_/buckets/B/folders/NAME/``; a bucket without has no folders,
  so that the clause for them lets nothing in there;
* a listing is asked for on the bucket, and what it asks for is the attribute
  ``storage.googleapis.com/objectListPrefix``, absent in every other request.

The roles are predefined ones, by what the documentation says they contain (Cloud Storage, "IAM
roles"). None of them reads what the rule's condition does not name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole
from ringfence.scope import Grant, Grants, Permission, Permissions

MAX_RULES: Final = 10
"""Most rules of one boundary (IAM, "Credential Access Boundaries", *Components*)."""

VIEWER: Final = "roles/storage.objectViewer"
"""objects.get and objects.list, and the same of folders."""
CREATOR: Final = "roles/storage.objectCreator"
"""objects.create and what a multipart upload needs. It replaces nothing: that is objects.delete."""
WRITER: Final = "roles/storage.legacyBucketWriter"
"""objects.create, objects.delete and objects.list, and no objects.get; nothing about folders."""
USER: Final = "roles/storage.objectUser"
"""Everything about objects and folders but ACLs, policies and locks."""

_R, _W, _D, _L = Permission.READ, Permission.WRITE, Permission.DELETE, Permission.LIST

_ROLES: Final[dict[Permissions, tuple[str, ...]]] = {
    frozenset({_R}): (VIEWER,),
    frozenset({_W}): (CREATOR,),
    frozenset({_R, _W}): (VIEWER, CREATOR),
    frozenset({_W, _D}): (WRITER, CREATOR),
    frozenset({_R, _W, _D}): (USER,),
}
"""The narrowest predefined roles for what may be done to objects. None deletes and cannot write."""

_LISTING: Final = frozenset({VIEWER, WRITER, USER})
"""Roles that may list, so that a rule with one of them needs no second one for listings."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what its roles contain is allowed in ``bucket`` where ``condition`` is true."""

    bucket: str
    roles: tuple[str, ...]
    condition: str

    def to_json(self) -> dict[str, Any]:
        """As the Security Token Service takes it, which is what google-auth would render."""
        return {
            "availablePermissions": [f"inRole:{role}" for role in self.roles],
            "availableResource": f"//storage.googleapis.com/projects/_/buckets/{self.bucket}",
            "availabilityCondition": {"expression": self.condition},
        }


@dataclass(frozen=True, slots=True)
class Boundary:
    """What one downscoped token may do, and the grants that it covers."""

    grants: Grants
    rules: tuple[Rule, ...]

    def to_json(self) -> dict[str, Any]:
        """The document, as the ``options`` of a token exchange hold it."""
        return {"accessBoundary": {"accessBoundaryRules": [rule.to_json() for rule in self.rules]}}

    @property
    def text(self) -> str:
        """The document for a person, and for a comparison byte by byte."""
        return json.dumps(self.to_json(), indent=2)


def split(grants: Grants, bucket: Callable[[BucketRole], str]) -> tuple[Boundary, ...]:
    """As few boundaries as hold the grants, in their order, each with ten rules at most.

    Args:
        bucket: the name of the bucket that plays a role.

    Raises:
        GrantNotEnforceable: no predefined role says exactly what a grant allows.
    """
    made: list[Boundary] = []
    held: list[Grant] = []
    rules: list[Rule] = []
    for grant in grants:
        own = tuple(_rules(grant, bucket(grant.bucket)))
        if len(rules) + len(own) > MAX_RULES:
            made.append(Boundary(tuple(held), tuple(rules)))
            held, rules = [], []
        held.append(grant)
        rules += own
    return (*made, Boundary(tuple(held), tuple(rules))) if held else tuple(made)


def _rules(grant: Grant, bucket: str) -> Iterator[Rule]:
    """The rules of one grant: one, or two where listing needs a role that could do more."""
    on_objects = grant.permissions - {_L}
    roles = _roles(grant, on_objects) if on_objects else ()
    objects = _about_objects(bucket, grant.prefix)
    listing = _about_listing(grant.prefix)
    if _L not in grant.permissions:
        yield Rule(bucket, roles, objects)
    elif _LISTING.intersection(roles):
        yield Rule(bucket, roles, f"{objects} || {listing}")
    else:
        if roles:
            yield Rule(bucket, roles, objects)
        yield Rule(bucket, (VIEWER,), listing)


def _roles(grant: Grant, on_objects: Permissions) -> tuple[str, ...]:
    if on_objects not in _ROLES:
        named = ", ".join(sorted(grant.permissions))
        raise GrantNotEnforceable(
            f"Google Cloud Storage has no predefined role that allows exactly {named}, which is "
            f"what the grant on {grant.area} says: nothing was issued.",
            hint="Every role that deletes objects writes them too: grant write along with delete.",
        )
    return _ROLES[on_objects]


def _about_objects(bucket: str, prefix: str) -> str:
    inside = f"projects/_/buckets/{bucket}"
    kinds = ("objects", "folders")
    return " || ".join(
        f"resource.name.startsWith({cel_text(f'{inside}/{kind}/{prefix}')})" for kind in kinds
    )


def _about_listing(prefix: str) -> str:
    attribute = "api.getAttribute('storage.googleapis.com/objectListPrefix', '')"
    return f"{attribute}.startsWith({cel_text(prefix)})"


def cel_text(text: str) -> str:
    """A string literal of CEL. The encoding of ids leaves nothing to escape; this trusts nobody.

    Raises:
        GrantNotEnforceable: a character that no key of ours holds, and that readers differ on.
    """
    if not text.isprintable():
        raise GrantNotEnforceable("A prefix or a bucket's name holds a control character.")
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
