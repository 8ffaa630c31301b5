"""The fence as grants say it, beside the fence as policies say it: where do they differ?

The grants' side is written in the words of DESIGN (read, write, delete, list of a prefix in a
bucket); the policies' side asks the evaluator what each call of the S3 API would ask of IAM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ringfence.layout import BucketRole, IdCase
from ringfence.scope import AccessMode, Grants, Permission, Scope, grants
from tests.policy.iam import Request, parse
from tests.policy.ids import BucketNames, neighbours
from tests.policy.s3 import COPIES, ON_BUCKET, ON_OBJECT, Call, Op, Place, requests

MEANS: Final = {
    Op.GET_OBJECT: Permission.READ,
    Op.HEAD_OBJECT: Permission.READ,
    Op.PUT_OBJECT: Permission.WRITE,
    Op.COPY_OBJECT: Permission.WRITE,
    Op.CREATE_MULTIPART_UPLOAD: Permission.WRITE,
    Op.UPLOAD_PART: Permission.WRITE,
    Op.UPLOAD_PART_COPY: Permission.WRITE,
    Op.COMPLETE_MULTIPART_UPLOAD: Permission.WRITE,
    Op.ABORT_MULTIPART_UPLOAD: Permission.WRITE,
    Op.LIST_PARTS: Permission.WRITE,
    Op.DELETE_OBJECT: Permission.DELETE,
    Op.DELETE_OBJECTS: Permission.DELETE,
    Op.LIST_OBJECTS: Permission.LIST,
    Op.LIST_OBJECTS_V2: Permission.LIST,
}
"""What a grant's permission lets one do. What is not here, no grant allows."""


def granted(grants: Grants, buckets: BucketNames, call: Call, *, fold: bool = False) -> bool:
    """Whether the grants allow the call. ``fold``: as an engine that compares without case."""

    def may(permission: Permission, place: Place) -> bool:
        key = place.key
        return key is not None and any(
            permission in grant.permissions
            and _same(buckets[grant.bucket], place.bucket, fold)
            and _starts(key, grant.prefix, fold)
            for grant in grants
        )

    need = MEANS.get(call.op)
    if need is None or not may(need, call.place):
        return False
    return call.source is None or may(Permission.READ, call.source)


def _same(left: str, right: str, fold: bool) -> bool:
    return left.casefold() == right.casefold() if fold else left == right


