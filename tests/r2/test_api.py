"""Credentials by Cloudflare's API: calls, time, tries, and every refusal in words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any, Final

import pytest

from ringfence.config import Buckets, R2Mint, R2Settings
from ringfence.errors import BucketMissing, IssueRefused, RingfenceError, StorageUnreachable
from ringfence.layout import BucketRole
from ringfence.providers.r2 import api as r2_api
from ringfence.providers.r2.api import retry_after
from ringfence.providers.r2.provider import R2Provider
from ringfence.scope import AccessMode, Area, Scope, grants
from ringfence.secret import Secret
from ringfence.vending import Vendor
from tests.isolation.wire import Keys, Wire
from tests.r2.api import EDIT, CloudflareApi, answer, cloudflare_api
from tests.r2.front import R2Front
from tests.r2.http1 import Request, Response
from tests.r2.installation import ACCOUNT, API_TOKEN, PARENT_KEY, PARENT_SECRET
from tests.r2.sessions import Parent

BUCKETS: Final = Buckets("flow-meta", "flow-content", "flow-logs")
LOGS: Final = grants(Scope("app", "user", "run", AccessMode.READ_LOGS))
WRITES: Final = grants(Scope("app", "user", "run"))
START: Final = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TTL: Final = timedelta(hours=1)
OTHER_TOKEN: Final = "v1-token-without-that-permission-000000"


@dataclass
class Time:
    """A clock that moves when somebody sleeps, or a test says so."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


@dataclass(frozen=True)
class Scene:
    api: CloudflareApi
    provider: R2Provider
    time: Time

    def with_(self, **settings: Any) -> R2Provider:
        """The same provider with other settings."""
        made = self.provider
        cloud = replace(made._settings, **settings)
        return make(cloud, self.time)


def make(cloud: R2Settings, time: Time, jitter: float = 1.0) -> R2Provider:
    return R2Provider(
        cloud,
        BUCKETS,
        credential_ttl=TTL,
        clock=time.now,
        sleep=time.sleep,
        monotonic=time.monotonic,
        jitter=lambda: jitter,
    )


@pytest.fixture(scope="module")
def shared_api() -> Iterator[CloudflareApi]:
    names = frozenset(BUCKETS.of(role) for role in BucketRole)
    parent = Parent(ACCOUNT, PARENT_KEY, PARENT_SECRET, names)
    nowhere = Wire("http://127.0.0.1:1", Keys("a", "b"))
    tokens = {API_TOKEN: frozenset({EDIT}), OTHER_TOKEN: frozenset({"Zone: Read"})}
    with cloudflare_api(R2Front(parent, nowhere), tokens) as api:
        yield api


@pytest.fixture
def scene(shared_api: CloudflareApi) -> Iterator[Scene]:
    shared_api.calls.clear()
    shared_api.fault = lambda _: None
    time = Time()
    cloud = R2Settings(
        PARENT_KEY,
        Secret(PARENT_SECRET),
        "https://r2.example.test",
        account_id=ACCOUNT,
        api_token=Secret(API_TOKEN),
        mint=R2Mint.API,
        api_url=shared_api.url,
    )
    provider = make(cloud, time)
    yield Scene(shared_api, provider, time)
    provider.close()
    shared_api.fault = lambda _: None


def failing(*responses: Response | None) -> Callable[[Request], Response | None]:
    """Each in turn, then as if nothing had been."""
    left = list(responses)
    return lambda _: left.pop(0) if left else None


def cloudflares(status: int, code: int, message: str = "no", *headers: tuple[str, str]) -> Response:
    document = {
        "success": False,
        "errors": [{"code": code, "message": message}],
        "messages": [],
        "result": None,
    }
    return answer(status, document, headers)


# --- calls -----------------------------------------------------------------------------------


def test_one_call_for_each_credential_and_none_for_one_in_the_cache(scene: Scene) -> None:
    vendor = Vendor(scene.provider, clock=scene.time.now)

    async def twice() -> None:
        for _ in range(2):
            await asyncio.gather(*(vendor.vend(WRITES, session="x") for _ in range(20)))

    asyncio.run(twice())
    vendor.close()
    asked = sorted(call["bucket"] for call in scene.api.calls)
    assert asked == ["flow-content", "flow-logs"]


