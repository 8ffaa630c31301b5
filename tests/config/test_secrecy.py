"""No secret gets out of the settings, whatever is done with them but ``reveal()``."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
from collections.abc import Callable

import pytest

from ringfence.config import (
    SECRET_VARIABLES,
    Environment,
    ProviderName,
    Settings,
    load_environment,
    secret_values,
)
from ringfence.config.report import examine, rows
from ringfence.errors import ConfigError
from tests.config import examples
from tests.config.examples import FULL

SECRETS = {
    ProviderName.AWS: {"secret-aws-access-key", "secret-aws-session-token"},
    ProviderName.R2: {"secret-r2-access-key", "secret-cloudflare-token"},
    ProviderName.AZURE: {examples.AZURE_KEY},
    ProviderName.GCP: {examples.SERVICE_ACCOUNT_JSON, examples.PRIVATE_KEY},
}
IN_URLS = {
    "rediss://:secret-redis%2Dpassword@redis:6379/0",
    "secret-redis%2Dpassword",
    "secret-redis-password",
}


def logged(value: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.error("%s %r", value, value)
    return stream.getvalue()


SHOWN: dict[str, Callable[[Settings], str]] = {
    "repr": repr,
    "str": str,
    "f-string": lambda s: f"{s} {s.cloud!r:>5} {s.cloud}",
    "pprint": pprint.pformat,
    "asdict": lambda s: repr(dataclasses.asdict(s)),
    "astuple": lambda s: repr(dataclasses.astuple(s)),
    "replace": lambda s: repr(dataclasses.replace(s, strict=False)),
    "copy": lambda s: repr(copy.copy(s)) + repr(copy.deepcopy(s)),
    "json": lambda s: json.dumps(dataclasses.asdict(s), default=str),
    "logging": logged,
    "error": lambda s: str(ValueError(s)),
}


@pytest.mark.parametrize("provider", ProviderName)
def test_secret_values_are_all_of_them(provider: ProviderName) -> None:
    assert secret_values(Settings.from_env(FULL[provider])) == SECRETS[provider] | IN_URLS


def test_passwords_in_a_databases_url() -> None:
    for url in ("postgresql://u:p%40ss@db/x", "postgresql:///x?user=u&password=p%40ss"):
        settings = Settings.from_env(examples.AWS | {"DATABASE_URL": url})
        assert secret_values(settings) == {url, "p%40ss", "p@ss"}


@pytest.mark.parametrize("provider", ProviderName)
@pytest.mark.parametrize("way", SHOWN)
def test_settings_show_no_secret(provider: ProviderName, way: str) -> None:
    settings = Settings.from_env(FULL[provider])
    text = SHOWN[way](settings)
    assert text
    assert "secret-" not in text
    assert not [secret for secret in secret_values(settings) if secret in text]


@pytest.mark.parametrize("provider", ProviderName)
def test_the_access_key_is_not_in_a_repr(provider: ProviderName) -> None:
    text = repr(Settings.from_env(FULL[provider]))
    assert "ASIAQWERTYUIOPASDFGH" not in text
    assert "r2-key-id-01" not in text


@pytest.mark.parametrize("provider", ProviderName)
def test_environments_show_no_secret(provider: ProviderName) -> None:
    env = load_environment([], environ=FULL[provider])
    shown = [repr(env), str(env), pprint.pformat(env), repr(copy.copy(env)), f"{env}", logged(env)]
    assert not [text for text in shown if "secret-" in text]
    assert isinstance(copy.deepcopy(env), Environment)


@pytest.mark.parametrize("provider", ProviderName)
def test_nothing_with_a_secret_is_pickled_or_has_a_dict(provider: ProviderName) -> None:
    env = load_environment([], environ=FULL[provider])
    settings = Settings.from_env(env)
    for value in (env, settings, settings.cloud):
        with pytest.raises(TypeError):
            pickle.dumps(value)
        with pytest.raises(TypeError):
            vars(value)


@pytest.mark.parametrize("name", sorted(SECRET_VARIABLES))
@pytest.mark.parametrize("wrong", ['"{}"', "{} {}", "{}\n{}", "\udce9{}"])
def test_a_wrong_secret_is_told_by_its_length_only(name: str, wrong: str) -> None:
    provider = next(p for p in ProviderName if name in FULL[p])
    backend = "postgres" if name == "DATABASE_URL" else "redis"
    value = wrong.format("correct-horse", "correct-horse")
    env = {**FULL[provider], "EXECUTION_STATE_BACKEND": backend, name: value}
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(env)
    assert "correct-horse" not in str(caught.value)
    assert f"{name} is set ({len(value)} characters)" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_REGION", "eu/secret-aws-access-key/1"),
        ("AWS_ENDPOINT", "https://me:secret-of-a-url@minio:9000"),
        ("RUNTIME_ROLE_ARN", "secret-aws-session-token"),
        ("LOG_BUCKET", "secret-aws-access-key/"),
        ("AWS_ACCESS_KEY_ID", "secret-aws-access-key/"),
        ("AWS_ACCESS_KEY_ID", "wJalr/secret-of-another"),
    ],
)
def test_a_secret_in_another_variable_is_not_shown(name: str, value: str) -> None:
    env = {**FULL[ProviderName.AWS], name: value}
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(env)
    assert "secret-" not in str(caught.value)
    assert not [row for row in rows(env, None) if "secret-" in str(row.value)]
    assert not [note for note in examine(env).notes if "secret-" in str(note)]


def test_a_secret_in_a_variable_that_takes_it_is_not_shown_either() -> None:
    env = {**FULL[ProviderName.AWS], "AWS_REGION": "secret-aws-access-key"}
    shown = {row.variable.name: row.value for row in rows(env, ProviderName.AWS)}
    assert shown["AWS_REGION"] == "set (21 characters)"
    assert shown["AWS_ACCESS_KEY_ID"] == "ASIA... (20 characters)"
    assert shown["RINGFENCE_HEARTBEAT_SECONDS"] == "5"
