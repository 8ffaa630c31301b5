"""Names: slips are told, settings of ours are known, and secrets never reach a child."""

from __future__ import annotations

import pytest

from ringfence.config import VARIABLES, Settings, is_configuration_variable
from ringfence.config.names import near_misses
from ringfence.config.report import examine
from tests.config.examples import AWS, AZURE, GCP, R2
from tests.config.problems import problem, without


@pytest.mark.parametrize(
    ("env", "slip", "meant"),
    [
        (without(AWS, "META_BUCKET"), "META_BUKET", "META_BUCKET"),
        (without(AWS, "META_BUCKET"), "meta_bucket", "META_BUCKET"),
        (without(AWS, "META_BUCKET"), "RINGFENCE_META_BUCKET", "META_BUCKET"),
        (without(AWS, "LOG_BUCKET"), "LOGS_BUCKET", "LOG_BUCKET"),
        (without(AWS, "CONTENT_BUCKET"), "CONTENT_BUCKETS", "CONTENT_BUCKET"),
        (without(AWS, "CONTENT_BUCKET"), "CONTENT_BUCKET_NAME", "CONTENT_BUCKET"),
        (without(R2, "R2_ACCESS_KEY_ID"), "R2_ACCESS_KEY", "R2_ACCESS_KEY_ID"),
        (without(GCP, "META_BUCKET"), "GCS_META_BUCKET", "GCP_META_BUCKET"),
        (without(AZURE, "META_BUCKET"), "AZURE_META_BUCKET", "AZURE_META_CONTAINER"),
        (without(AZURE, "META_BUCKET"), "META_BUCKT", "META_BUCKET"),
        (without(R2, "R2_ENDPOINT"), "R2_END_POINT", "R2_ENDPOINT"),
        (
            AWS | {"LOG_BUCKET": "l--usw2-az1--x-s3"},
            "LOG_BUCKET_EXPRESS_ZONE",
            "LOGS_BUCKET_EXPRESS_ZONE",
        ),
        (
            without(AZURE, "AZURE_STORAGE_ACCOUNT_NAME"),
            "AZURE_STORAGE_ACCOUNT",
            "AZURE_STORAGE_ACCOUNT_NAME",
        ),
    ],
)
def test_a_missing_variable_names_the_slip(env: dict[str, str], slip: str, meant: str) -> None:
    hint = problem(env | {slip: "anything"}).hint
    assert f"{slip} is set. Did you mean {meant}?" in str(hint)


def test_a_missing_variable_without_a_slip_has_no_guess() -> None:
    env = without(AWS, "META_BUCKET") | {"DATA_BUCKET": "x", "PATH": "/bin", "HOME": "/"}
    assert "Did you mean" not in str(problem(env))


def test_another_clouds_bucket_points_at_the_provider() -> None:
    env = without(AWS, "META_BUCKET") | {"AZURE_META_CONTAINER": "mine"}
    assert "read with STORAGE_PROVIDER=azure" in str(problem(env).hint)


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("RUNTIME_ROLE_ANR", "RUNTIME_ROLE_ARN"),
        ("LOG_BUCKET_EXPRESS_ZONE", "LOGS_BUCKET_EXPRESS_ZONE"),
        ("STORAGE_PROVDER", "STORAGE_PROVIDER"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
        ("AWS_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
        ("RINGFENSE_STRICT", "RINGFENCE_STRICT"),
        ("RUNTIME_ROLE", "RUNTIME_ROLE_ARN"),
        ("runtime_role", "RUNTIME_ROLE_ARN"),
        ("RUNTIME_ROLE_ARN_NAME", "RUNTIME_ROLE_ARN"),
        ("GCS_PROJECT", "GCS_PROJECT_ID"),
        ("AWS_REGION_NAME", "AWS_REGION"),
        ("META_BUCKET_EXPRESS", "META_BUCKET_EXPRESS_ZONE"),
    ],
)
def test_a_slip_of_an_optional_variable_is_noted(slip: str, meant: str) -> None:
    env = AWS | {slip: "anything"}
    Settings.from_env(env)
    assert f"{slip}: not read by Ringfence. Did you mean {meant}?" in map(str, examine(env).notes)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "DATA_BUCKET",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_DEFAULT_REGION",
        "AWS_DEFAULT_OUTPUT",
        "AWS_ROLE_ARN",
        "AWS_ROLE_SESSION_NAME",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_STS_REGIONAL_ENDPOINTS",
        "AWS_SECURITY_TOKEN",
        "AWS_USE_FIPS_ENDPOINT",
        "AZURE_CLIENT_ID",
        "AZURE_STORAGE_CONNECTION_STRING",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_PROJECT",
        "DATABASE",
        "DATABASE_HOST",
        "DATABASE_NAME",
        "DATABASE_USER",
        "DATABASE_URL_TEST",
        "REDIS",
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_USER",
        "STORAGE",
        "LOG",
        "LOG_LEVEL",
        "LOG_FILE",
        "CONTENT_TYPE",
        # Each begins several of ours.
        "AZURE_STORAGE",
        "EXECUTION_STATE",
    ],
)
def test_false_friends_are_left_alone(name: str) -> None:
    assert near_misses({name: "anything"}) == {}


