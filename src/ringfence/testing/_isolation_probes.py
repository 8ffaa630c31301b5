"""Which probes there are, and what each is to meet: by the table of modes, never by a policy."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

from ringfence.errors import InvalidId
from ringfence.layout import EXECUTION_PREFIX, LAYOUT_KEY, BucketRole, IdCase, encode_id
from ringfence.layout import run_record_key as record_key
from ringfence.scope import AccessMode, Area, Grant, Grants, Permission, Scope, grants
from ringfence.testing._isolation_model import (
    COPIES,
    LISTINGS,
    NEEDS,
    READS_OTHER,
    WRITES_OTHER,
    Expected,
    Operation,
    Place,
    Probe,
)

BASIC: Final = (Operation.GET, Operation.PUT, Operation.LIST)
"""What is tried at every place. The nearest ones are tried with everything."""

BESIDE: Final = (*BASIC, Operation.DELETE, Operation.COPY_FROM)
ACROSS: Final = (Operation.GET, Operation.PUT, Operation.COPY_FROM)

_OWN: Final = "own"
_LONGER: Final = "longer"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A scope whose places lie close by. ``near`` ones are tried with every operation."""

    kind: str
    scope: Scope
    near: bool = False


def neighbours_of(scope: Scope) -> tuple[Neighbour, ...]:
    """The scopes that a fence with a flaw would let in first: one id of ``scope`` made another."""
    exchanged = replace(scope, app_id=scope.user_id, user_id=scope.app_id)
    return (
        *_neighbours("app", scope.app_id, lambda raw: replace(scope, app_id=raw)),
        *_neighbours("user", scope.user_id, lambda raw: replace(scope, user_id=raw), few=True),
        *_neighbours(
            "run", scope.run_id or "run1", lambda raw: replace(scope, run_id=raw), few=True
        ),
        Neighbour("app and user exchanged", exchanged),
    )


def _neighbours(
    what: str, raw: str, make: Callable[[str], Scope], *, few: bool = False
) -> Iterator[Neighbour]:
    seen = {raw}
    near = tuple(_near(raw))
    for kind, other in (*near, *_far(raw), *(() if few else _farther(raw))):
        if other not in seen and _encodable(other):
            seen.add(other)
            yield Neighbour(f"{what}, {kind}", make(other), (kind, other) in near)


def _near(raw: str) -> Iterator[tuple[str, str]]:
    yield _LONGER, f"{raw}0"
    yield "shorter", raw[:-1]
    yield "other case", raw.swapcase()


def _far(raw: str) -> Iterator[tuple[str, str]]:
    yield "trailing dot", f"{raw}."
    yield "below", f"{raw}/x"
    yield "encoded slash", f"{raw}%2F"
    yield "wildcard behind", f"{raw}*"
    yield "variable", "${aws:username}"
    yield "parent", ".."
    yield "quotes", f"{raw}\"'"
    yield "Unicode", f"{raw}\u00e9"


def _farther(raw: str) -> Iterator[tuple[str, str]]:
    yield "capital", raw.capitalize()
    yield "longer before", f"x{raw}"
    yield "trailing slash", f"{raw}/"
    yield "percent-encoded", "".join(f"%{byte:02x}" for byte in raw.encode())
    yield "wildcard", "*"
    yield "any character", f"{raw[:-1]}?"
    yield "dot", "."
    yield "down from the parent", f"../{raw}"
    yield "quoted JSON", '","s3:*"],"x":["'
    yield "backslash", f"{raw}\\"
    yield "blank", f"{raw} "
    yield "line break", f"{raw}\n"
    yield "NUL", f"{raw}\x00"
    yield "Unicode, taken apart", f"{raw}e\u0301"
    # Folds to "k" and "s" where case is folded by Unicode's rules.
    yield "Kelvin and long s", f"{raw}\u212a\u017f"
    yield "full width", "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in raw)


def _encodable(raw: str) -> bool:
    try:
        encode_id(raw, IdCase.FOLDED)  # never the shorter one of the two encodings
    except InvalidId:
        return False
    return True


def may(held: Grants, permission: Permission, place: Place) -> bool:
    """Whether the grants give a permission at a place."""
    return any(
        grant.bucket is place.bucket
        and permission in grant.permissions
        and place.key.startswith(grant.prefix)
        for grant in held
    )