def test_what_is_asked_for(scene: Scene) -> None:
    (credential,) = scene.provider.issue(LOGS, session="x")
    assert scene.api.calls == [
        {
            "bucket": "flow-logs",
            "parentAccessKeyId": PARENT_KEY,
            "permission": "object-read-only",
            "ttlSeconds": 3600,
            "prefixes": ["runs/app/run/"],
        }
    ]
    issued = scene.api.front.identities.issued[credential.fields["access_key_id"].reveal()]
    assert credential.fields["secret_access_key"].reveal() == issued.secret
    assert credential.fields["token"].reveal() == issued.token


def test_the_life_is_counted_from_before_the_question(scene: Scene) -> None:
    def slow(_: Request) -> None:
        scene.time.seconds += 30

    scene.api.fault = slow
    (credential,) = scene.provider.issue(LOGS, session="x")
    assert credential.issued_at == START
    assert credential.expires_at == START + TTL


def test_the_life_is_that_of_the_try_that_was_answered(scene: Scene) -> None:
    scene.api.fault = failing(Response(500), Response(503))
    (credential,) = scene.provider.issue(LOGS, session="x")
    assert credential.issued_at == START + timedelta(seconds=sum(scene.time.slept))
    assert credential.expires_at == credential.issued_at + TTL


def test_all_or_nothing(scene: Scene) -> None:
    scene.api.fault = lambda request: (
        cloudflares(403, 10000) if b"flow-logs" in request.body else None
    )
    with pytest.raises(IssueRefused):
        scene.provider.issue(WRITES, session="x")


def test_another_place_is_not_gone_to_with_the_token(scene: Scene) -> None:
    met: list[str] = []

    def moved(request: Request) -> Response:
        met.append(request.target)
        return Response(307, (("Location", f"{scene.api.url}/elsewhere"),))

    scene.api.fault = moved
    with pytest.raises(IssueRefused, match="does not answer as Cloudflare's API does"):
        scene.provider.issue(LOGS, session="x")
    assert len(met) == 1


# --- tries -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(scene: Scene, status: int) -> None:
    scene.api.fault = failing(*[Response(status)] * (r2_api.ATTEMPTS - 1))
    assert scene.provider.issue(LOGS, session="x")
    assert scene.time.slept == [1.0, 2.0, 4.0, 8.0]


def test_r2s_own_codes_for_later_are_tried_again(scene: Scene) -> None:
    scene.api.fault = failing(cloudflares(400, 10043), cloudflares(400, 10058))
    assert scene.provider.issue(LOGS, session="x")
    assert len(scene.time.slept) == 2


def test_half_of_the_wait_is_chance(scene: Scene) -> None:
    slept = []
    for jitter in (0.0, 0.5):
        time = Time()
        scene.api.fault = failing(Response(500))
        provider = make(scene.provider._settings, time, jitter)
        provider.issue(LOGS, session="x")
        provider.close()
        slept += time.slept
    assert slept == [0.5, 0.75]


def test_retry_after_in_seconds_is_kept_to(scene: Scene) -> None:
    scene.api.fault = failing(Response(429, (("Retry-After", "7"),)))
    assert scene.provider.issue(LOGS, session="x")
    assert scene.time.slept == [7.0]


def test_retry_after_as_a_date_is_kept_to(scene: Scene) -> None:
    date = format_datetime(START + timedelta(seconds=9), usegmt=True)
    scene.api.fault = failing(Response(503, (("Retry-After", date),)))
    assert scene.provider.issue(LOGS, session="x")
    assert scene.time.slept == [9.0]


def test_a_retry_after_below_the_backoff_shortens_nothing(scene: Scene) -> None:
    scene.api.fault = failing(Response(429, (("Retry-After", "0"),)))
    assert scene.provider.issue(LOGS, session="x")
    assert scene.time.slept == [1.0]


def test_who_is_blocked_for_minutes_is_told_so_at_once(scene: Scene) -> None:
    blocked = Response(429, (("Retry-After", "300"),))
    scene.api.fault = failing(*[blocked] * 9)
    with pytest.raises(StorageUnreachable, match=r"wait 300 s.*RINGFENCE_CREDENTIAL_TTL") as caught:
        scene.provider.issue(LOGS, session="x")
    assert "RINGFENCE_R2_MINT=local" in str(caught.value)
    assert scene.time.slept == []


