"""The one table of modes, and what a scope is and is not."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from ringfence.errors import InvalidId, UsageError
from ringfence.layout import BucketRole, IdCase, Prefix
from ringfence.scope import (
    MODES,
    AccessMode,
    Area,
    Grant,
    Permission,
    Scope,
    grants,
)

# The table of DESIGN, as it stands there: a letter for read, write, delete and list.
TABLE = {
    "invoke_write": {"app": "RWDL", "user": "RWDL", "tmp": "RWDL", "logs": "W"},
    "invoke_read": {"app": "RL", "user": "RWDL", "tmp": "RWDL", "logs": "W"},
    "invoke_none": {"user": "RWDL", "tmp": "RWDL", "logs": "W"},
    "edit_app": {"meta": "RWDL", "app": "RWDL"},
    "read_app": {"meta": "RL", "app": "RL"},
    "read_logs": {"logs": "RL"},
}
LETTERS = {
    "R": Permission.READ,
    "W": Permission.WRITE,
    "D": Permission.DELETE,
    "L": Permission.LIST,
}


def test_the_table_names_every_mode() -> None:
    assert set(TABLE) == set(AccessMode) == set(MODES)


@pytest.mark.parametrize("mode", AccessMode)
def test_grants_are_the_table_in_its_order(mode: AccessMode) -> None:
    found = grants(Scope("app", "user", "run", mode))
    expected = [(area, {LETTERS[each] for each in row}) for area, row in TABLE[mode].items()]
    assert [(grant.area, set(grant.permissions)) for grant in found] == expected


@pytest.mark.parametrize("mode", AccessMode)
@pytest.mark.parametrize("run", [None, "run"])
def test_every_grant_is_in_its_bucket_at_its_prefix(mode: AccessMode, run: str | None) -> None:
    places = {
        Area.META: (BucketRole.META, "apps/app/"),
        Area.APP: (BucketRole.CONTENT, "apps/app/"),
        Area.USER: (BucketRole.CONTENT, "users/auth0%7C42/apps/app/"),
        Area.TMP: (BucketRole.CONTENT, "tmp/user/auth0%7C42/apps/app/"),
        Area.LOGS: (BucketRole.LOG, f"runs/app/{f'{run}/' if run else ''}"),
    }
    for grant in grants(Scope("app", "auth0|42", run, mode)):
        assert (grant.bucket, grant.prefix) == places[grant.area]


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MODES[AccessMode.READ_LOGS] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        MODES[AccessMode.READ_LOGS][Area.META] = frozenset(Permission)  # type: ignore[index]


def test_grants_are_pure_and_hashable() -> None:
    scope = Scope("app", "user", "run")
    assert grants(scope) == grants(Scope("app", "user", "run"))
    assert hash(grants(scope)) == hash(grants(scope))
    assert grants(scope) != grants(Scope("app", "user", "run2"))


def test_the_case_of_ids_is_the_installation_s() -> None:
    (exact,) = grants(Scope("App", "U", "R", AccessMode.READ_LOGS), IdCase.EXACT)
    (folded,) = grants(Scope("App", "U", "R", AccessMode.READ_LOGS), IdCase.FOLDED)
    assert exact.prefix == "runs/App/R/"
    assert folded.prefix == "runs/%41pp/%52/"


def test_a_scope_executes_with_write_access_unless_it_says_otherwise() -> None:
    assert Scope("app", "user").mode is AccessMode.INVOKE_WRITE
    assert Scope("app", "user").run_id is None


def test_a_mode_may_come_as_text() -> None:
    scope = Scope("app", "user", mode="read_app")  # type: ignore[arg-type]
    assert scope.mode is AccessMode.READ_APP


@pytest.mark.parametrize("mode", ["", "READ_APP", "invoke", "admin", "*"])
def test_an_unknown_mode_is_refused_with_those_there_are(mode: str) -> None:
    with pytest.raises(UsageError, match="no access mode") as caught:
        Scope("app", "user", mode=mode)  # type: ignore[arg-type]
    for known in AccessMode:
        assert known in str(caught.value)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        (("", "user", None), "app id is empty"),
        (("app", "", None), "user id is empty"),
        (("app", "user", ""), "run id is empty"),
        (("a" * 300, "user", None), "app id is 300 bytes"),
        (("app", "u" * 300, None), "user id is 300 bytes"),
        (("app", "user", "r" * 300), "run id is 300 bytes"),
        (("app", "\ud800", None), "user id holds a lone surrogate"),
    ],
)
def test_an_id_that_is_none_is_refused_at_once(ids: tuple[str, str, str | None], says: str) -> None:
    with pytest.raises(InvalidId, match=says):
        Scope(*ids)


def test_an_id_too_long_only_when_folded_is_refused_by_its_grants() -> None:
    scope = Scope("A" * 100, "user")
    assert grants(scope, IdCase.EXACT)
    with pytest.raises(InvalidId, match="app id is 300 bytes"):
        grants(scope, IdCase.FOLDED)


def test_a_scope_cannot_be_changed() -> None:
    scope = Scope("app", "user")
    with pytest.raises(FrozenInstanceError):
        scope.app_id = "other"  # type: ignore[misc]


@pytest.mark.parametrize("prefix", ["", "/", "apps/a", "/apps/a/", "apps/a*"])
def test_a_grant_on_no_whole_segments_cannot_be_made(prefix: str) -> None:
    with pytest.raises(ValueError, match="not a prefix"):
        Grant(Area.APP, BucketRole.CONTENT, Prefix(prefix), frozenset(Permission))


def test_a_grant_of_nothing_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="without permissions"):
        Grant(Area.APP, BucketRole.CONTENT, Prefix("apps/a/"), frozenset())
