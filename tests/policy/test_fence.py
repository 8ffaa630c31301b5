"""The algebra of the fence: encoded ids never meet, no scope's prefix lies in another's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import strategies as st

from ringfence.layout import EXECUTION_PREFIX, MAX_ID_BYTES, IdCase, encode_id
from ringfence.scope import AccessMode, Area, Grant, Scope, grants
from tests.policy.effort import effort, hold
from tests.policy.ids import HOSTILE, encodable, ids, neighbour_of, neighbours

EVERY_AREA = (AccessMode.INVOKE_WRITE, AccessMode.EDIT_APP)
"""Two modes that between them grant something in each of the five areas."""

cases = st.sampled_from(IdCase)
runs = st.one_of(st.none(), ids)


def decoded(segment: str) -> str:
    return unquote_to_bytes(segment).decode()


def places(scope: Scope, case: IdCase) -> Iterator[Grant]:
    for mode in EVERY_AREA:
        yield from grants(replace(scope, mode=mode), case)


def nested(left: str, right: str) -> bool:
    return left.startswith(right) or right.startswith(left)


@effort(quick=300, soak=5_000)
def test_encoding_has_an_inverse_so_it_is_injective(examples: int) -> None:
    def holds(raw: str) -> None:
        for case in IdCase:
            assert decoded(encode_id(raw, case)) == raw

    hold(examples, holds, ids)


@effort(quick=300, soak=5_000)
def test_folded_encoding_has_an_inverse_even_once_case_is_gone(examples: int) -> None:
    def holds(raw: str) -> None:
        folded = encode_id(raw, IdCase.FOLDED)
        for gone in (folded.casefold(), folded.lower(), folded.upper().lower()):
            assert decoded(gone) == raw

    hold(examples, holds, ids)


def test_exact_encoding_loses_an_id_once_case_is_gone() -> None:
    # Why the folded encoding is there, and that the property above can fail.
    assert decoded(encode_id("App1", IdCase.EXACT).lower()) != "App1"


@pytest.mark.parametrize("case", IdCase)
@pytest.mark.parametrize("raw", HOSTILE)
def test_an_encoded_id_is_one_harmless_segment(raw: str, case: IdCase) -> None:
    if not encodable(raw, case):
        pytest.skip("too long once encoded")
    encoded = encode_id(raw, case)
    assert not set(encoded) & set("/*?${}\"'\\ ~|`^<>#[]")
    assert encoded.isascii()
    assert encoded.isprintable()
    assert encoded not in {".", ".."}
    assert not encoded.endswith(".")
    assert 0 < len(encoded) <= MAX_ID_BYTES


@pytest.mark.parametrize("case", IdCase)
@pytest.mark.parametrize("raw", [raw for raw in HOSTILE if encodable(raw)])
def test_neighbours_encode_apart(raw: str, case: IdCase) -> None:
    near = [raw, *neighbours(raw)]
    encoded = [encode_id(each, case) for each in near]
    assert len(set(encoded)) == len(near)
    if case is IdCase.FOLDED:
        assert len({each.casefold() for each in encoded}) == len(near)


@effort(quick=100, soak=2_000)
def test_a_prefix_says_its_area_and_its_ids(examples: int) -> None:
    """So two scopes share a prefix only where they share the ids that it is made of."""

    def holds(app: str, user: str, run: str | None, case: IdCase) -> None:
        for grant in places(Scope(app, user, run), case):
            *segments, last = grant.prefix.split("/")
            assert last == ""
            assert all(segments)
            expected = {
                Area.META: ["apps", app],
                Area.APP: ["apps", app],
                Area.USER: ["users", user, "apps", app],
                Area.TMP: ["tmp", "user", user, "apps", app],
                Area.LOGS: ["runs", app, *([] if run is None else [run])],
            }[grant.area]
            assert [decoded(segment) for segment in segments] == expected

    hold(examples, holds, ids, ids, runs, cases)


@effort(quick=120, soak=3_000)
def test_scopes_of_two_apps_never_nest(examples: int) -> None:
    def holds(app: str, user: str, run: str | None, case: IdCase, data: st.DataObject) -> None:
        other_app = data.draw(neighbour_of(app), label="other app")
        other_user = data.draw(st.one_of(st.just(user), st.just(app), ids), label="other user")
        other_run = data.draw(st.one_of(st.just(run), runs), label="other run")
        mine = places(Scope(app, user, run), case)
        theirs = list(places(Scope(other_app, other_user, other_run), case))
        for own in mine:
            for other in theirs:
                _assert_apart(own, other, case)

    hold(examples, holds, ids, ids, runs, cases, st.data())


@effort(quick=100, soak=2_000)
def test_two_users_of_an_app_never_nest_where_it_is_theirs(examples: int) -> None:
    def holds(app: str, user: str, run: str | None, case: IdCase, data: st.DataObject) -> None:
        other = data.draw(neighbour_of(user), label="other user")
        for own in places(Scope(app, user, run), case):
            for their in places(Scope(app, other, run), case):
                if {own.area, their.area} & {Area.USER, Area.TMP}:
                    _assert_apart(own, their, case)

    hold(examples, holds, ids, ids, runs, cases, st.data())


@effort(quick=100, soak=2_000)
def test_logs_of_two_runs_never_nest(examples: int) -> None:
    def holds(app: str, user: str, run: str, case: IdCase, data: st.DataObject) -> None:
        other = data.draw(neighbour_of(run), label="other run")
        for own in places(Scope(app, user, run), case):
            for their in places(Scope(app, user, other), case):
                if Area.LOGS in {own.area, their.area}:
                    _assert_apart(own, their, case)

    hold(examples, holds, ids, ids, ids, cases, st.data())


@effort(quick=100, soak=1_000)
def test_areas_of_one_scope_never_nest_nor_reach_the_execution_state(examples: int) -> None:
    def holds(app: str, user: str, run: str | None, case: IdCase) -> None:
        own = list(places(Scope(app, user, run), case))
        for grant in own:
            assert not nested(grant.prefix.casefold(), EXECUTION_PREFIX.casefold())
            for other in own:
                if (grant.bucket, grant.area) != (other.bucket, other.area):
                    alike = {grant.area, other.area} == {Area.META, Area.APP}
                    assert nested(grant.prefix, other.prefix) is alike

    hold(examples, holds, ids, ids, runs, cases)


def _assert_apart(own: Grant, other: Grant, case: IdCase) -> None:
    """In whatever bucket they are; and for folded ids where case is ignored too."""
    assert not nested(own.prefix, other.prefix)
    if case is IdCase.FOLDED:
        assert not nested(own.prefix.casefold(), other.prefix.casefold())
        assert not nested(own.prefix.lower(), other.prefix.lower())
