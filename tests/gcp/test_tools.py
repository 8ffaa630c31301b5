"""What tools are told: files, variables and forms; and the run's service as a token endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from ringfence.config import Buckets, GcpSettings, Settings
from ringfence.config.report import examine
from ringfence.errors import UsageError
from ringfence.executor.service import RunService
from ringfence.executor.token_exchange import presented
from ringfence.layout import BucketRole, Prefix
from ringfence.providers.base import Credential, Form, Renewal
from ringfence.providers.gcp.provider import GcpProvider
from ringfence.scope import Area, Grant, Grants, Permission, Scope, grants
from ringfence.secret import Secret

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HELD = grants(Scope("billing", "auth0|42", "r1"))
GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"


def credential(held: Grants = HELD, value: str = "ya29.fenced") -> Credential:
    return Credential(held, {"token": Secret(value)}, NOW, NOW + timedelta(minutes=50), ())


def provider(endpoint: str | None = None, project: str | None = "acme") -> GcpProvider:
    return GcpProvider(GcpSettings(project, None, endpoint), Buckets("m", "c", "l"))


AT = Renewal("http://127.0.0.1:9", Secret("run-token"))

# Variables and files -------------------------------------------------------------------------


def test_variables_without_an_endpoint() -> None:
    env = provider().environment(credential())
    assert env == {
        "GOOGLE_BEARER_TOKEN": "ya29.fenced",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.fenced",
        "NO_GCE_CHECK": "true",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "GOOGLE_CLOUD_PROJECT": "acme",
        "CLOUDSDK_CORE_PROJECT": "acme",
    }


def test_variables_that_renew_hold_no_token() -> None:
    env = provider("http://127.0.0.1:4443", None).refreshing_environment(credential(), AT)
    assert "ya29" not in str(env)
    assert env["API_ENDPOINT_OVERRIDE"] == env["GOOGLE_BASE_URL"] == "http://127.0.0.1:4443"
    assert "GOOGLE_CLOUD_PROJECT" not in env


def test_each_of_several_tokens_has_a_file_of_its_own() -> None:
    parts = credential(HELD[:2]), credential(HELD[2:])
    files = provider().tool_files(parts, AT)
    assert [(file.name, file.variable) for file in files] == [
        ("google-0.json", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("google-0.json", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE"),
        ("google-1.json", "RINGFENCE_TMP_GOOGLE_APPLICATION_CREDENTIALS"),
        ("google-1.json", "RINGFENCE_LOGS_GOOGLE_APPLICATION_CREDENTIALS"),
    ]
    urls = [json.loads(file.text)["token_url"] for file in files]
    assert urls == [f"{AT.url}/google/token/{number}" for number in (0, 0, 1, 1)]
    assert all("ya29" not in file.text and "run-token" not in repr(file) for file in files)


# Forms ---------------------------------------------------------------------------------------


def test_storage_options_name_an_endpoint_only_where_there_is_one() -> None:
    options = json.loads(provider().export(credential(), Form.OPTIONS))
    assert options == {"google_bearer_token": "ya29.fenced"}
    options = json.loads(provider("http://127.0.0.1:4").export(credential(), Form.OPTIONS))
    assert options["allow_http"] == "true"


def test_duckdb_is_scoped_to_each_area_that_can_be_read() -> None:
    said = provider().export(credential(), Form.DUCKDB).splitlines()
    assert said[1] == (
        "CREATE OR REPLACE SECRET ringfence_user (TYPE http, BEARER_TOKEN 'ya29.fenced', SCOPE "
        "'https://storage.googleapis.com/c/users/auth0%257C42/apps/billing/');"
    )
    assert len(said) == 3
    logs = credential(tuple(grant for grant in HELD if grant.area is Area.LOGS))
    with pytest.raises(UsageError, match="reads nothing"):
        provider().export(logs, Form.DUCKDB)


def test_a_quote_in_a_token_stays_in_its_text() -> None:
    said = provider().export(credential(value="a'); DROP"), Form.DUCKDB)
    assert "'a''); DROP'" in said


def test_there_is_no_credential_process() -> None:
    with pytest.raises(UsageError, match="credential-process") as caught:
        provider().export(credential(), Form.PROCESS)
    assert "storage-options" in str(caught.value)


def test_places_are_named_as_googles_tools_write_them() -> None:
    only = Grant(Area.APP, BucketRole.CONTENT, Prefix("apps/a/"), frozenset({Permission.READ}))
    assert provider().url(only) == "gs://c/apps/a/"
    assert provider().address(only) == {"bucket": "c", "endpoint": None}


# The run's service ---------------------------------------------------------------------------


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[RunService, httpx.AsyncClient]]:
    async def vend() -> tuple[Credential, ...]:
        return credential(HELD[:2]), credential(HELD[2:], "ya29.second")

    async def unused(*_: object) -> None:
        raise AssertionError

    async with (
        RunService(vend, unused, unused, unused, clock=lambda: NOW) as service,  # type: ignore[arg-type]
        httpx.AsyncClient(base_url=service.url, trust_env=False) as client,
    ):
        yield service, client


def form(token: str, **fields: str) -> dict[str, str]:
    return {"grant_type": GRANT, "subject_token": token, "audience": "x", **fields}


async def test_the_service_is_a_token_endpoint() -> None:
    async with serving() as (service, client):
        headers = {"Authorization": service.token.reveal()}
        subject = (await client.get("/google/subject", headers=headers)).json()
        assert subject == {"subject_token": service.token.reveal()}
        answer = await client.post("/google/token/1", data=form(subject["subject_token"]))
        assert answer.json() == {
            "access_token": "ya29.second",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": 3000,
        }
        none = await client.post("/google/token/2", data=form(subject["subject_token"]))
        assert none.status_code == 404


async def test_a_form_of_another_cloud_is_none() -> None:
    async with serving() as (service, client):
        headers = {"Authorization": service.token.reveal()}
        answer = await client.get("/container/0", headers=headers)
        assert (answer.status_code, "no such form" in answer.text) == (404, True)
        plain = (await client.get("/credentials/0", headers=headers)).json()
        assert plain["fields"] == {"token": "ya29.fenced"}


async def test_nobody_else_gets_a_token_there() -> None:
    async with serving() as (service, client):
        own = service.token.reveal()
        headers = {"Authorization": own}
        wrong: list[tuple[dict[str, str], dict[str, str]]] = [
            (form("guessed"), {}),
            (form(""), {}),
            ({}, {}),
            ({"grant_type": "refresh_token", "subject_token": own}, {}),
            (form("guessed"), headers),  # the header counts elsewhere, and the form here
        ]
        for data, more in wrong:
            answer = await client.post("/google/token/0", data=data, headers=more)
            assert answer.status_code == 403, data
        assert (await client.get("/google/subject")).status_code == 403
        assert (await client.get("/google/token/0", headers=headers)).status_code == 404
        for at in ("/google/token/x", "/google/token/", "/google/token/0/1"):
            answer = await client.post(at, data=form(own))
            assert answer.status_code == 404, at


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"&" * 100,
        b"grant_type=" + GRANT.encode() + b"&subject_token=a&subject_token=b",
        b"&".join([b"a=1"] * 50),
    ],
)
def test_what_is_no_exchange_presents_nothing(body: bytes) -> None:
    assert presented(body) == b""


# Settings ------------------------------------------------------------------------------------


def test_a_life_that_google_would_not_keep_to_is_remarked_on() -> None:
    env = {
        "STORAGE_PROVIDER": "gcp",
        "META_BUCKET": "acme-meta",
        "CONTENT_BUCKET": "acme-content",
        "LOG_BUCKET": "acme-logs",
        "EXECUTION_STATE_BACKEND": "s3",
    }
    assert list(examine(env).notes) == []
    (note,) = examine({**env, "RINGFENCE_CREDENTIAL_TTL": "900"}).notes
    assert (note.variable, note.text.startswith("Google decides")) == (
        "RINGFENCE_CREDENTIAL_TTL",
        True,
    )


def test_the_security_token_service_has_a_variable() -> None:
    env = {
        "STORAGE_PROVIDER": "gcp",
        "META_BUCKET": "acme-meta",
        "CONTENT_BUCKET": "acme-content",
        "LOG_BUCKET": "acme-logs",
        "GCS_STS_ENDPOINT": "https://sts-acme.p.googleapis.com",
    }
    cloud = Settings.from_env(env).cloud
    assert isinstance(cloud, GcpSettings)
    assert (cloud.endpoint, cloud.sts_endpoint) == (None, "https://sts-acme.p.googleapis.com")