def test_after_the_last_try_it_says_what_cloudflare_said(scene: Scene) -> None:
    scene.api.fault = lambda _: cloudflares(500, 10001, "internal error; please try again")
    with pytest.raises(StorageUnreachable, match=r"in 5 tries.*HTTP 500: internal error") as caught:
        scene.provider.issue(LOGS, session="x")
    assert caught.value.exit_code == 4
    assert len(scene.time.slept) == r2_api.ATTEMPTS - 1


def test_all_tries_together_end_in_time(scene: Scene) -> None:
    def slow(_: Request) -> Response:
        scene.time.seconds += 15
        return Response(500)

    scene.api.fault = slow
    with pytest.raises(StorageUnreachable):
        scene.provider.issue(LOGS, session="x")
    assert scene.time.seconds <= r2_api.TOTAL_SECONDS + 15


def test_an_answer_that_trickles_is_left(scene: Scene) -> None:
    def trickles(_: Request) -> Response:
        scene.time.seconds += 2 * r2_api.TOTAL_SECONDS
        return Response(200, body=b"{" + b" " * (1 << 17))

    scene.api.fault = trickles
    with pytest.raises(StorageUnreachable, match="takes too long"):
        scene.provider.issue(LOGS, session="x")


def test_an_answer_without_an_end_is_left(scene: Scene) -> None:
    scene.api.fault = lambda _: Response(200, body=b" " * (r2_api.MAX_ANSWER_BYTES + 1))
    with pytest.raises(StorageUnreachable, match="no end"):
        scene.provider.issue(LOGS, session="x")


def test_nobody_there_is_tried_again_and_told(scene: Scene) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        lost = scene.with_(api_url=url)
        with pytest.raises(StorageUnreachable, match=f"{url} cannot be reached") as caught:
            lost.issue(LOGS, session="x")
        lost.close()
    assert "RINGFENCE_R2_API_URL" in str(caught.value)
    assert len(scene.time.slept) == r2_api.ATTEMPTS - 1


def test_a_connection_that_breaks_is_tried_again(scene: Scene) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(breaking_once(scene.api.url))
        provider = scene.with_(api_url=url)
        stack.callback(provider.close)
        assert provider.issue(LOGS, session="x")
    assert len(scene.time.slept) == 1


