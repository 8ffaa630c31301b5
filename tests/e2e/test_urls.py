"""URLs for those without credentials: made by the installation, and only for what is granted."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ringfence import Scope, Storage
from ringfence.errors import AccessDenied, UsageError
from ringfence.scope import AccessMode
from tests.e2e.cli import python, ringfence

pytestmark = pytest.mark.engine

SCOPE = Scope("urls-app", "user", "run1")
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 - made here
    try:
        with _direct.open(request, timeout=20) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


async def test_a_url_reads_and_writes_one_object_and_no_other(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        put = await storage.sign(SCOPE, "app", "report.txt", method="PUT")
        assert fetch(put, "PUT", b"figures")[0] == 200
        get = await storage.sign(SCOPE, "app", "report.txt")
        assert fetch(get) == (200, b"figures")
        assert fetch(get, "DELETE")[0] == 403, "it is for one method"
        parts = urlsplit(get)
        other = parts._replace(path=parts.path.replace("report", "other")).geturl()
        assert fetch(other)[0] == 403, "and for one object"
        workspace = storage.open(SCOPE)
        assert (
            bytes(await (await workspace.app.get_async("report.txt")).bytes_async()) == b"figures"
        )


async def test_no_url_holds_a_session(engine: Any) -> None:
    """With SeaweedFS and R2, who has a session's token can compute the session's secret."""
    async with Storage.from_env(engine.env) as storage:
        fenced = await storage.vend(SCOPE)
        url = await storage.sign(SCOPE, "app", "report.txt")
        assert "security-token" not in url.lower()
        for credential in fenced:
            assert credential.fields["access_key_id"].reveal() not in url


async def test_what_the_grant_does_not_allow_gets_no_url(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        with pytest.raises(AccessDenied, match="does not allow to read"):
            await storage.sign(SCOPE, "logs", "log.jsonl")
        reader = Scope("urls-app", "user", mode=AccessMode.READ_APP)
        with pytest.raises(AccessDenied, match="does not allow to write"):
            await storage.sign(reader, "app", "x", method="PUT")
        with pytest.raises(UsageError, match="does not reach the area user"):
            await storage.sign(reader, "user", "x")
        for path in ("../urls-app0/x", "a/../../x", "/x", "a//b"):
            with pytest.raises(UsageError, match="no path of an object"):
                await storage.sign(SCOPE, "app", path)
        with pytest.raises(UsageError, match="RINGFENCE_CREDENTIAL_TTL"):
            await storage.sign(SCOPE, "app", "x", expires_in=timedelta(days=7))


def test_an_execution_asks_its_runner_for_one(engine: Any, tmp_path: Path) -> None:
    code = """
import ringfence
from ringfence.errors import AccessDenied, UsageError
run = ringfence.attach()
run.app.put("shared.txt", b"for all to see")
print(run.sign("app", "shared.txt"))
for area, path in (("logs", "x"), ("app", "../other/x"), ("meta", "x")):
    try:
        run.sign(area, path)
    except (AccessDenied, UsageError) as error:
        print(type(error).__name__)
"""
    scope = ("--app", "urls-child", "--user", "user")
    done = ringfence(engine.env, "run", *scope, "--", *python(code), cwd=tmp_path)
    assert done.code == 0, done.err
    url, *refused = done.out.split()
    assert fetch(url) == (200, b"for all to see")
    assert refused == ["AccessDenied", "UsageError", "UsageError"]
