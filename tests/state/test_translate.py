"""obstore's errors in Ringfence's words: from the engine itself, and from canned answers."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import MemoryStore, S3Store

from ringfence.errors import (
    AccessDenied,
    BucketMissing,
    ConfigError,
    CredentialExpired,
    IssueRefused,
    Problem,
    RegionMismatch,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.providers._obstore import translate, translating
from tests.state.conftest import OpenMeta

BUCKET = "META_BUCKET meta"
KEY, SECRET, TOKEN = "AKIASECRETSECRET", "s3cr3t/s3cr3t+s3cr3t", "t0k3nt0k3nt0k3n"


def open_at(endpoint: str, **options: Any) -> S3Store:
    static: dict[str, Any] = {
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "session_token": TOKEN,
    }
    return S3Store(
        "meta",
        endpoint=endpoint,
        region="us-east-1",
        client_options={"allow_http": True, "timeout": "1s"},
        retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=5)},
        **(options or static),
    )


async def failure(store: S3Store) -> RingfenceError:
    """What reading a key raises, checked for what must never be in a message."""
    with pytest.raises(RingfenceError) as raised, translating("read the layout", BUCKET):
        await store.get_async("some/key")
    said = f"{raised.value} {raised.value!r} {raised.value.__cause__!r}"
    for never in (KEY, SECRET, TOKEN, "Debug source", "<Error>", "some/key", "X-Amz", "retr"):
        assert never not in said
    assert raised.value.__suppress_context__
    return raised.value


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """An endpoint that gives every request the same answer; an empty one hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def xml(status: str, code: str, message: str = "It says so.", headers: str = "") -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return (head + body).encode()


MOVED = "HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (xml("403 Forbidden", "AccessDenied"), AccessDenied, "refused to read the layout"),
        (xml("403 Forbidden", "SomethingNew"), AccessDenied, "SomethingNew, HTTP 403"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", AccessDenied, r"\(HTTP 403\)"),
        (xml("401 Unauthorized", "Unauthorized"), AccessDenied, "Unauthorized, HTTP 401"),
        (xml("403 Forbidden", "InvalidAccessKeyId"), ConfigError, "AWS_ACCESS_KEY_ID is set, but"),
        (xml("403 Forbidden", "SignatureDoesNotMatch"), ConfigError, "AWS_SECRET_ACCESS_KEY is"),
        (xml("400 Bad Request", "InvalidToken"), ConfigError, "AWS_SESSION_TOKEN is set, but"),
        (xml("400 Bad Request", "ExpiredToken"), CredentialExpired, "life is over"),
        (xml("403 Forbidden", "RequestTimeTooSkewed"), CredentialExpired, "clock is off"),
        (xml("404 Not Found", "NoSuchBucket"), BucketMissing, f"{BUCKET} does not exist at http:"),
        (xml("301 Moved", "PermanentRedirect"), RegionMismatch, "another region"),
        (xml("400 Bad Request", "AuthorizationHeaderMalformed"), RegionMismatch, "AWS_REGION"),
        (
            xml("400 Bad Request", "IllegalLocationConstraintException"),
            RegionMismatch,
            "AWS_REGION",
        ),
        (f"{MOVED}\r\n".encode(), RegionMismatch, "another region"),
        (f"{MOVED}Location: /x\r\n\r\n".encode(), RegionMismatch, "another region"),
        (xml("503 Slow Down", "SlowDown"), StorageUnreachable, "SlowDown, HTTP 503"),
        (xml("500 Error", "InternalError"), StorageUnreachable, "its disk may be full"),
        (xml("507 Full", "InsufficientStorage"), StorageUnreachable, "cannot store anything"),
        (xml("400 Bad", "XMinioStorageFull"), StorageUnreachable, "cannot store anything"),
        (
            xml("500 Error", "Odd", "write: no space left on device"),
            StorageUnreachable,
            "cannot store anything",
        ),
        (b"", StorageUnreachable, "is out of reach"),
        (b"SSH-2.0-OpenSSH\r\n", StorageUnreachable, "is out of reach"),
        (xml("400 Bad Request", "InvalidArgument"), RingfenceError, "InvalidArgument, HTTP 400"),
        (xml("400 Bad Request", "x" * 99), RingfenceError, r"\(HTTP 400\)"),
    ],
)
async def test_answers(answer: bytes, kind: type[RingfenceError], words: str) -> None:
    async with answering(answer) as endpoint:
        said = await failure(open_at(endpoint))
    assert type(said) is kind
    assert re.search(words, str(said))
    if kind is not ConfigError:
        assert str(said).count("\n") == 0
        assert BUCKET in str(said)


async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{held.getsockname()[1]}"
        said = await failure(open_at(endpoint))
    assert isinstance(said, StorageUnreachable)
    assert f"{endpoint} is out of reach (it refuses connections)" in str(said)