def test_a_set_variable_is_not_missed() -> None:
    assert near_misses(AWS | {"BLOG_BUCKET": "x"}) == {}
    assert near_misses({"BLOG_BUCKET": "x"}) == {"BLOG_BUCKET": "LOG_BUCKET"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("RINGFENCE_STRCIT", "RINGFENCE_STRICT"),
        ("ringfence_strict", "RINGFENCE_STRICT"),
        ("RINGFENCE_CREDENTIALS_TTL", "RINGFENCE_CREDENTIAL_TTL"),
        ("RINGFENCE_IDCASE", "RINGFENCE_ID_CASE"),
        ("RINGFENCE_HEARTBEAT", "RINGFENCE_HEARTBEAT_SECONDS"),
        ("RINGFENCE_EXPRESS", None),
        ("RINGFENCE_ENTIRELY_UNKNOWN", None),
        ("RINGFENCE_ \x1b[31m", None),
    ],
)
def test_an_unknown_setting_of_ours_is_an_error(name: str, meant: str | None) -> None:
    found = problem(AWS | {name: "value-of-unknown"})
    assert found.variable == name.replace("\x1b", "\\x1b")
    hint = f"Did you mean {meant}?" if meant else "`ringfence config --all` lists them."
    assert found.hint == hint
    assert "value-of-unknown" not in str(found)


@pytest.mark.parametrize(
    "name",
    [
        "RINGFENCE_RUN_ID",
        "RINGFENCE_MODE",
        "RINGFENCE_WORKSPACE",
        "RINGFENCE_CREDENTIALS",
        "RINGFENCE_CREDENTIALS_TOKEN",
        "RINGFENCE_APP_BUCKET",
        "RINGFENCE_USER_ID",
        "RINGFENCE_TMP_PREFIX",
        "RINGFENCE_LOGS_PREFIX",
        "RINGFENCE_META_PREFIX",
    ],
)
def test_a_childs_own_variables_are_no_settings(name: str) -> None:
    assert Settings.from_env(AWS | {name: "x"}) == Settings.from_env(AWS)


@pytest.mark.parametrize("name", [variable.name for variable in VARIABLES])
def test_no_setting_reaches_a_child(name: str) -> None:
    assert is_configuration_variable(name)
    assert is_configuration_variable(name.lower())


@pytest.mark.parametrize(
    "name",
    [
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AZURE_CLIENT_SECRET",
        "ARM_CLIENT_SECRET",
        "IDENTITY_HEADER",
        "MSI_SECRET",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "CLOUDSDK_AUTH_ACCESS_TOKEN",
        "CLOUDFLARE_API_TOKEN",
        "CF_API_TOKEN",
        "R2_ANYTHING",
        "MINIO_ROOT_PASSWORD",
        "MC_HOST_local",
        "PGPASSWORD",
        "REDISCLI_AUTH",
        "RINGFENCE_RUN_ID",
        "RINGFENCE_OF_A_LATER_VERSION",
    ],
)
def test_no_credential_of_any_cloud_reaches_a_child(name: str) -> None:
    assert is_configuration_variable(name)


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "LANG", "SSL_CERT_FILE", "AWS_CA_BUNDLE", "AWS_EC2_METADATA_DISABLED"],
)
def test_harmless_variables_reach_a_child(name: str) -> None:
    assert not is_configuration_variable(name)
