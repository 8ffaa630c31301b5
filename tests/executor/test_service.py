"""The run's own service: its token, its two kinds of answers, and what it does not put up with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from ringfence.errors import AccessDenied, IssueRefused, StorageUnreachable, UsageError
from ringfence.executor import service as module
from ringfence.executor.service import RunService
from ringfence.logs import LogEntry
from ringfence.providers.base import Credential
from ringfence.scope import Scope, grants
from ringfence.secret import Secret
from ringfence.state.event import Payload

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CREDENTIAL = Credential(
    grants(Scope("a", "u", "r")),
    {
        "access_key_id": Secret("ASIA1"),
        "secret_access_key": Secret("s3cret"),
        "token": Secret("t0ken"),
    },
    NOW,
    NOW + timedelta(hours=1),
    (),
)


@asynccontextmanager
async def serving(
    lines: list[LogEntry] | None = None,
    failure: Exception | None = None,
    emitted: list[tuple[Sequence[Payload], str | None]] | None = None,
) -> AsyncIterator[tuple[RunService, httpx.AsyncClient]]:
    async def vend() -> tuple[Credential, ...]:
        if failure is not None:
            raise failure
        return (CREDENTIAL,)

    async def append(entry: LogEntry) -> None:
        assert lines is not None
        lines.append(entry)

    async def emit(payloads: Sequence[Payload], batch: str | None) -> range:
        if failure is not None:
            raise failure
        assert emitted is not None
        emitted.append((payloads, batch))
        return range(5, 5 + len(payloads))

    async def sign(area: str, path: str, method: str, seconds: float) -> str:
        if failure is not None:
            raise failure
        return f"https://signed/{area}/{path}?{method}&{seconds:g}"

    async with (
        RunService(vend, append, emit, sign, clock=lambda: NOW) as service,
        httpx.AsyncClient(base_url=service.url, trust_env=False) as client,
    ):
        yield service, client


async def test_who_has_the_token_gets_the_runs_own_credential() -> None:
    async with serving() as (service, client):
        headers = {"Authorization": service.token.reveal()}
        answer = (await client.get("/credentials/0", headers=headers)).json()
        assert answer["fields"] == {
            "access_key_id": "ASIA1",
            "secret_access_key": "s3cret",
            "token": "t0ken",
        }
        container = (await client.get("/container/0", headers=headers)).json()
        assert container == {
            "AccessKeyId": "ASIA1",
            "SecretAccessKey": "s3cret",
            "Token": "t0ken",
            "Expiration": "2026-01-01T01:00:00Z",
        }
        assert (await client.get("/credentials/1", headers=headers)).status_code == 404


@pytest.mark.parametrize("token", [None, "", "x", "Bearer x"])
@pytest.mark.parametrize("path", ["/credentials/0", "/container/0", "/log", "/"])
async def test_without_the_token_there_is_nothing(token: str | None, path: str) -> None:
    async with serving(lines=[]) as (service, client):
        headers = {} if token is None else {"Authorization": token}
        for answer in (
            await client.get(path, headers=headers),
            await client.post(path, headers=headers, content=b'{"level": "info", "text": "x"}'),
        ):
            assert answer.status_code == 403
            assert "s3cret" not in answer.text
            assert service.token.reveal() not in answer.text


async def test_lines_are_taken_and_nonsense_is_not() -> None:
    lines: list[LogEntry] = []
    async with serving(lines) as (service, client):
        headers = {"Authorization": service.token.reveal()}
        good = {"level": "info", "text": "stored", "fields": {"n": 1}}
        assert (await client.post("/log", headers=headers, json=good)).status_code == 200
        for bad in (b"", b"[]", b"null", b'{"level": "loud", "text": ""}', b'{"text": 1}', b"\xff"):
            answer = await client.post("/log", headers=headers, content=bad)
            assert answer.status_code == 400
    assert lines == [LogEntry(NOW, "log", "stored", "info", {"n": 1})]


async def test_a_refusal_is_passed_on_in_words() -> None:
    async with serving(failure=IssueRefused("the role is gone")) as (service, client):
        headers = {"Authorization": service.token.reveal()}
        answer = await client.get("/container/0", headers=headers)
        assert answer.status_code == 503
        assert "the role is gone" in answer.json()["message"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n" + b"x" * 999_999,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"",
    ],
    ids=["blank", "nonsense", "version", "long line", "long body", "tls", "nothing"],
)
async def test_what_is_no_request_is_refused_and_the_service_goes_on(request_bytes: bytes) -> None:
    async with serving() as (service, client):
        port = int(service.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request_bytes)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionError:
            answer = b""
        finally:
            writer.close()
        assert b"s3cret" not in answer
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        headers = {"Authorization": service.token.reveal()}
        assert (await client.get("/credentials/0", headers=headers)).status_code == 200


async def test_a_caller_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.1)
    async with serving() as (service, _):
        port = int(service.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_leaving_ends_open_connections() -> None:
    async with serving() as (service, _):
        port = int(service.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.05)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


def test_the_container_form_is_what_botocore_reads() -> None:
    """Through botocore's own fetcher and parser, against the real service."""
    from botocore.credentials import ContainerProvider

    async def fetch() -> dict[str, str]:
        async with serving() as (service, _):
            environment = {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{service.url}/container/0",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": service.token.reveal(),
            }
            found = await asyncio.to_thread(ContainerProvider(environ=environment).load)
            assert found is not None
            frozen = found._frozen_credentials  # type: ignore[attr-defined]
            return {"key": frozen.access_key, "secret": frozen.secret_key, "token": frozen.token}

    assert asyncio.run(fetch()) == {"key": "ASIA1", "secret": "s3cret", "token": "t0ken"}
    assert json.dumps(CREDENTIAL.fields["token"], default=str) == '"********"'