def areas(scope: Scope, case: IdCase) -> dict[Area, Grant]:
    """Every area of a scope, whatever its mode reaches."""
    modes = (AccessMode.INVOKE_WRITE, AccessMode.EDIT_APP)
    return {g.area: g for mode in modes for g in grants(replace(scope, mode=mode), case)}


@dataclass(frozen=True, slots=True)
class _Target:
    """A place before it has a key: where, whose, which operations, and what to call the object."""

    bucket: BucketRole
    kind: str
    operations: tuple[Operation, ...]
    prefix: str = ""
    key: str | None = None
    area: Area | None = None
    odd: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Makes the probes of one credential. See :func:`ringfence.testing.isolation.probes`."""

    scope: Scope
    neighbours: tuple[Neighbour, ...]
    case: IdCase
    held: Grants
    coarse: frozenset[Area]
    thorough: bool

    def probes(self) -> Iterator[Probe]:
        """Each pair of operation and place once."""
        seen: set[tuple[Operation, Place]] = set()
        for target in self._targets():
            for operation in target.operations:
                probe = self._probe(target, operation)
                if probe is not None and (operation, probe.place) not in seen:
                    seen.add((operation, probe.place))
                    yield probe

    # --- places ------------------------------------------------------------------------------

    def _targets(self) -> Iterator[_Target]:
        own = areas(self.scope, self.case)
        for grant in own.values():
            yield _Target(grant.bucket, _OWN, tuple(Operation), grant.prefix, area=grant.area)
            yield from self._beside(grant)
        yield from self._of_neighbours(own)
        yield from self._of_the_installation()

    def _of_neighbours(self, own: dict[Area, Grant]) -> Iterator[_Target]:
        for neighbour in self.neighbours:
            operations = tuple(Operation) if neighbour.near or self.thorough else BASIC
            for grant in areas(neighbour.scope, self.case).values():
                if grant.prefix != own[grant.area].prefix:
                    kind, prefix = neighbour.kind, grant.prefix
                    yield _Target(grant.bucket, kind, operations, prefix, area=grant.area)
                    if neighbour.kind.endswith(_LONGER):
                        yield from self._across(own[grant.area], grant)

    def _beside(self, grant: Grant) -> Iterator[_Target]:
        """Keys in, at, above and next to an own prefix."""
        bucket, prefix, bare = grant.bucket, grant.prefix, grant.prefix[:-1]
        lists = tuple(op for op in Operation if op in LISTINGS)
        deeper = {"below": f"{prefix}deeper/", "below, without the slash": f"{prefix}deep"}
        for kind, key in deeper.items():
            yield _Target(bucket, f"{_OWN}, {kind}", lists, prefix, key, grant.area)
        beside = {
            "without the slash": bare,
            "a dot in place of the slash": f"{bare}.",
            "an encoded slash": f"{bare}%2F",
            "an encoded slash and more": f"{bare}%2Fx",
            "the folder above": f"{posixpath.dirname(bare)}/",
            "half of the prefix": prefix[: len(prefix) // 2],
            "behind another folder": f"x/{prefix}x",
        }
        for kind, key in beside.items():
            yield _Target(bucket, f"beside {grant.area}: {kind}", BESIDE, key=key)
        odd = {"a dot": f"{prefix}./x", "two slashes": f"{prefix}/x", "dots": f"{prefix}.."}
        for kind, key in odd.items():
            yield _Target(bucket, f"odd key: {kind}", BESIDE, key=key, odd=True)
        # No folded id encodes to it, so an engine that ignores case gives away nothing there.
        nobodys = self.case is IdCase.FOLDED
        capitals = f"{prefix.upper()}x"
        kind = f"beside {grant.area}: in capitals"
        yield _Target(bucket, kind, BESIDE, key=capitals, odd=nobodys)
        for other in BucketRole:
            if other is not bucket:
                kind = f"{grant.area}'s prefix in another bucket"
                yield _Target(other, kind, BESIDE, prefix)

    def _across(self, own: Grant, other: Grant) -> Iterator[_Target]:
        """From an own prefix by ``..`` to the neighbour's object: in words of this cloud, a key."""
        way = posixpath.relpath(f"{other.prefix}{_CANARY}", own.prefix)
        ways = {"dots": way, "backslashes": way.replace("/", "\\")}
        for kind, path in ways.items():
            key, what = f"{own.prefix}{path}", f"odd key: {kind} to a neighbour"
            yield _Target(own.bucket, what, ACROSS, key=key, odd=True)

    def _of_the_installation(self) -> Iterator[_Target]:
        lists = tuple(op for op in Operation if op in LISTINGS)
        app = encode_id(self.scope.app_id, self.case)
        run = encode_id(self.scope.run_id or "run1", self.case)
        state = (
            LAYOUT_KEY,
            record_key(run),
            f"{EXECUTION_PREFIX}apps/{app}/runs/x",
            f"{EXECUTION_PREFIX}x",
        )
        for key in state:
            for role in BucketRole:
                whole = role is BucketRole.META and key in state[:2]
                operations = tuple(Operation) if whole else BASIC
                yield _Target(role, "execution state", operations, key=key)
        for key in (EXECUTION_PREFIX, EXECUTION_PREFIX[:-1], "", "/", "a", "apps", "users/", "*"):
            for role in BucketRole:
                yield _Target(role, "the bucket's root", lists, key=key)

    # --- probes ------------------------------------------------------------------------------

    def _probe(self, target: _Target, operation: Operation) -> Probe | None:
        allowed = may(self.held, NEEDS[operation], Place(target.bucket, target.prefix))
        key = target.key
        if key is None:
            key = target.prefix + _name(operation, shared=not (allowed or target.kind == _OWN))
        if not key and operation not in LISTINGS:
            return None
        place = Place(target.bucket, key)
        other = self._other(operation, place)
        return Probe(
            self.scope.mode,
            operation,
            target.area,
            target.kind,
            target.bucket,
            key,
            self._expected(operation, place, other, target),
            target.prefix,
            other,
        )

    def _expected(
        self, operation: Operation, place: Place, other: Place | None, target: _Target
    ) -> Expected:
        needed = [(NEEDS[operation], place)]
        if other is not None and operation in COPIES:
            needed.append((_far_need(operation), other))
        if target.odd:
            return Expected.HARMLESS
        if all(may(self.held, *need) for need in needed):
            return Expected.ALLOWED
        if target.kind == _OWN and target.area in self.coarse:
            return Expected.HARMLESS
        return Expected.REFUSED

    def _other(self, operation: Operation, place: Place) -> Place | None:
        # One for each probe where it is written or deleted, so that each shows what it did. The
        # copies of parts go to one upload.
        own = blake2b(str(place).encode(), digest_size=8).hexdigest()
        if operation in COPIES:
            grant = self._home(_far_need(operation))
            name = {Operation.COPY_FROM: f"sink/{own}", Operation.PART_COPY_FROM: "parts"}
            return Place(grant.bucket, f"{grant.prefix}{name.get(operation, 'source')}")
        if operation is Operation.DELETE_MANY:
            grant = self._home(Permission.DELETE, place.bucket)
            return Place(grant.bucket, f"{grant.prefix}along/{own}")
        return None

    def _home(self, permission: Permission, bucket: BucketRole | None = None) -> Grant:
        """An own area with that permission, or failing that any."""
        every = (*self.held, *areas(self.scope, self.case).values())
        here = [grant for grant in every if bucket in {None, grant.bucket}]
        return next((grant for grant in here if permission in grant.permissions), here[0])


def _far_need(operation: Operation) -> Permission:
    return Permission.READ if operation in READS_OTHER else Permission.WRITE


_CANARY: Final = "canary"
_ABSENT: Final = "absent"


def _name(operation: Operation, *, shared: bool) -> str:
    """The object's name: shared where nothing may happen to it, else one for each operation."""
    if operation in LISTINGS:
        return ""
    if operation is Operation.PUT_IF_ABSENT:
        return _ABSENT
    return _CANARY if shared else operation.value.replace(" ", "-")


def planted(probe: Probe) -> Iterable[Place]:
    """The places where something is to lie before a probe: its own, and the far end of a copy."""
    if probe.operation in LISTINGS:
        if probe.expected is Expected.ALLOWED:
            yield Place(probe.bucket, f"{probe.prefix}deeper/object")
    elif probe.operation is not Operation.PUT_IF_ABSENT and probe.expected is not Expected.HARMLESS:
        yield probe.place
    if probe.other is not None and probe.operation not in WRITES_OTHER:
        yield probe.other
