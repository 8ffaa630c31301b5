"""What a child finds in its environment, and what it never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.config import is_configuration_variable
from ringfence.errors import UsageError
from ringfence.executor.environment import INHERITED, child_environment, credential_places

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"
BASE = {
    "PATH": "/usr/bin",
    "HOME": "/home/engine",
    "LC_ALL": "C.UTF-8",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "aws_secret_access_key": SECRET,
    "MY_COPY_OF_THE_KEY": SECRET,
    "DATABASE_URL": "postgres://engine:hunter2hunter2@db/engine",
    "HTTPS_PROXY": "http://user:password@proxy:3128",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "LD_PRELOAD": "/tmp/evil.so",
    "JOB_SIZE": "12",
}


def child(**options: object) -> dict[str, str]:
    given_options = {
        "fenced": {},
        "secrets": [SECRET],
        "is_configuration": is_configuration_variable,
    }
    return child_environment(BASE, **{**given_options, **options})  # type: ignore[arg-type]


def test_only_harmless_names_are_inherited() -> None:
    assert child() == {
        "PATH": "/usr/bin",
        "HOME": "/home/engine",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_whatever_the_names_nothing_else_is_inherited(base: dict[str, str]) -> None:
    found = child_environment(base, fenced={}, is_configuration=is_configuration_variable)
    extra = found.keys() - INHERITED - {"PYTHONUNBUFFERED"}
    assert all(name.startswith("LC_") for name in extra)


@given(st.sampled_from(sorted(INHERITED)), st.text(max_size=5), st.text(max_size=5))
def test_a_secret_under_a_harmless_name_is_not_inherited(name: str, one: str, two: str) -> None:
    base = {name: f"{one}{SECRET}{two}"}
    found = child_environment(
        base, fenced={}, secrets=[SECRET], is_configuration=is_configuration_variable
    )
    assert SECRET not in "".join(found.values())


def test_a_short_secret_is_only_found_as_a_whole_value() -> None:
    base = {"HOME": "/home/admin", "USER": "admin"}
    found = child_environment(
        base, fenced={}, secrets=["admin"], is_configuration=is_configuration_variable
    )
    assert found["HOME"] == "/home/admin"
    assert "USER" not in found


def test_an_empty_secret_matches_nothing() -> None:
    assert child(secrets=["", SECRET])["HOME"] == "/home/engine"


def test_variables_are_passed_by_name_and_with_a_value() -> None:
    found = child(passed=["JOB_SIZE", "COLOUR=blue=green", "EMPTY=", "PYTHONUNBUFFERED=0"])
    assert found["JOB_SIZE"] == "12"
    assert found["COLOUR"] == "blue=green"
    assert found["EMPTY"] == ""
    assert found["PYTHONUNBUFFERED"] == "0"


def test_fenced_variables_win() -> None:
    found = child(fenced={"AWS_ACCESS_KEY_ID": "ASIA", "PATH": "/fenced"}, passed=["PATH=/mine"])
    assert found["AWS_ACCESS_KEY_ID"] == "ASIA"
    assert found["PATH"] == "/fenced"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "belongs to the installation's configuration"),
        ("AWS_SESSION_TOKEN", "belongs to the installation's configuration"),  # though unset
        ("AWS_ACCESS_KEY_ID=AKIA", "belongs to the installation's configuration"),
        ("RINGFENCE_STRICT=false", "belongs to the installation's configuration"),
        ("MY_COPY_OF_THE_KEY", "holds one of the installation's secrets"),
        (f"URL=s3://key:{SECRET}@bucket", "holds one of the installation's secrets"),
        ("NOT_SET_ANYWHERE", "is not set here"),
        ("=value", "no name that a shell would accept"),
        ("two words=1", "no name that a shell would accept"),
        (SECRET, "no name that a shell would accept"),
        ("NUL=a\0b", "holds a NUL"),
    ],
)
def test_what_may_not_be_passed_is_refused_without_showing_it(item: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        child(passed=[item])
    assert SECRET not in str(refused.value)


def test_the_places_of_the_users_own_credentials_are_named() -> None:
    base = {
        "HOME": "/home/engine",
        "AWS_CONFIG_FILE": "/etc/aws",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "",
    }
    places = [str(place) for place in credential_places(base)]
    assert {"/etc/aws", "/home/engine/.aws", "/home/engine/.config/gcloud"} <= set(places)
    assert "." not in places
