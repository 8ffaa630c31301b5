"""What stands between this machine and an endpoint: proxies, certificates, and silence."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ringfence import installation
from ringfence.config import Settings
from ringfence.errors import ConfigError, LayoutMismatch, RingfenceError, StorageUnreachable
from ringfence.installation import check_layout
from ringfence.layout import BucketRole
from ringfence.providers.aws.provider import AwsProvider
from ringfence.providers.connecting import is_loopback, proxy_before
from ringfence.providers.s3 import provider as s3
from ringfence.providers.stores import RECORD_TIMEOUT, REQUEST_TIMEOUT
from tests.aws.test_sts import ANSWER, BUCKETS, GRANTS, settings

PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(body: str, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """An endpoint that gives one answer to everything, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Sun, 01 Mar 2026 12:00:00 GMT")
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = do_POST = _answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None:
            """Nothing to standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def provider(endpoint: str, **changes: Any) -> AwsProvider:
    given = settings(endpoint=endpoint, sts_endpoint=endpoint, use_path_style=True, **changes)
    return AwsProvider(given, BUCKETS, credential_ttl=timedelta(seconds=900))


def installed(endpoint: str) -> Settings:
    return Settings.from_env(
        {
            "STORAGE_PROVIDER": "aws",
            "META_BUCKET": BUCKETS.meta,
            "CONTENT_BUCKET": BUCKETS.content,
            "LOG_BUCKET": BUCKETS.log,
            "AWS_ENDPOINT": endpoint,
            "AWS_REGION": "eu-west-1",
            "AWS_USE_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        }
    )


async def refused(endpoint: str) -> RingfenceError:
    """What opening an installation at an endpoint raises."""
    meta = provider(endpoint).open_bucket(BucketRole.META)
    with pytest.raises(RingfenceError) as caught:
        await check_layout(meta, installed(endpoint))
    return caught.value


@pytest.mark.parametrize("variable", PROXIES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_engine_on_this_machine_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch, variable: str, host: str
) -> None:
    with serving("no", 502) as (proxy, proxied), serving(ANSWER) as (endpoint, asked):
        monkeypatch.setenv(variable, proxy)
        here = provider(endpoint.replace("127.0.0.1", host))
        await here.open_bucket(BucketRole.META).get_async("a")
        await asyncio.to_thread(here.issue, GRANTS, session="run1")
        here.close()
    assert proxied == []
    assert asked == ["/meta-bucket/a", "/"]


async def test_any_other_is_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ANSWER) as (proxy, proxied):
        monkeypatch.setenv("HTTP_PROXY", proxy)
        there = provider("http://s3.example.invalid")
        await there.open_bucket(BucketRole.META).get_async("a")
        await asyncio.to_thread(there.issue, GRANTS, session="run1")
        there.close()
    assert proxied == [
        "http://s3.example.invalid/meta-bucket/a",
        "http://s3.example.invalid/",
    ]


def test_a_failure_of_sts_behind_a_proxy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(StorageUnreachable, match="asked through HTTP_PROXY's proxy"):
        provider("http://s3.example.invalid").issue(GRANTS, session="run1")


@pytest.mark.parametrize(
    "url", ["http://[::bad", "http://:3128", "ftp://proxy:1", "http://proxy:port"]
)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "https_proxy"])
def test_a_proxy_that_is_none_is_refused_unquoted(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(variable, url)
    away = provider("https://s3.example.invalid")
    for attempt in (
        lambda: away.open_bucket(BucketRole.META),
        lambda: away.issue(GRANTS, session="run1"),
    ):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert caught.value.problems[0].variable == variable
        assert url not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9", True),
        ("https://[::1]:8443", True),
        ("http://LOCALHOST:1", True),
        ("http://bucket.localhost:1", True),
        ("http://localhost.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://notlocalhost", False),
        ("http://10.0.0.1", False),
    ],
)
def test_what_this_machine_is(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_which_proxy_stands_before_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.setenv("ALL_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", "inside, .corp.example")
    assert proxy_before("https://s3.example.com") == "https_proxy"
    assert proxy_before("http://s3.example.com") == "ALL_PROXY"
    for direct in ("http://inside", "https://s3.corp.example", "https://corp.example"):
        assert proxy_before(direct) is None
    assert proxy_before("https://outside") == "https_proxy"
    monkeypatch.setenv("NO_PROXY", "*")
    assert proxy_before("https://s3.example.com") is None


@pytest.mark.parametrize("page", ["<!doctype html><title>Console</title>", "\n <html>", "<?xml ?>"])
async def test_a_page_is_no_damaged_layout(page: str) -> None:
    with serving(page) as (endpoint, _):
        error = await refused(endpoint)
    assert isinstance(error, ConfigError)
    assert error.problems[0].variable == "AWS_ENDPOINT"
    assert "not as storage does" in str(error)


@pytest.mark.parametrize("garbage", ["", "garbage", "[1]", '"<"'])
async def test_other_garbage_is_one(garbage: str) -> None:
    with serving(garbage) as (endpoint, _):
        error = await refused(endpoint)
    assert isinstance(error, LayoutMismatch)
    assert "is not a layout that Ringfence wrote" in str(error)


async def test_an_endpoint_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "OPEN_SECONDS", 0.2)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        endpoint = f"http://127.0.0.1:{held.getsockname()[1]}"
        error = await refused(endpoint)
    assert isinstance(error, StorageUnreachable)
    assert f"{endpoint} did not answer within 0.2 s" in str(error)


def test_records_are_waited_for_less_long_than_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[timedelta] = []
    monkeypatch.setattr(s3, "open_s3", lambda *_, timeout, **__: waits.append(timeout))
    for role in (BucketRole.META, BucketRole.CONTENT):
        provider("http://127.0.0.1:1").open_bucket(role)
    assert waits == [RECORD_TIMEOUT, REQUEST_TIMEOUT]
    assert timedelta(seconds=30) >= RECORD_TIMEOUT
    assert installation.OPEN_SECONDS <= 20


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "https://s3.example.invalid"])
def test_certificates_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/nope")
    with pytest.raises(ConfigError, match=r"SSL_CERT_FILE is '/nope', .*ca-certificates"):
        provider(endpoint).open_bucket(BucketRole.META)
    if endpoint.startswith("https:"):
        with pytest.raises(ConfigError, match="SSL_CERT_FILE is '/nope'"):
            provider(endpoint).issue(GRANTS, session="run1")
