"""What a URL may be made for: what the grant says, at keys below its prefix, for a bounded time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.errors import AccessDenied, RingfenceError, UsageError
from ringfence.presigning import NEEDS, check_url
from ringfence.providers.base import Method
from ringfence.scope import AccessMode, Grant, Scope, grants

LONGEST = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
GRANTS = [
    grant for mode in AccessMode for grant in grants(Scope("app1", "user", "run1", mode=mode))
]


@pytest.mark.parametrize(
    "grant", GRANTS, ids=lambda g: f"{g.area}-{'+'.join(sorted(g.permissions))}"
)
@pytest.mark.parametrize("method", NEEDS)
def test_a_url_needs_the_permission_of_its_method(grant: Grant, method: Method) -> None:
    if NEEDS[method] in grant.permissions:
        assert check_url(grant, "a/b.txt", method, MINUTE, LONGEST) == method
    else:
        with pytest.raises(AccessDenied, match=f"does not allow to {NEEDS[method]}"):
            check_url(grant, "a/b.txt", method, MINUTE, LONGEST)


PATHS = (
    *("", "/", ".", "..", "../app10/x", "a/../../app10/x", "a/./b", "a//b", "/a", "a/"),
    *("a\\..\\b", "a\nb", "a\x00", "x" * 1024),
)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_may_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        check_url(GRANTS[0], path, "GET", MINUTE, LONGEST)


@pytest.mark.parametrize("seconds", [0, -1, 3601])
def test_a_url_lives_no_longer_than_a_credential(seconds: int) -> None:
    with pytest.raises(UsageError, match="RINGFENCE_CREDENTIAL_TTL"):
        check_url(GRANTS[0], "a", "GET", timedelta(seconds=seconds), LONGEST)


@pytest.mark.parametrize("method", ["get", "POST", "", "OPTIONS"])
def test_other_methods_are_none(method: str) -> None:
    with pytest.raises(UsageError, match="method"):
        check_url(GRANTS[0], "a", method, MINUTE, LONGEST)


@given(st.text(st.sampled_from("ab./\\%"), max_size=12))
def test_what_passes_has_plain_segments_only(path: str) -> None:
    try:
        check_url(GRANTS[0], path, "GET", MINUTE, LONGEST)
    except RingfenceError:
        return
    assert not {"", ".", ".."} & set(path.split("/"))
    assert "\\" not in path