@contextmanager
def breaking_once(url: str) -> Iterator[str]:
    """A way to the API whose first connection is cut."""
    from tests.r2.http1 import serving

    wire = Wire(url, None)
    numbers = count()

    def handle(request: Request) -> Response:
        if next(numbers) == 0:
            raise ConnectionError
        headers = {name: value for name, value in request.headers if name != "host"}
        reply = wire.exchange(
            request.method, request.target, request.body, {"Host": wire.host, **headers}
        )
        return Response(reply.status, (("Content-Type", "application/json"),), reply.body)

    with serving(handle) as host:
        yield f"http://{host}"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("12", 12.0),
        (" 3 ", 3.0),
        ("0", 0.0),
        ("9" * 400, 999_999_999.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\u0663", None),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:30 -0000", 30.0),
        ("Tue, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_strictly(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, START) == seconds


# --- refusals in words -----------------------------------------------------------------------


def refusal(provider: R2Provider) -> RingfenceError:
    try:
        with pytest.raises(RingfenceError) as caught:
            provider.issue(LOGS, session="x")
    finally:
        provider.close()
    assert API_TOKEN not in str(caught.value)
    assert PARENT_SECRET not in str(caught.value)
    return caught.value


def test_a_token_without_the_permission(scene: Scene) -> None:
    error = refusal(scene.with_(api_token=Secret(OTHER_TOKEN)))
    assert isinstance(error, IssueRefused)
    assert "R2_API_TOKEN may not issue credentials" in error.message
    assert "Authentication error (10000)" in error.message
    assert "Workers R2 Storage: Edit" in (error.hint or "")
    assert "R2_ACCOUNT_ID" in (error.hint or "")
    assert error.exit_code == 3


def test_a_token_that_is_none(scene: Scene) -> None:
    for token in ("gone", "has blanks in it"):
        error = refusal(scene.with_(api_token=Secret(token)))
        assert "does not accept R2_API_TOKEN" in error.message, token


def test_another_account(scene: Scene) -> None:
    error = refusal(scene.with_(account_id="f" * 32))
    assert "knows no account ffff" in error.message
    assert "R2_ACCOUNT_ID" in (error.hint or "")


def test_another_parent_key(scene: Scene) -> None:
    error = refusal(scene.with_(access_key_id="e" * 32))
    assert isinstance(error, IssueRefused)
    assert "R2_ACCESS_KEY_ID" in error.message


def test_a_bucket_that_is_not_there(scene: Scene) -> None:
    buckets = replace(BUCKETS, log="flow-lost")
    provider = R2Provider(
        scene.provider._settings, buckets, credential_ttl=TTL, sleep=scene.time.sleep
    )
    error = refusal(provider)
    assert isinstance(error, BucketMissing)
    assert error.message.startswith("LOG_BUCKET flow-lost does not exist")


@pytest.mark.parametrize(
    ("status", "code", "message", "words"),
    [
        (403, 10042, "Please enable R2 through the Cloudflare Dashboard.", "has no R2"),
        (403, 10003, "Access Denied", "R2_API_TOKEN may not issue"),
        (401, 10002, "Unauthorized", "R2_API_TOKEN may not issue"),
        (400, 10022, "ttlSeconds must be at most 604800", "for this long"),
        (404, 7000, "No route for that URI", "knows no account"),
        (409, 12345, "something of its own", "something of its own \\(12345\\)"),
        (400, 6003, "Invalid request headers", "does not accept R2_API_TOKEN"),
    ],
)
def test_cloudflares_codes(scene: Scene, status: int, code: int, message: str, words: str) -> None:
    scene.api.fault = lambda _: cloudflares(status, code, message)
    with pytest.raises(IssueRefused, match=words):
        scene.provider.issue(LOGS, session="x")
    assert scene.time.slept == [], "what was meant is not asked again"


def test_a_chain_of_errors_is_told(scene: Scene) -> None:
    chained = {"code": 6003, "message": "Invalid request headers"}
    chained |= {"error_chain": [{"code": 6111, "message": "Invalid format for Authorization"}]}
    document = {"success": False, "errors": [chained], "messages": [], "result": None}
    scene.api.fault = lambda _: answer(400, document)
    with pytest.raises(IssueRefused, match=r"Invalid format for Authorization \(6111\)"):
        scene.provider.issue(LOGS, session="x")


def test_what_cloudflare_says_cannot_steer_a_terminal_or_give_the_token_away(scene: Scene) -> None:
    said = f"no \x1b[31m\n{API_TOKEN} " + "x" * 4000
    scene.api.fault = lambda _: cloudflares(400, 1, said)
    with pytest.raises(IssueRefused) as caught:
        scene.provider.issue(LOGS, session="x")
    assert caught.value.message.isprintable()
    assert API_TOKEN not in str(caught.value)
    assert len(caught.value.message) < 600


FINE: Final = {"accessKeyId": "a", "secretAccessKey": "b", "sessionToken": "c"}


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"success": "true", "result": FINE},
        {"success": False, "errors": None},
        {"success": False, "errors": [None, {"code": "x"}, {"message": 1}]},
        {"success": True},
        {"success": True, "result": None},
        {"success": True, "result": []},
        {"success": True, "result": {**FINE, "sessionToken": ""}},
        {"success": True, "result": {**FINE, "sessionToken": 7}},
        {"success": True, "result": {**FINE, "sessionToken": "a\r\nX-Evil: 1"}},
        {"success": True, "result": {**FINE, "accessKeyId": "\u00e9"}},
        {"success": True, "result": {name: FINE[name] for name in list(FINE)[:2]}},
    ],
)
def test_an_answer_that_is_none_is_refused(scene: Scene, document: Any) -> None:
    scene.api.fault = lambda _: answer(200, document)
    with pytest.raises(IssueRefused):
        scene.provider.issue(LOGS, session="x")


@pytest.mark.parametrize("body", [b"", b"<html>hello</html>", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_no_answer_of_cloudflares(scene: Scene, body: bytes) -> None:
    scene.api.fault = lambda _: Response(200, body=body)
    with pytest.raises(IssueRefused, match="RINGFENCE_R2_API_URL"):
        scene.provider.issue(LOGS, session="x")


def test_the_enforcement_says_what_the_api_allows_beyond(scene: Scene) -> None:
    content, logs = scene.provider.issue(WRITES, session="x")
    assert all(enforced.exact for enforced in content.enforcement)
    (enforced,) = logs.enforcement
    assert enforced.area is Area.LOGS
    assert enforced.coarser is not None
    assert enforced.coarser.endswith("may also read, delete and list under runs/app/run/")
