"""Every variable of the table is read: the table, the examples and the readers keep together."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from ringfence.config import VARIABLES, ProviderName, Settings, StateBackend
from ringfence.config.variables import BY_NAME
from ringfence.errors import ConfigError
from ringfence.layout import IdCase
from tests.config.examples import FULL, LEAST
from tests.config.problems import problem, without

# Read only where another variable of the same provider leaves it to them.
FALLBACKS = {variable.fallback for variable in VARIABLES if variable.fallback}
# The examples choose redis; and aws is the default, and false the only value beside Express.
NOT_TOLD_APART = {(each, "DATABASE_URL") for each in ProviderName} | {
    (ProviderName.AWS, "STORAGE_PROVIDER"),
    (ProviderName.AWS, "AWS_USE_PATH_STYLE"),
}


def relevant(provider: ProviderName) -> set[str]:
    return {variable.name for variable in VARIABLES if provider in variable.providers}


@pytest.mark.parametrize("provider", ProviderName)
def test_the_full_example_has_every_variable(provider: ProviderName) -> None:
    assert set(FULL[provider]) == relevant(provider)
    assert Settings.from_env(FULL[provider]).provider is provider


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (provider, name)
        for provider in ProviderName
        for name in sorted(relevant(provider) - FALLBACKS)
        if (provider, name) not in NOT_TOLD_APART
    ],
)
def test_every_variable_makes_a_difference(provider: ProviderName, name: str) -> None:
    whole = Settings.from_env(FULL[provider])
    try:
        less = Settings.from_env(without(FULL[provider], name))
    except ConfigError:
        return
    assert less != whole


@pytest.mark.parametrize("provider", ProviderName)
def test_the_least_example_has_the_documented_defaults(provider: ProviderName) -> None:
    settings = Settings.from_env(LEAST[provider])
    assert settings == Settings(provider, settings.buckets, settings.cloud)
    assert settings.state_backend is StateBackend.POSTGRES
    assert settings.state_ttl == timedelta(days=30)
    assert settings.id_case is IdCase.EXACT
    assert not settings.strict
    assert settings.credential_ttl == timedelta(hours=1)
    assert settings.cache_share == 0.5
    assert settings.heartbeat == timedelta(seconds=10)
    assert settings.lease == timedelta(seconds=30)


@pytest.mark.parametrize("provider", ProviderName)
def test_defaults_written_out_change_nothing(provider: ProviderName) -> None:
    defaults = {
        variable.name: variable.on(provider).default or ""
        for variable in VARIABLES
        if variable.default is not None and provider in variable.providers
    }
    assert Settings.from_env(defaults | dict(LEAST[provider])) == Settings.from_env(LEAST[provider])


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (provider, variable.name)
        for provider in ProviderName
        for variable in VARIABLES
        if variable.required and provider in variable.providers
    ],
)
@pytest.mark.parametrize("absent", [None, "", "  ", "# a comment"])
def test_required_variables(provider: ProviderName, name: str, absent: str | None) -> None:
    env = without(LEAST[provider], name)
    if absent is not None:
        env[name] = absent
    found = problem(env)
    assert name in {found.variable, BY_NAME[found.variable].fallback}
    if found.variable == name:
        # A secret may begin with anything, so for it a comment is a value, and a wrong one.
        is_value = BY_NAME[name].secret and (absent or "").startswith("#")
        expected = "set (11 characters)" if is_value else "empty"
        assert found.found == (None if absent is None else expected)


def test_sources_name_every_relevant_variable() -> None:
    for provider in ProviderName:
        settings = Settings.from_env(LEAST[provider])
        assert set(settings.sources) == relevant(provider)
        assert settings.sources["META_BUCKET"] == "environment"
        assert settings.sources["RINGFENCE_STRICT"] == "default"


def test_settings_are_values() -> None:
    once, again = (Settings.from_env(FULL[ProviderName.AWS]) for _ in range(2))
    assert once == again
    assert hash(once) == hash(again)
    with pytest.raises(dataclasses.FrozenInstanceError):
        once.strict = False  # type: ignore[misc]