async def test_events_go_to_the_run_with_their_batch() -> None:
    emitted: list[tuple[Sequence[Payload], str | None]] = []
    async with serving(emitted=emitted) as (service, client):
        headers = {"Authorization": service.token.reveal()}
        for body, status in (
            ({"payloads": [1, {"a": None}], "batch": "b"}, 200),
            ({"payloads": ["x" * (1 << 20)]}, 200),
            ({"payloads": 1}, 400),
            ({"payloads": [1], "batch": 2}, 400),
            ([], 400),
        ):
            answer = await client.post("/events", json=body, headers=headers)
            assert answer.status_code == status, body
        assert answer.json()["error"].startswith("Events are")
        assert (await client.post("/events", json={"payloads": [1]})).status_code == 403
    assert emitted == [([1, {"a": None}], "b"), (["x" * (1 << 20)], None)]


@pytest.mark.parametrize(
    ("failure", "status"), [(UsageError("taken"), 422), (StorageUnreachable("away"), 503)]
)
async def test_why_events_were_not_stored_is_said(failure: Exception, status: int) -> None:
    async with serving(failure=failure) as (service, client):
        headers = {"Authorization": service.token.reveal()}
        answer = await client.post("/events", json={"payloads": [1]}, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (status, str(failure))


async def test_a_url_is_made_by_the_runner_and_a_refusal_comes_through() -> None:
    wanted = {"area": "app", "path": "a/b", "method": "GET", "seconds": 60}
    async with serving() as (service, client):
        headers = {"Authorization": service.token.reveal()}
        answer = await client.post("/sign", headers=headers, json=wanted)
        assert answer.json() == {"url": "https://signed/app/a/b?GET&60"}
        assert (await client.post("/sign", json=wanted)).status_code == 403
        for bad in (b"", b"[]", b"{}", b'{"area": "app"}', b"[" * 50_000):
            answer = await client.post("/sign", headers=headers, content=bad)
            assert answer.status_code == 400
    for failure, status in (
        (AccessDenied("no"), 403),
        (UsageError("what?"), 422),
        (StorageUnreachable("gone"), 503),
    ):
        async with serving(failure=failure) as (service, client):
            headers = {"Authorization": service.token.reveal()}
            assert (await client.post("/sign", headers=headers, json=wanted)).status_code == status