async def test_nobody_answers() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        said = await failure(open_at(f"http://127.0.0.1:{held.getsockname()[1]}"))
    assert isinstance(said, StorageUnreachable)
    assert "no answer in time" in str(said)


async def test_a_name_that_is_none() -> None:
    said = await failure(open_at("http://no-such-host.invalid:9000"))
    assert isinstance(said, StorageUnreachable)
    assert "http://no-such-host.invalid:9000 is out of reach" in str(said)


async def test_credentials_in_an_endpoint_are_not_repeated() -> None:
    said = await failure(open_at(f"http://{KEY}:{TOKEN}@127.0.0.1:1"))
    assert "http://127.0.0.1:1 is out of reach" in str(said)


def raising(error: Exception) -> Callable[[], Any]:
    def provide() -> Any:
        raise error

    async def provide_async() -> Any:
        raise error

    return provide_async if "async" in str(error) else provide


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_an_error_of_a_credential_callable_comes_through(way: str) -> None:
    refused = IssueRefused(f"The trust policy is missing ({way}).", hint="Add it to the role.")
    said = await failure(open_at("http://127.0.0.1:1", credential_provider=raising(refused)))
    assert type(said) is IssueRefused
    assert str(said) == str(refused)


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_problems_with_the_settings_come_through_one_by_one(way: str) -> None:
    problems = (
        Problem("AWS_PROFILE", f"'nope', {way}", "a profile of ~/.aws/config. Really", "Set it."),
        Problem("AWS_ACCESS_KEY_ID", None, "a key"),
    )
    said = await failure(
        open_at("http://127.0.0.1:1", credential_provider=raising(ConfigError(problems)))
    )
    assert isinstance(said, ConfigError)
    assert str(said) == str(ConfigError(problems))
    assert said.problems[0].variable == "AWS_PROFILE"
    assert said.problems[1] == problems[1]


async def test_a_missing_bucket_is_made_with_what_there_is() -> None:
    async with answering(xml("404 Not Found", "NoSuchBucket")) as endpoint:
        said = await failure(open_at(endpoint))
    assert said.hint == "Make it with your provider's tools, or correct the variable."


async def test_a_proxy_that_may_have_answered_itself_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        said = await failure(open_at("http://s3.example.invalid"))
    assert isinstance(said, AccessDenied)
    assert str(said).endswith("It was asked through HTTP_PROXY's proxy.")
    # S3's own answer is S3's, by whatever way it came.
    async with answering(xml("403 Forbidden", "AccessDenied")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        said = await failure(open_at("http://s3.example.invalid"))
    assert "proxy" not in str(said)


@pytest.mark.parametrize("kind", [RuntimeError, ConfigError])
async def test_any_other_error_of_one_is_no_refusal_by_name(kind: type[Exception]) -> None:
    error = ConfigError(()) if kind is ConfigError else kind("sync")
    said = await failure(open_at("http://127.0.0.1:1", credential_provider=raising(error)))
    assert isinstance(said, RingfenceError)
    assert not isinstance(said, StorageUnreachable)


async def test_answers_that_are_no_failures_pass() -> None:
    store = MemoryStore()
    await store.put_async("k", b"1")
    with pytest.raises(FileNotFoundError), translating("read", BUCKET):
        await store.get_async("missing")
    with pytest.raises(AlreadyExistsError), translating("store", BUCKET):
        await store.put_async("k", b"2", mode="create")
    with pytest.raises(PreconditionError), translating("store", BUCKET):
        await store.put_async("k", b"2", mode={"e_tag": "none"})
    with pytest.raises(ZeroDivisionError), translating("divide", BUCKET):
        1 / 0  # noqa: B018 - to raise


def test_an_error_of_ringfence_stays_what_it_is() -> None:
    error = AccessDenied("no")
    assert translate(error, what="read", bucket=BUCKET) is error


@pytest.mark.engine
async def test_the_engine_itself(open_meta: OpenMeta, engine: Any) -> None:
    endpoint, key = engine.env["AWS_ENDPOINT"], engine.env["AWS_ACCESS_KEY_ID"]
    wrong = open_at(endpoint, access_key_id=key, secret_access_key=SECRET)
    said = await failure(wrong)
    assert isinstance(said, ConfigError)
    assert said.problems[0].variable == "AWS_SECRET_ACCESS_KEY"
    said = await failure(open_at(endpoint, access_key_id=KEY, secret_access_key=SECRET))
    assert isinstance(said, ConfigError)
    assert said.problems[0].variable == "AWS_ACCESS_KEY_ID"
    missing = await failure(open_meta(bucket="not-one-of-ours"))
    assert isinstance(missing, BucketMissing)
    assert isinstance(await failure(open_at(endpoint, skip_signature=True)), AccessDenied)