def _starts(key: str, prefix: str, fold: bool) -> bool:
    return key.casefold().startswith(prefix.casefold()) if fold else key.startswith(prefix)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the grants say of a call, and what the call asks of IAM."""

    call: Call
    meant: bool
    requests: tuple[Request, ...]


def verdicts(
    wanted: Grants,
    buckets: BucketNames,
    calls: Iterable[Call],
    *,
    fold: bool = False,
    partition: str = "aws",
) -> list[Verdict]:
    """The verdict of each call. Equal requests are one object, so that each is judged once."""
    interned: dict[tuple[object, ...], Request] = {}

    def asked(call: Call) -> Iterator[Request]:
        for request in requests(call, partition=partition):
            key = (request.action, request.resource, *request.context.items())
            yield interned.setdefault(key, request)

    return [
        Verdict(call, granted(wanted, buckets, call, fold=fold), tuple(asked(call)))
        for call in calls
    ]


def disagreements(
    texts: Iterable[str], meant: Iterable[Verdict], *, fold: bool = False
) -> Iterator[str]:
    """Each call on which the policies disagree with the verdict.

    The policies are credentials that one caller holds: a request is allowed when one allows it.
    """
    policies = [parse(text, case_insensitive=fold) for text in texts]
    known: dict[int, bool] = {}

    def allows(request: Request) -> bool:
        answer = known.get(id(request))
        if answer is None:
            answer = known[id(request)] = any(policy.allows(request) for policy in policies)
        return answer

    for verdict in meant:
        if all(map(allows, verdict.requests)) is not verdict.meant:
            yield f"{'FALSE REFUSAL' if verdict.meant else 'LEAK'}: {verdict.call}"


def differences(
    texts: Iterable[str],
    wanted: Grants,
    buckets: BucketNames,
    calls: Iterable[Call],
    *,
    fold: bool = False,
    partition: str = "aws",
) -> list[str]:
    """Where the policies and the grants disagree. Empty when they are the same fence.

    ``fold`` compares both sides without case.
    """
    meant = verdicts(wanted, buckets, calls, fold=fold, partition=partition)
    return list(disagreements(texts, meant, fold=fold))


# Probes ----------------------------------------------------------------------------------------

_ROOTS: Final = (
    "",
    "/",
    "apps",
    "apps/",
    "users/",
    "tmp/",
    "tmp/user/",
    "runs/",
    "execution",
    "execution/",
    "execution/layout.json",
    "execution/runs/x",
    "x",
    "*",
)


def probe_calls(
    scope: Scope, case: IdCase, buckets: BucketNames, others: Sequence[Scope] = ()
) -> Iterator[Call]:
    """Every operation on the scope's own places, on its neighbours' and on what lies around them.

    ``others`` are further scopes whose places are tried, besides the neighbours of every id.
    """
    prefixes = _prefixes(scope, case)
    keys = [*probe_keys(prefixes), *_raw_keys(scope)]
    for other in (*neighbour_scopes(scope), *others):
        keys += (f"{prefix}x" for prefix in _prefixes(other, case))
    own = [Place(bucket, f"{p}x") for bucket in buckets.values() for p in prefixes]
    foreign = [Place(bucket, f"{p}x") for bucket in _foreign(buckets) for p in prefixes]
    places = [Place(b, key) for b in buckets.values() for key in dict.fromkeys(keys)]
    yield from _plain([*own, *foreign], _SINGLE)
    yield from _never_granted(own, buckets)
    yield from _plain(places, _DISTINCT)
    yield from _copies(own, [*foreign, *places])


def layout_calls(scope: Scope, case: IdCase, buckets: BucketNames) -> Iterator[Call]:
    """Every operation on keys as the layout makes them: the scope's and its neighbours'."""
    for each in (scope, *neighbour_scopes(scope)):
        places = [Place(b, f"{p}x") for b in buckets.values() for p in _prefixes(each, case)]
        yield from _plain(places, _SINGLE)


def probe_keys(prefixes: Iterable[str]) -> Iterator[str]:
    """Keys in, at, beside and above each prefix."""
    yield from _ROOTS
    for prefix in prefixes:
        bare = prefix[:-1]
        yield from (f"{prefix}x", f"{prefix}a/b", f"{prefix}\u00e9\n*${{x}}\"'\\", f"{prefix}../x")
        yield from (prefix, f"{prefix}/", bare, f"{bare}0", f"{bare}0/x", f"{bare}.", f"{bare}%2F")
        yield from (f"/{prefix}x", f"{prefix.upper()}x", f"x{prefix}x", prefix[: len(prefix) // 2])


def neighbour_scopes(scope: Scope) -> Iterator[Scope]:
    """The scope with one id replaced by each of its neighbours."""
    for app in neighbours(scope.app_id):
        yield replace(scope, app_id=app)
    for user in neighbours(scope.user_id):
        yield replace(scope, user_id=user)
    for run in neighbours(scope.run_id) if scope.run_id else ("run",):
        yield replace(scope, run_id=run)
    yield replace(scope, app_id=scope.user_id, user_id=scope.app_id)


def _prefixes(scope: Scope, case: IdCase) -> list[str]:
    """The prefix of every area, whatever the mode grants of it."""
    every = (replace(scope, mode=mode) for mode in AccessMode)
    return list(dict.fromkeys(grant.prefix for each in every for grant in grants(each, case)))


def _raw_keys(scope: Scope) -> Iterator[str]:
    yield f"apps/{scope.app_id}/x"
    yield f"users/{scope.user_id}/apps/{scope.app_id}/x"
    yield f"runs/{scope.app_id}/{scope.run_id}/x"


def _foreign(buckets: BucketNames) -> list[str]:
    """Names around ours that are not ours."""
    near = (alike for name in buckets.values() for alike in (f"{name}-x", f"x{name}", name[:-1]))
    return [name for name in dict.fromkeys(near) if name not in buckets.values()]


_SINGLE: Final = tuple(op for op in MEANS if op not in COPIES)


def _asks_for(op: Op) -> tuple[object, ...]:
    return (MEANS[op], *(request.action for request in requests(Call(op, Place("b", "k")))))


_DISTINCT: Final = tuple({_asks_for(op): op for op in _SINGLE}.values())
"""One of the operations that ask IAM for the same and mean the same, as GET and HEAD do: where one
of them is right, so are the others."""


def _plain(places: Sequence[Place], operations: Iterable[Op]) -> Iterator[Call]:
    operations = tuple(operations)
    for place in places:
        yield from (Call(op, place) for op in operations)
    for bucket in dict.fromkeys(place.bucket for place in places):
        yield Call(Op.LIST_OBJECTS, Place(bucket))
        yield Call(Op.LIST_OBJECTS_V2, Place(bucket))


def _never_granted(own: Sequence[Place], buckets: BucketNames) -> Iterator[Call]:
    """What no grant allows, tried where a grant is likeliest to: on the scope's own places."""
    for place in own:
        yield from (Call(op, place) for op in ON_OBJECT | ON_BUCKET if op not in MEANS)
    yield from (Call(op, Place(b)) for op in ON_BUCKET for b in buckets.values())
    yield Call(Op.LIST_BUCKETS, Place(buckets[BucketRole.CONTENT]))


def _copies(own: Sequence[Place], places: Sequence[Place]) -> Iterator[Call]:
    """Between the scope's own places both ways, and between them and every thirteenth other."""
    for op in COPIES:
        yield from (Call(op, to, source) for to in own for source in own)
        for inside in own[:: max(1, len(own) // 5)]:
            yield from (Call(op, inside, outside) for outside in places[::13])
            yield from (Call(op, outside, inside) for outside in places[::13])
