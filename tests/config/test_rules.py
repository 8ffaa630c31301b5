"""One row for each rule: what is read, and what is refused with which words."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from operator import attrgetter

import pytest

from ringfence.config import Settings
from ringfence.layout import BucketRole
from ringfence.secret import Secret
from tests.config import examples
from tests.config.examples import AWS, AZURE, GCP, R2, SERVICE_ACCOUNT
from tests.config.problems import problem, problems

Env = Mapping[str, str]

KEYS = {"AWS_ACCESS_KEY_ID": "AKIAQWERTYUIOPASDFGH", "AWS_SECRET_ACCESS_KEY": "the-secret"}
MINIO = AWS | {"AWS_ENDPOINT": "http://minio:9000"}
EXPRESS = {"META_BUCKET": "meta--usw2-az1--x-s3", "META_BUCKET_EXPRESS_ZONE": "true"}
TOKEN = {"R2_API_TOKEN": "token", "R2_ACCOUNT_ID": examples.ACCOUNT}

READ: list[tuple[Env, str, object]] = [
    # STORAGE_PROVIDER
    (AWS, "provider", "aws"),
    (AWS | {"STORAGE_PROVIDER": " AWS\n"}, "provider", "aws"),
    (AWS | {"STORAGE_PROVIDER": "s3"}, "provider", "aws"),
    (MINIO | {"STORAGE_PROVIDER": "MinIO"}, "provider", "aws"),
    (R2 | {"STORAGE_PROVIDER": "R2"}, "provider", "r2"),
    (AZURE | {"STORAGE_PROVIDER": "Blob"}, "provider", "azure"),
    (GCP | {"STORAGE_PROVIDER": "GCS"}, "provider", "gcp"),
    # Buckets: a cloud's own names before the generic ones, one by one.
    (AZURE | {"AZURE_META_CONTAINER": "mine"}, "buckets.meta", "mine"),
    (AZURE | {"AZURE_META_CONTAINER": " "}, "buckets.meta", "flow-like-meta"),
    (AZURE | {"AZURE_META_CONTAINER": "mine"}, "buckets.log", "flow-like-logs"),
    (GCP | {"GCP_LOG_BUCKET": "mine"}, "buckets.log", "mine"),
    (
        AZURE | {"AZURE_META_CONTAINER": "mine", "AZURE_LOG_CONTAINER": " "},
        "buckets.variables",
        ("AZURE_META_CONTAINER", "CONTENT_BUCKET", "LOG_BUCKET"),
    ),
    (AWS, "buckets.variables", ("META_BUCKET", "CONTENT_BUCKET", "LOG_BUCKET")),
    (AZURE | {"RINGFENCE_AZURE_NAMES_SHARED": "1"}, "cloud.names_shared", True),
    (AZURE, "cloud.names_shared", False),
    (AWS | {"GCP_LOG_BUCKET": "not-mine"}, "buckets.log", "flow-like-logs"),
    (AWS | {"LOG_BUCKET": " trimmed "}, "buckets.log", "trimmed"),
    (AWS | {"LOG_BUCKET": "a" * 63}, "buckets.log", "a" * 63),
    (MINIO | {"LOG_BUCKET": "with.dots", "AWS_USE_PATH_STYLE": "1"}, "buckets.log", "with.dots"),
    (GCP | {"LOG_BUCKET": "a_b.example.com"}, "buckets.log", "a_b.example.com"),
    # Express
    (AWS | EXPRESS, "cloud.express", frozenset({BucketRole.META})),
    (
        AWS | {"LOG_BUCKET": "l--apne1-az4--x-s3", "LOGS_BUCKET_EXPRESS_ZONE": "Yes"},
        "cloud.express",
        frozenset({BucketRole.LOG}),
    ),
    (AWS | {"RINGFENCE_EXPRESS_SHARED": "1"}, "cloud.express_shared", True),
    (AWS | {"RINGFENCE_EXPRESS_ACCESS_POINTS": "1"}, "cloud.express_access_points", True),
    # AWS
    (AWS, "cloud.access_key_id", None),
    (AWS | KEYS, "cloud.secret_access_key", Secret("the-secret")),
    (AWS, "cloud.region", "us-east-1"),
    (AWS | {"AWS_DEFAULT_REGION": "eu-west-3"}, "cloud.region", "eu-west-3"),
    (
        AWS | {"AWS_REGION": "us-gov-west-1", "AWS_DEFAULT_REGION": "x"},
        "cloud.region",
        "us-gov-west-1",
    ),
    (MINIO | {"AWS_REGION": "garage"}, "cloud.region", "garage"),
    (AWS | {"AWS_ENDPOINT": ""}, "cloud.endpoint", None),
    (AWS | {"AWS_ENDPOINT": " # Leave empty for AWS S3"}, "cloud.endpoint", None),
    (AWS | {"AWS_ENDPOINT": "HTTPS://S3.Example:443/"}, "cloud.endpoint", "https://s3.example:443"),
    (
        AWS | {"AWS_ENDPOINT": "http://[::1]:9000", "AWS_USE_PATH_STYLE": "true"},
        "cloud.endpoint",
        "http://[::1]:9000",
    ),
    (AWS | {"AWS_ENDPOINT": "http://minio_1:9000"}, "cloud.endpoint", "http://minio_1:9000"),
    (AWS, "cloud.sts_endpoint", None),
    (MINIO, "cloud.sts_endpoint", "http://minio:9000"),
    (
        MINIO | {"AWS_STS_ENDPOINT": "https://sts.example"},
        "cloud.sts_endpoint",
        "https://sts.example",
    ),
    (AWS | {"AWS_ENDPOINT": "https://s3.eu-west-1.amazonaws.com"}, "cloud.sts_endpoint", None),
    (AWS, "cloud.use_path_style", False),
    (AWS | {"AWS_USE_PATH_STYLE": "TRUE"}, "cloud.use_path_style", True),
    (
        MINIO | {"RUNTIME_ROLE_ARN": "arn:aws:iam::role/Seaweed"},
        "cloud.runtime_role_arn",
        "arn:aws:iam::role/Seaweed",
    ),
    (
        AWS | {"RUNTIME_ROLE_ARN": "arn:aws-cn:iam::111122223333:role/a/b/C+=,.@-_"},
        "cloud.runtime_role_arn",
        "arn:aws-cn:iam::111122223333:role/a/b/C+=,.@-_",
    ),
    # R2
    (R2, "cloud.mint", "local"),
    (R2 | {"R2_ACCOUNT_ID": examples.ACCOUNT}, "cloud.mint", "local"),
    (R2 | TOKEN, "cloud.mint", "api"),
    (R2 | TOKEN | {"RINGFENCE_R2_MINT": "LOCAL"}, "cloud.mint", "local"),
    (
        R2 | TOKEN | {"R2_ENDPOINT": f"https://{examples.ACCOUNT}.eu.r2.cloudflarestorage.com/"},
        "cloud.endpoint",
        f"https://{examples.ACCOUNT}.eu.r2.cloudflarestorage.com",
    ),
    (R2 | TOKEN | {"R2_ENDPOINT": "http://127.0.0.1:1"}, "cloud.endpoint", "http://127.0.0.1:1"),
    (R2, "cloud.use_path_style", True),
    (R2 | {"AWS_USE_PATH_STYLE": ""}, "cloud.use_path_style", True),
    (R2 | {"AWS_USE_PATH_STYLE": "1"}, "cloud.use_path_style", True),
    (R2 | {"AWS_USE_PATH_STYLE": "No"}, "cloud.use_path_style", False),
    # Azure and Google
    (
        AZURE | {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:10000/devstoreaccount1"},
        "cloud.endpoint",
        "http://127.0.0.1:10000/devstoreaccount1",
    ),
    (AZURE, "cloud.account_key", None),
    (GCP, "cloud.service_account_json", None),
    (
        GCP | {"GCS_PROJECT_ID": "example.com:project-1"},
        "cloud.project_id",
        "example.com:project-1",
    ),
    # State
    (AWS | {"EXECUTION_STATE_BACKEND": " S3 "}, "state_backend", "s3"),
    (AWS, "database_url", None),
    (
        AWS | {"DATABASE_URL": "postgres:///db?host=/run"},
        "database_url",
        Secret("postgres:///db?host=/run"),
    ),
    (AWS | {"REDIS_URL": "not ours, with postgres"}, "redis_url", None),
    (
        AWS | {"EXECUTION_STATE_BACKEND": "redis", "REDIS_URL": "unix:///run/redis.sock"},
        "redis_url",
        Secret("unix:///run/redis.sock"),
    ),
    (
        AWS | {"EXECUTION_STATE_BACKEND": "redis", "DATABASE_URL": "mysql://the-application"},
        "database_url",
        None,
    ),
    (AWS | {"EXECUTION_STATE_TTL_SECONDS": "0"}, "state_ttl", None),
    (AWS | {"EXECUTION_STATE_TTL_SECONDS": "60"}, "state_ttl", timedelta(minutes=1)),
    # Ringfence's own
    (AWS | {"RINGFENCE_ID_CASE": "Folded"}, "id_case", "folded"),
    (AWS | {"RINGFENCE_STRICT": "1"}, "strict", True),
    (AWS | {"RINGFENCE_CREDENTIAL_TTL": "43200"}, "credential_ttl", timedelta(hours=12)),
    (AWS | {"RINGFENCE_CREDENTIAL_CACHE_SHARE": ".9"}, "cache_share", 0.9),
    (AWS | {"RINGFENCE_HEARTBEAT_SECONDS": "300"}, "lease", timedelta(minutes=15)),
]


@pytest.mark.parametrize(("env", "attribute", "expected"), READ)
def test_what_is_read(env: Env, attribute: str, expected: object) -> None:
    assert attrgetter(attribute)(Settings.from_env(env)) == expected


ENDPOINT = "a URL like https://host"
NAME = "a bucket name: 3 to 63 lower-case letters"
PAIR = "Set both, or neither"
REFUSED: list[tuple[Env, str, str]] = [
    (AWS | {"STORAGE_PROVIDER": "ceph"}, "STORAGE_PROVIDER", "aws, r2, azure or gcp"),
    (AWS | {"STORAGE_PROVIDER": "minio"}, "AWS_ENDPOINT", "the URL of MinIO"),
    # Names of buckets, by each cloud's rules
    (AWS | {"LOG_BUCKET": "Logs"}, "LOG_BUCKET", NAME),
    (AWS | {"LOG_BUCKET": "ab"}, "LOG_BUCKET", NAME),
    (AWS | {"LOG_BUCKET": "a" * 64}, "LOG_BUCKET", NAME),
    (AWS | {"LOG_BUCKET": "a_b"}, "LOG_BUCKET", NAME),
    (AWS | {"LOG_BUCKET": "-ab"}, "LOG_BUCKET", NAME),
    (AWS | {"LOG_BUCKET": "a..b"}, "LOG_BUCKET", NAME),
    (AWS | {"LOG_BUCKET": "logs*"}, "LOG_BUCKET", NAME),
    (AWS | {"LOG_BUCKET": "${aws:username}"}, "LOG_BUCKET", "Only the name"),
    (AWS | {"LOG_BUCKET": "192.168.0.1"}, "LOG_BUCKET", NAME),
    (AWS | {"LOG_BUCKET": "s3://logs"}, "LOG_BUCKET", "Only the name is wanted"),
    (AWS | {"LOG_BUCKET": "logs/runs"}, "LOG_BUCKET", "Only the name is wanted"),
    (AWS | {"LOG_BUCKET": "xn--logs"}, "LOG_BUCKET", "S3 reserves names with xn--"),
    (AWS | {"LOG_BUCKET": "logs-s3alias"}, "LOG_BUCKET", "S3 reserves names with -s3alias"),
    (AWS | {"LOG_BUCKET": "my.logs"}, "LOG_BUCKET", "AWS_USE_PATH_STYLE=true"),
    (R2 | {"LOG_BUCKET": "my.logs"}, "LOG_BUCKET", "digits and hyphens"),
    (AZURE | {"LOG_BUCKET": "my--logs"}, "LOG_BUCKET", "single hyphens"),
    (AZURE | {"AZURE_LOG_CONTAINER": "$logs"}, "AZURE_LOG_CONTAINER", "a container name"),
    (GCP | {"LOG_BUCKET": "google-logs"}, "LOG_BUCKET", "without google"),
    (GCP | {"GCP_LOG_BUCKET": "_logs"}, "GCP_LOG_BUCKET", "beginning and ending"),
    # One bucket for two roles
    (AWS | {"CONTENT_BUCKET": "flow-like-meta"}, "CONTENT_BUCKET", "another name than META_BUCKET"),
    (AWS | {"LOG_BUCKET": "flow-like-meta"}, "LOG_BUCKET", "another name than META_BUCKET"),
    (AWS | {"LOG_BUCKET": "flow-like-content"}, "LOG_BUCKET", "another name than CONTENT_BUCKET"),
    (AZURE | {"AZURE_LOG_CONTAINER": "flow-like-meta"}, "AZURE_LOG_CONTAINER", "META_BUCKET has"),
    # Express: the name and the flag, and no path style
    (
        AWS | {"META_BUCKET_EXPRESS_ZONE": "true"},
        "META_BUCKET",
        "For a standard bucket set META_BUCKET_EXPRESS_ZONE=false.",
    ),
    (AWS | {"META_BUCKET": "m--usw2-az1--x-s3"}, "META_BUCKET_EXPRESS_ZONE", "expected true"),
    (
        AWS | EXPRESS | {"META_BUCKET_EXPRESS_ZONE": "false"},
        "META_BUCKET_EXPRESS_ZONE",
        "expected true",
    ),
    (AWS | EXPRESS | {"META_BUCKET": "meta--x-s3"}, "META_BUCKET", "base--zone--x-s3"),
    (AWS | EXPRESS | {"META_BUCKET": "m--az--x-s3"}, "META_BUCKET", "base--zone--x-s3"),
    (
        AWS | EXPRESS | {"META_BUCKET": "m" * 50 + "--usw2-az1--x-s3"},
        "META_BUCKET",
        "base--zone--x-s3",
    ),
    (AWS | {"LOG_BUCKET": "meta--x-s3"}, "LOG_BUCKET", "S3 reserves names with --x-s3"),
    (AWS | EXPRESS | {"AWS_USE_PATH_STYLE": "true"}, "AWS_USE_PATH_STYLE", "no path-style URLs"),
    (R2 | {"META_BUCKET_EXPRESS_ZONE": "Yes"}, "META_BUCKET_EXPRESS_ZONE", "STORAGE_PROVIDER=aws"),
    # Booleans and numbers
    (AWS | {"RINGFENCE_STRICT": "on"}, "RINGFENCE_STRICT", "true, false, 1, 0, yes or no"),
    (AWS | {"AWS_USE_PATH_STYLE": "truee"}, "AWS_USE_PATH_STYLE", "true, false, 1, 0, yes or no"),
    (AWS | {"LOGS_BUCKET_EXPRESS_ZONE": "2"}, "LOGS_BUCKET_EXPRESS_ZONE", "true, false"),
    (AWS | {"RINGFENCE_EXPRESS_SHARED": "-"}, "RINGFENCE_EXPRESS_SHARED", "true, false"),
    (AWS | {"RINGFENCE_CREDENTIAL_TTL": "899"}, "RINGFENCE_CREDENTIAL_TTL", "from 900 to 43200"),
    (AWS | {"RINGFENCE_CREDENTIAL_TTL": "43201"}, "RINGFENCE_CREDENTIAL_TTL", "from 900 to 43200"),
    (AWS | {"RINGFENCE_CREDENTIAL_TTL": "1_000"}, "RINGFENCE_CREDENTIAL_TTL", "a whole number"),
    (AWS | {"RINGFENCE_CREDENTIAL_TTL": "1h"}, "RINGFENCE_CREDENTIAL_TTL", "a whole number"),
    (AWS | {"RINGFENCE_CREDENTIAL_TTL": "٩٠٠"}, "RINGFENCE_CREDENTIAL_TTL", "a whole number"),
    (AWS | {"RINGFENCE_HEARTBEAT_SECONDS": "0"}, "RINGFENCE_HEARTBEAT_SECONDS", "from 1 to 300"),
    (AWS | {"RINGFENCE_CREDENTIAL_CACHE_SHARE": "1"}, "RINGFENCE_CREDENTIAL_CACHE_SHARE", "0.1 to"),
    (
        AWS | {"RINGFENCE_CREDENTIAL_CACHE_SHARE": "nan"},
        "RINGFENCE_CREDENTIAL_CACHE_SHARE",
        "share",
    ),
    (AWS | {"EXECUTION_STATE_TTL_SECONDS": "-1"}, "EXECUTION_STATE_TTL_SECONDS", "a whole number"),
    (AWS | {"RINGFENCE_ID_CASE": "lower"}, "RINGFENCE_ID_CASE", "exact or folded"),
    # State
    (
        AWS | {"EXECUTION_STATE_BACKEND": "postgresql"},
        "EXECUTION_STATE_BACKEND",
        "postgres, redis or s3. Write postgres.",
    ),
    (
        AWS | {"EXECUTION_STATE_BACKEND": "memory"},
        "EXECUTION_STATE_BACKEND",
        "postgres, redis or s3",
    ),
    (AWS | {"DATABASE_URL": "mysql://db"}, "DATABASE_URL", "a URL like postgresql://"),
    (AWS | {"DATABASE_URL": "db.example"}, "DATABASE_URL", "a URL like postgresql://"),
    (AWS | {"DATABASE_URL": "postgresql+asyncpg://db"}, "DATABASE_URL", "after the +"),
    (
        AWS | {"EXECUTION_STATE_BACKEND": "redis", "REDIS_URL": "valkeys://cache"},
        "REDIS_URL",
        "begin it with rediss://",
    ),
    (
        AWS | {"EXECUTION_STATE_BACKEND": "redis", "REDIS_URL": "redis://"},
        "REDIS_URL",
        "a URL like",
    ),
    # Keys
    (AWS | {"AWS_ACCESS_KEY_ID": "AKIAQWERTYUIOPASDFGH"}, "AWS_SECRET_ACCESS_KEY", PAIR),
    (AWS | {"AWS_SECRET_ACCESS_KEY": "the-secret"}, "AWS_ACCESS_KEY_ID", PAIR),
    (AWS | {"AWS_SESSION_TOKEN": "the-token"}, "AWS_SESSION_TOKEN", "remove it"),
    (
        AWS | {"AWS_ACCESS_KEY_ID": "secret/x", "AWS_SECRET_ACCESS_KEY": "AKIAQWERTYUIOPASDFGH"},
        "AWS_SECRET_ACCESS_KEY",
        "swapped",
    ),
    (AWS | KEYS | {"AWS_ACCESS_KEY_ID": "a/b"}, "AWS_ACCESS_KEY_ID", "swapped"),
    (
        AWS | KEYS | {"AWS_ACCESS_KEY_ID": "ASIAQWERTYUIOPASDFGH"},
        "AWS_SESSION_TOKEN",
        "a temporary key",
    ),
    # Untidy values
    (AWS | {"AWS_REGION": "'us-east-1'"}, "AWS_REGION", "without quotes"),
    (AWS | KEYS | {"AWS_SECRET_ACCESS_KEY": '"quoted"'}, "AWS_SECRET_ACCESS_KEY", "without quotes"),
    (AWS | {"LOG_BUCKET": "logs # ours"}, "LOG_BUCKET", "A comment goes on a line of its own."),
    (AWS | KEYS | {"AWS_SECRET_ACCESS_KEY": "se\ncret"}, "AWS_SECRET_ACCESS_KEY", "line breaks"),
    (AWS | {"LOG_BUCKET": "lo\x1b[31mgs"}, "LOG_BUCKET", "control codes"),
    (AWS | {"LOG_BUCKET": "lo\udce9gs"}, "LOG_BUCKET", "UTF-8"),
    # Regions, endpoints, roles
    (AWS | {"AWS_REGION": "us-east-1a"}, "AWS_REGION", "That is an availability zone"),
    (AWS | {"AWS_REGION": "Frankfurt"}, "AWS_REGION", "a region like us-east-1"),
    (AWS | {"AWS_DEFAULT_REGION": "Frankfurt"}, "AWS_DEFAULT_REGION", "a region like"),
    (AWS | {"AWS_ENDPOINT": "minio:9000"}, "AWS_ENDPOINT", "Begin it with https://"),
    (AWS | {"AWS_ENDPOINT": "ftp://minio"}, "AWS_ENDPOINT", ENDPOINT),
    (AWS | {"AWS_ENDPOINT": "https://minio/bucket"}, "AWS_ENDPOINT", "The bucket and other paths"),
    (AWS | {"AWS_ENDPOINT": "https://minio?x=1"}, "AWS_ENDPOINT", "The bucket and other paths"),
    (AWS | {"AWS_ENDPOINT": "https://u:hunter2@minio"}, "AWS_ENDPOINT", "variables of their own"),
    (AWS | {"AWS_ENDPOINT": "https://minio:65536"}, "AWS_ENDPOINT", ENDPOINT),
    (AWS | {"AWS_ENDPOINT": "https://"}, "AWS_ENDPOINT", ENDPOINT),
    (AWS | {"AWS_STS_ENDPOINT": "sts"}, "AWS_STS_ENDPOINT", ENDPOINT),
    (AWS | {"RUNTIME_ROLE_ARN": "Runtime"}, "RUNTIME_ROLE_ARN", "whole ARN"),
    (AWS | {"RUNTIME_ROLE_ARN": "arn:minio:iam:::role/R"}, "RUNTIME_ROLE_ARN", "arn:aws:iam::1234"),
    (
        AWS | {"RUNTIME_ROLE_ARN": "arn:aws:iam::111122223333:user/bob"},
        "RUNTIME_ROLE_ARN",
        "not a user",
    ),
    (
        AWS | {"RUNTIME_ROLE_ARN": "arn:aws:sts::111122223333:assumed-role/R/session"},
        "RUNTIME_ROLE_ARN",
        "a session of a role",
    ),
    (MINIO | {"RUNTIME_ROLE_ARN": "arn:minio:iam:::role/"}, "RUNTIME_ROLE_ARN", "a role's ARN"),
    # R2
    (R2 | {"R2_API_TOKEN": "token"}, "R2_ACCOUNT_ID", "Set both, or neither"),
    (
        R2 | {"R2_ACCOUNT_ID": examples.ACCOUNT, "RINGFENCE_R2_MINT": "api"},
        "R2_API_TOKEN",
        "Or let credentials be signed locally",
    ),
    (R2 | TOKEN | {"R2_ACCOUNT_ID": "f" * 32}, "R2_ACCOUNT_ID", "R2_ENDPOINT begins with"),
    (R2 | TOKEN | {"R2_ACCOUNT_ID": "../../user"}, "R2_ACCOUNT_ID", "a Cloudflare account id"),
    (R2 | {"RINGFENCE_R2_MINT": "api"}, "R2_API_TOKEN", "RINGFENCE_R2_MINT=local"),
    (R2 | {"RINGFENCE_R2_MINT": "both"}, "RINGFENCE_R2_MINT", "api or local"),
    (R2 | {"R2_ENDPOINT": "https://<account-id>.r2.dev"}, "R2_ENDPOINT", "between < and >"),
    (R2 | {"AWS_USE_PATH_STYLE": "maybe"}, "AWS_USE_PATH_STYLE", "true, false, 1, 0, yes or no"),
    (
        R2 | {"R2_ENDPOINT": "http://127.0.0.1:9", "AWS_USE_PATH_STYLE": "false"},
        "AWS_USE_PATH_STYLE",
        "is 'false': expected true for an endpoint that is an IP address",
    ),
    # Azure
    (AZURE | {"AZURE_STORAGE_ACCOUNT_NAME": "Flow-Like"}, "AZURE_STORAGE_ACCOUNT_NAME", "3 to 24"),
    (
        AZURE | {"AZURE_STORAGE_ACCOUNT_KEY": examples.AZURE_KEY.rstrip("=")},
        "AZURE_STORAGE_ACCOUNT_KEY",
        "It ends in ==",
    ),
    (AZURE | {"AZURE_STORAGE_ENDPOINT": "https://a/b/c"}, "AZURE_STORAGE_ENDPOINT", ENDPOINT),
    # Google
    (GCP | {"GCS_PROJECT_ID": "My Project"}, "GCS_PROJECT_ID", "without blanks"),
    (GCP | {"GCS_PROJECT_ID": "My-Project"}, "GCS_PROJECT_ID", "a project's id"),
]


@pytest.mark.parametrize(("env", "variable", "words"), REFUSED)
def test_what_is_refused(env: Env, variable: str, words: str) -> None:
    found = problem(env)
    assert found.variable == variable
    assert words in str(found)


@pytest.mark.parametrize(
    ("env", "ignored"),
    [
        (AWS, {"AZURE_STORAGE_ACCOUNT_NAME": "!", "R2_ENDPOINT": "!", "GCS_PROJECT_ID": "!"}),
        (AWS, {"GOOGLE_APPLICATION_CREDENTIALS_JSON": "{", "RINGFENCE_R2_MINT": "!"}),
        (R2, {"AWS_ENDPOINT": "!", "AWS_ACCESS_KEY_ID": "x", "RUNTIME_ROLE_ARN": "!"}),
        (AZURE, {"AWS_REGION": "!", "META_BUCKET_EXPRESS_ZONE": "false"}),
        (GCP, {"AZURE_STORAGE_ENDPOINT": "!", "AWS_USE_PATH_STYLE": "!"}),
    ],
)
def test_other_providers_variables_are_not_looked_at(env: Env, ignored: Env) -> None:
    assert Settings.from_env({**env, **ignored}) == Settings.from_env(env)


def test_all_problems_at_once_in_the_order_of_the_table() -> None:
    found = problems(
        {
            "RINGFENCE_STRICTT": "true",
            "RINGFENCE_STRICT": "maybe",
            "EXECUTION_STATE_BACKEND": "mysql",
            "AWS_ENDPOINT": "nowhere",
            "AWS_SECRET_ACCESS_KEY": "the-secret",
            "LOG_BUCKET": "Logs",
        }
    )
    assert [each.variable for each in found] == [
        "META_BUCKET",
        "CONTENT_BUCKET",
        "LOG_BUCKET",
        "AWS_ACCESS_KEY_ID",
        "AWS_ENDPOINT",
        "EXECUTION_STATE_BACKEND",
        "RINGFENCE_STRICT",
        "RINGFENCE_STRICTT",
    ]


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:9",
        "https://127.0.0.1",
        "http://[::1]:9",
        "http://10.0.0.1:9000",
        "http://127.1:9",
        "http://0x7f000001:9",
    ],
)
@pytest.mark.parametrize("style", [None, "", "false", "No"])
def test_an_ip_address_needs_path_style(endpoint: str, style: str | None) -> None:
    env = AWS | {"AWS_ENDPOINT": endpoint, "LOG_BUCKET": "with.dots"}
    found = problem(env if style is None else env | {"AWS_USE_PATH_STYLE": style})
    assert found.variable == "AWS_USE_PATH_STYLE"
    assert found.found == (style and repr(style) if style != "" else "empty")
    assert found.expected == "true for an endpoint that is an IP address"
    assert "set AWS_USE_PATH_STYLE=true" in str(found.hint)
    Settings.from_env(env | {"AWS_USE_PATH_STYLE": "true"})


def test_an_ip_address_and_express_exclude_each_other() -> None:
    env = AWS | EXPRESS | {"AWS_ENDPOINT": "http://10.0.0.1:9000"}
    assert problem(env).variable == "AWS_ENDPOINT"
    both = problems(env | {"AWS_USE_PATH_STYLE": "true"})
    assert [each.variable for each in both] == ["AWS_ENDPOINT", "AWS_USE_PATH_STYLE"]


def test_a_wrong_path_style_is_told_once() -> None:
    wrong = {"AWS_USE_PATH_STYLE": "maybe", "LOG_BUCKET": "with.dots"}
    assert problem(AWS | wrong).variable == "AWS_USE_PATH_STYLE"
    env = AWS | wrong | {"AWS_ENDPOINT": "http://10.0.0.1"}
    assert "true, false, 1, 0, yes or no" in str(problem(env))


def test_a_wrong_provider_hides_no_other_problem() -> None:
    found = problems(
        {
            "STORAGE_PROVIDER": "ibm",
            "META_BUCKET": "A",
            "LOGS_BUCKET": "x-logs",
            "META_BUCKET_EXPRESS_ZONE": "perhaps",
            "AWS_USE_PATH_STYLE": "maybe",
            "EXECUTION_STATE_BACKEND": "mongo",
            "RINGFENCE_STRCIT": "1",
        }
    )
    assert [each.variable for each in found] == [
        "STORAGE_PROVIDER",
        "META_BUCKET",
        "CONTENT_BUCKET",
        "LOG_BUCKET",
        "META_BUCKET_EXPRESS_ZONE",
        "AWS_USE_PATH_STYLE",
        "EXECUTION_STATE_BACKEND",
        "RINGFENCE_STRCIT",
    ]
    assert "Did you mean LOG_BUCKET?" in str(found[3].hint)


@pytest.mark.parametrize(
    ("env", "others"),
    [
        ({}, ["META_BUCKET", "CONTENT_BUCKET", "LOG_BUCKET"]),
        (AWS, []),
        # Right with one provider or another.
        (AWS | {"META_BUCKET": "m--usw2-az1--x-s3", "LOG_BUCKET": "with.dots"}, []),
        (AWS | {"META_BUCKET": "under_scores", "LOG_BUCKET": "xn--logs"}, []),
        # Azure or Google may be meant, where the generic names are not read.
        ({"AZURE_META_CONTAINER": "m"}, ["CONTENT_BUCKET", "LOG_BUCKET"]),
        (AWS | {"GCP_META_BUCKET": "m", "META_BUCKET": "A"}, []),
        (AWS | {"GCP_META_BUCKET": "m", "META_BUCKET": "flow-like-logs"}, []),
        # Wrong with each.
        (AWS | {"CONTENT_BUCKET": "flow-like-meta"}, ["CONTENT_BUCKET"]),
        (AWS | {"LOG_BUCKET": "s3://logs"}, ["LOG_BUCKET"]),
        (AWS | {"AWS_ENDPOINT": "nowhere", "AWS_REGION": "!", "R2_API_TOKEN": "x"}, []),
    ],
)
def test_a_wrong_provider_brings_no_problem_of_one_provider(env: Env, others: list[str]) -> None:
    found = problems({**env, "STORAGE_PROVIDER": "ibm"})
    assert [each.variable for each in found] == ["STORAGE_PROVIDER", *others]


def test_a_wrong_endpoint_does_not_make_its_role_wrong_too() -> None:
    role = {"RUNTIME_ROLE_ARN": "arn:minio:iam:::role/R", "AWS_REGION": "garage"}
    assert problem(AWS | role | {"AWS_ENDPOINT": "minio"}).variable == "AWS_ENDPOINT"


def test_buckets_by_role() -> None:
    buckets = Settings.from_env(AWS).buckets
    assert [buckets.of(role) for role in BucketRole] == list(AWS.values())


JSON = "GOOGLE_APPLICATION_CREDENTIALS_JSON"
PACKED = base64.b64encode(json.dumps(SERVICE_ACCOUNT).encode()).decode()
URL_SAFE = base64.urlsafe_b64encode(b" " + json.dumps(SERVICE_ACCOUNT).encode()).decode()


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(SERVICE_ACCOUNT),
        json.dumps(SERVICE_ACCOUNT, indent=2),
        json.dumps(SERVICE_ACCOUNT).replace("\\n", "\n"),
        PACKED,
        PACKED.rstrip("="),
        "\n".join(PACKED[start : start + 76] for start in range(0, len(PACKED), 76)),
        URL_SAFE,
        "\ufeff" + json.dumps(SERVICE_ACCOUNT),
        "\ufeff\n " + json.dumps(SERVICE_ACCOUNT),
        "\ufeff" + PACKED,
        base64.b64encode(b"\xef\xbb\xbf" + json.dumps(SERVICE_ACCOUNT).encode()).decode(),
    ],
    ids=[
        "raw",
        "indented",
        "line breaks",
        "base64",
        "unpadded",
        "wrapped",
        "url-safe",
        "byte order mark",
        "byte order mark and blanks",
        "byte order mark before base64",
        "byte order mark in base64",
    ],
)
def test_google_credentials_in_every_form(value: str) -> None:
    cloud = Settings.from_env(GCP | {JSON: value}).cloud
    text = attrgetter("service_account_json")(cloud).reveal()
    assert json.loads(text) == SERVICE_ACCOUNT
    assert attrgetter("project_id")(cloud) == "project-of-the-key"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c"},
        {
            "type": "external_account",
            "audience": "a",
            "subject_token_type": "b",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"file": "/var/run/token"},
        },
    ],
    ids=lambda fields: fields["type"],
)
def test_google_credentials_of_other_types(fields: dict[str, object]) -> None:
    cloud = Settings.from_env(GCP | {JSON: json.dumps(fields)}).cloud
    assert json.loads(attrgetter("service_account_json")(cloud).reveal()) == fields


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "It cannot be read from character 1 on."),
        ("[1]", "neither an object"),
        (base64.b64encode(b"[1]").decode(), "JSON, but not an object"),
        ("/etc/key.json", "looks like a path"),
        ("key.json", "looks like a path"),
        ("no base64!", "nor base64"),
        ("{}", "a type among service_account"),
        ('{"type":"magic"}', "a type among service_account"),
        ('{"type":["service_account"]}', "a type among service_account"),
        ('{"type":"authorized_user"}', "Missing: client_id, client_secret, refresh_token."),
        (json.dumps({**SERVICE_ACCOUNT, "private_key": ""}), "Missing: private_key."),
        (json.dumps({**SERVICE_ACCOUNT, "private_key": "abc"}), "a PEM private key"),
        (json.dumps({**SERVICE_ACCOUNT, "client_email": 7}), "Not so: client_email."),
        (json.dumps(SERVICE_ACCOUNT).replace("\\n", "\\\\n"), "escaped twice"),
        (f"'{json.dumps(SERVICE_ACCOUNT)}'", "without quotes"),
        ('{"x":' + "[" * 100_000, "more brackets"),
    ],
)
def test_google_credentials_that_are_none(value: str, words: str) -> None:
    found = problem(GCP | {JSON: value})
    assert found.variable == JSON
    assert words in str(found)
    assert found.found == f"set ({len(value):,} characters)"
