"""What is allowed and yet remarked on."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ringfence.config import Environment, Settings, load_environment
from ringfence.config.report import examine
from tests.config.examples import AWS, AZURE, PAGE_AZURE, R2
from tests.config.problems import without

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAQWERTYUIOPASDFGH", "AWS_SECRET_ACCESS_KEY": "the-secret"}
EXPRESS = {"META_BUCKET": "meta--usw2-az1--x-s3", "META_BUCKET_EXPRESS_ZONE": "true"}
ZONES = EXPRESS | {"LOG_BUCKET": "l--usw2-az3--x-s3", "LOGS_BUCKET_EXPRESS_ZONE": "true"}
QUIET = AWS | {
    "RUNTIME_ROLE_ARN": "arn:aws:iam::111122223333:role/R",
    "EXECUTION_STATE_BACKEND": "s3",
}

NOTED: list[tuple[Mapping[str, str], str, str]] = [
    (without(QUIET, "RUNTIME_ROLE_ARN"), "RUNTIME_ROLE_ARN", "nothing fenced can be vended"),
    (QUIET | {"EXECUTION_STATE_BACKEND": ""}, "DATABASE_URL", "the state store"),
    (QUIET | {"EXECUTION_STATE_BACKEND": "redis"}, "REDIS_URL", "the state store"),
    (QUIET | {"AWS_ENDPOINT": "http://s3.test:9000"}, "AWS_ENDPOINT", "without TLS"),
    (QUIET | {"AWS_ENDPOINT": "https://minio"}, "AWS_USE_PATH_STYLE", "at <bucket>.minio;"),
    (QUIET | {"AWS_ENDPOINT": "http://localhost:9000"}, "AWS_USE_PATH_STYLE", ".localhost;"),
    (
        R2
        | {
            "EXECUTION_STATE_BACKEND": "s3",
            "R2_ENDPOINT": "https://r2",
            "AWS_USE_PATH_STYLE": "no",
        },
        "AWS_USE_PATH_STYLE",
        "at <bucket>.r2;",
    ),
    (QUIET | EXPRESS, "AWS_REGION", "usw2-az1 belongs to another region"),
    (
        QUIET | ZONES | {"AWS_REGION": "us-west-2"},
        "META_BUCKET_EXPRESS_ZONE",
        "several zones (usw2-az1, usw2-az3)",
    ),
    (
        R2 | {"EXECUTION_STATE_BACKEND": "s3", "R2_ACCESS_KEY_ID": "your-r2-access-key-id"},
        "R2_ACCESS_KEY_ID",
        "still the placeholder",
    ),
]


@pytest.mark.parametrize(("env", "variable", "words"), NOTED)
def test_what_is_noted(env: Mapping[str, str], variable: str, words: str) -> None:
    Settings.from_env(env)
    (note,) = examine(env).notes
    assert note.variable == variable
    assert words in str(note)


@pytest.mark.parametrize(
    "env",
    [
        QUIET,
        QUIET | KEYS,
        QUIET | EXPRESS | {"AWS_REGION": "us-west-2"},
        QUIET | {"AWS_ENDPOINT": "https://s3.example.test"},
        QUIET | {"AWS_ENDPOINT": "https://minio", "AWS_USE_PATH_STYLE": "true"},
        QUIET | {"AWS_PROFILE": "mine", "AWS_ROLE_ARN": "r", "AWS_CONFIG_FILE": "/c"},
        QUIET | KEYS | {"AWS_PROFILE": "mine"},
        R2 | {"EXECUTION_STATE_BACKEND": "s3", "AWS_USE_PATH_STYLE": "false"},
        QUIET | {"AWS_ENDPOINT": "http://127.0.0.1:9000", "AWS_USE_PATH_STYLE": "true"},
        AZURE | {"DATABASE_URL": "postgresql://db/x"},
    ],
)
def test_what_is_not(env: Mapping[str, str]) -> None:
    assert examine(env).notes == ()


@pytest.mark.parametrize("region", ["us-west-2", "ap-northeast-1", "eu-central-1", "us-gov-west-1"])
def test_zones_of_a_region(region: str) -> None:
    zones = {"us-west-2": "usw2", "ap-northeast-1": "apne1", "eu-central-1": "euc1"}
    name = f"meta--{zones.get(region, 'usgw1')}-az1--x-s3"
    assert examine(QUIET | EXPRESS | {"META_BUCKET": name, "AWS_REGION": region}).notes == ()


def test_keys_from_two_places_are_noted() -> None:
    env = Environment(
        QUIET | KEYS, {"AWS_ACCESS_KEY_ID": "environment", "AWS_SECRET_ACCESS_KEY": ".env"}
    )
    (note,) = examine(env).notes
    assert note.text == (
        "comes from .env, AWS_ACCESS_KEY_ID from the environment; do they belong together?"
    )


def test_the_pages_placeholders_are_noted() -> None:
    lines = (line for line in PAGE_AZURE.splitlines() if not line.startswith("#"))
    env = dict(line.split("=", 1) for line in lines) | {"EXECUTION_STATE_BACKEND": "s3"}
    noted = [note.variable for note in examine(load_environment([], environ=env)).notes]
    assert noted == ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"]


def test_a_slip_that_a_problem_tells_is_not_noted_again() -> None:
    env = without(QUIET, "LOG_BUCKET") | {"LOGS_BUCKET": "x"}
    found = examine(env)
    assert "LOGS_BUCKET is set" in str(found.problems[0])
    assert found.notes == ()
