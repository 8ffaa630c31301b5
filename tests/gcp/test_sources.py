"""Sources of the installation's own token, beside a service account's key."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringfence.config import Buckets, GcpSettings
from ringfence.errors import IssueRefused, RingfenceError, StorageUnreachable
from ringfence.providers.gcp.provider import GcpProvider
from ringfence.providers.gcp.transport import HttpRequest
from ringfence.scope import Scope, grants
from ringfence.secret import Secret

EMAIL = "123-compute@developer.gserviceaccount.com"
HELD = grants(Scope("a", "u", "r"))
UNIFORM = {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}

Answers = dict[str, Callable[[httpx.Request], httpx.Response]]


class Google(httpx.BaseTransport):
    """All of Google's hosts, as far as ``answers`` has them: by host and path."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        place = f"{request.url.host}{request.url.path}"
        self.asked.append(place)
        for start, answer in self.answers.items():
            if place.startswith(start):
                return answer(request)
        raise httpx.ConnectError(f"nothing is at {place}", request=request)


def always(row: Any, status: int = 200, **headers: str) -> Callable[..., httpx.Response]:
    return lambda _: httpx.Response(status, json=row, headers=headers)


FLAVOR = {"Metadata-Flavor": "Google"}
STORAGE: Answers = {
    "storage.googleapis.com/storage/v1/b/": always(UNIFORM),
    "sts.googleapis.com/v1/token": always({"access_token": "downscoped", "expires_in": 3000}),
}


def metadata(request: httpx.Request) -> httpx.Response:
    """A virtual machine's metadata server. It asks for its header, and for it to be the machine."""
    assert request.headers.get("Metadata-Flavor") == "Google"
    end = request.url.path.rpartition("/")[2]
    if end == "token":
        row = {"access_token": "of-the-machine", "expires_in": 3500, "token_type": "Bearer"}
        return httpx.Response(200, json=row, headers=FLAVOR)
    if "service-accounts" in request.url.path:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        row = {"email": EMAIL, "aliases": ["default"], "scopes": scopes}
        return httpx.Response(200, json=row, headers=FLAVOR)
    return httpx.Response(200, text="acme-project", headers=FLAVOR)


MACHINE: Answers = {"169.254.169.254": metadata, "metadata.google.internal": metadata, **STORAGE}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials but those of the machine."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    # Its variable, NO_GCE_CHECK, is read when it is imported.
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", False)


def provider_on(google: Google, given: str | None = None) -> GcpProvider:
    settings = GcpSettings("acme-project", Secret(given) if given else None)
    buckets = Buckets("acme-meta", "acme-content", "acme-logs")
    return GcpProvider(settings, buckets, transport=google, sleep=lambda _: None)


@pytest.fixture
def opened() -> Iterator[Callable[..., GcpProvider]]:
    made: list[GcpProvider] = []

    def on(google: Google, given: str | None = None) -> GcpProvider:
        made.append(provider_on(google, given))
        return made[-1]

    yield on
    for each in made:
        each.close()


@pytest.mark.usefixtures("machine")
def test_a_machines_own_account_is_a_source(opened: Callable[..., GcpProvider]) -> None:
    google = Google(MACHINE)
    provider = opened(google)
    for _ in range(3):
        (credential,) = provider.issue(HELD, session="s")
    assert credential.fields["token"].reveal() == "downscoped"
    tokens = [place for place in google.asked if place.endswith("default/token")]
    assert len(tokens) == 1, "cached"


@pytest.mark.usefixtures("machine")
def test_a_machines_account_signs_through_iam(opened: Callable[..., GcpProvider]) -> None:
    signed: list[bytes] = []

    def sign(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == "Bearer of-the-machine"
        signed.append(base64.b64decode(json.loads(request.content)["payload"]))
        return httpx.Response(200, json={"signedBlob": base64.b64encode(b"\x01\x02").decode()})

    iam = f"iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{EMAIL}:signBlob"
    google = Google({**MACHINE, iam: sign})
    url = opened(google).sign(HELD[0], "x", "GET", timedelta(minutes=5))
    assert url.startswith("https://storage.googleapis.com/acme-content/apps/a/x?")
    assert url.endswith("&X-Goog-Signature=0102")
    assert signed[0].startswith(b"GOOG4-RSA-SHA256\n")


UNSIGNED: dict[str, tuple[Callable[..., httpx.Response], type[RingfenceError], str]] = {
    "refused": (
        always({"error": {"code": 403}}, 403),
        IssueRefused,
        "iam.serviceAccounts.signBlob",
    ),
    "failing": (always({}, 503), StorageUnreachable, "kept failing"),
    "a page": (lambda _: httpx.Response(200, text="<html>"), StorageUnreachable, "iamcredentials"),
    "no base64": (always({"signedBlob": "?"}), StorageUnreachable, "iamcredentials"),
}


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("answer", UNSIGNED)
def test_what_iam_answers_is_put_in_words(opened: Callable[..., GcpProvider], answer: str) -> None:
    make, kind, said = UNSIGNED[answer]
    iam = f"iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{EMAIL}:signBlob"
    with pytest.raises(kind) as caught:
        opened(Google({**MACHINE, iam: make})).sign(HELD[0], "x", "GET", timedelta(minutes=5))
    assert said in str(caught.value)


@pytest.mark.usefixtures("machine")
def test_a_metadata_server_that_stops_answering_is_out_of_reach(
    opened: Callable[..., GcpProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)

    def broken(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("token"):
            raise httpx.ConnectError("gone", request=request)
        return metadata(request)

    google = Google({**MACHINE, "metadata.google.internal": broken, "169.254.169.254": broken})
    with pytest.raises(StorageUnreachable):
        opened(google).issue(HELD, session="s")


def test_a_workload_of_another_cloud_is_a_source(
    opened: Callable[..., GcpProvider], tmp_path: Path
) -> None:
    """Workload identity federation: a token of elsewhere is exchanged for the source's own."""
    (tmp_path / "token").write_text("of-elsewhere")
    pool = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
    given = {
        "type": "external_account",
        "audience": pool,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(tmp_path / "token")},
    }

    def exchange(request: httpx.Request) -> httpx.Response:
        federated = b"of-elsewhere" in request.content
        row = {"access_token": "federated" if federated else "downscoped", "expires_in": 3600}
        if not federated:
            assert b"subject_token=federated" in request.content
        return httpx.Response(200, json=row)

    projects = "cloudresourcemanager.googleapis.com/"
    google = Google(
        {**STORAGE, "sts.googleapis.com/v1/token": exchange, projects: always({"projectId": "p"})}
    )
    (credential,) = opened(google, json.dumps(given)).issue(HELD, session="s")
    assert credential.fields["token"].reveal() == "downscoped"


@pytest.mark.parametrize(
    ("origin", "direct"),
    [
        ("http://metadata.google.internal", True),
        ("http://169.254.169.254", True),
        ("http://metadata.google.internal.evil.test", False),
        ("http://proxied.test", False),
    ],
)
def test_a_machines_tokens_never_go_through_a_proxy(
    origin: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    request = HttpRequest()
    mounts = request._client(f"{origin}/x")._mounts
    assert any(mounts.values()) is not direct
    request.close()
