"""The vendor: single flight, caching by share of life, renewal, and what failures leave behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringfence.errors import (
    CredentialExpired,
    GrantNotEnforceable,
    IssueRefused,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.providers.base import Credential, Enforcement, PolicyDocument
from ringfence.scope import Area, Grants, Scope, grants
from ringfence.secret import Secret
from ringfence.vending import MIN_REMAINING, RETRY_AFTER, Vendor

START = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = timedelta(hours=1)
ONE = grants(Scope("app1", "user"))
OTHER = grants(Scope("app10", "user"))


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class CountingProvider:
    """Issues numbered credentials; blocks on ``gate`` and raises ``failure`` where told to."""

    clock: Clock
    issued: list[tuple[Grants, str]] = field(default_factory=list)
    failure: Exception | None = None
    gate: threading.Event | None = None
    life: timedelta = LIFE
    split: bool = False
    coarser: str | None = None
    threads: set[str] = field(default_factory=set)

    def issue(self, granted: Grants, *, session: str) -> tuple[Credential, ...]:
        self.issued.append((granted, session))
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        number = str(len(self.issued))
        parts = [granted[:1], granted[1:]] if self.split else [granted]
        return tuple(self._credential(part, f"{number}.{i}") for i, part in enumerate(parts))

    def plan(self, granted: Grants) -> tuple[PolicyDocument, ...]:
        return (PolicyDocument(granted, "none", "{}", self._enforcement(granted)),)

    def _enforcement(self, granted: Grants) -> tuple[Enforcement, ...]:
        said = {Area.LOGS: self.coarser}
        return tuple(Enforcement(grant.area, said.get(grant.area)) for grant in granted)

    def _credential(self, granted: Grants, number: str) -> Credential:
        enforcement = self._enforcement(granted)
        fields = {"token": Secret(number)}
        now = self.clock()
        return Credential(granted, fields, now, now + self.life, enforcement)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(clock: Clock) -> CountingProvider:
    return CountingProvider(clock)


@pytest.fixture
def make(provider: CountingProvider, clock: Clock) -> Iterator[Callable[..., Vendor]]:
    made: list[Vendor] = []

    def factory(**options: Any) -> Vendor:
        vendor = Vendor(provider, clock=clock, **options)  # type: ignore[arg-type]
        made.append(vendor)
        return vendor

    yield factory
    if provider.gate is not None:
        provider.gate.set()
    for vendor in made:
        vendor.close()


async def test_callers_at_once_share_one_issue(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    provider.gate = threading.Event()
    vendor = make()
    callers = [asyncio.create_task(vendor.vend(ONE, session="run1")) for _ in range(100)]
    await asyncio.sleep(0.05)
    provider.gate.set()
    answers = await asyncio.gather(*callers)
    assert len(provider.issued) == 1
    assert {id(answer) for answer in answers} == {id(answers[0])}
    assert all(name.startswith("ringfence-vendor") for name in provider.threads)


async def test_the_cache_is_by_the_full_grants(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    vendor = make()
    one = await vendor.vend(ONE, session="a")
    other = await vendor.vend(OTHER, session="b")
    narrower = await vendor.vend(grants(Scope("app1", "user", mode="invoke_read")), session="c")  # type: ignore[arg-type]
    assert [len({id(one), id(other), id(narrower)}), len(provider.issued)] == [3, 3]
    assert one[0].grants == ONE
    assert other[0].grants == OTHER


async def test_a_credential_is_served_until_its_share_is_gone(
    make: Callable[..., Vendor], provider: CountingProvider, clock: Clock
) -> None:
    vendor = make(share=0.5)
    first = await vendor.vend(ONE, session="a")
    clock.now = START + LIFE / 2 - timedelta(seconds=1)
    assert await vendor.vend(ONE, session="a") is first
    clock.now = START + LIFE / 2
    assert await vendor.vend(ONE, session="a") is not first
    assert len(provider.issued) == 2


async def test_an_error_reaches_every_caller_and_is_not_cached(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    provider.failure = IssueRefused("no")
    provider.gate = threading.Event()
    vendor = make()
    callers = [asyncio.create_task(vendor.vend(ONE, session="a")) for _ in range(5)]
    await asyncio.sleep(0.05)
    provider.gate.set()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(answer) for answer in answers] == [IssueRefused] * 5
    assert len(provider.issued) == 1
    provider.failure = None
    assert await vendor.vend(ONE, session="a")
    assert len(provider.issued) == 2


async def test_a_cancelled_caller_does_not_take_the_issue_from_others(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    provider.gate = threading.Event()
    vendor = make()
    first = asyncio.create_task(vendor.vend(ONE, session="a"))
    await asyncio.sleep(0.02)
    second = asyncio.create_task(vendor.vend(ONE, session="a"))
    await asyncio.sleep(0.02)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    provider.gate.set()
    assert await second
    assert len(provider.issued) == 1


async def test_a_cancelled_caller_of_a_failing_issue_leaves_no_noise(
    make: Callable[..., Vendor], provider: CountingProvider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.gate = threading.Event()
    provider.failure = StorageUnreachable("down")
    vendor = make()
    caller = asyncio.create_task(vendor.vend(ONE, session="a"))
    await asyncio.sleep(0.02)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    provider.gate.set()
    await asyncio.to_thread(vendor.close)
    await asyncio.sleep(0.02)
    assert caplog.text == ""


def test_a_store_gets_the_credential_of_its_area(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    provider.split = True
    vendor = make()
    app = vendor.source(ONE, Area.APP, session="a")().credential
    logs = vendor.source(ONE, Area.LOGS, session="a")().credential
    assert app.covers(Area.APP)
    assert not app.covers(Area.LOGS)
    assert logs.covers(Area.LOGS)
    assert len(provider.issued) == 1


def test_a_store_renews_in_time_over_many_lives(
    make: Callable[..., Vendor], provider: CountingProvider, clock: Clock
) -> None:
    lease = make(share=0.5).source(ONE, Area.APP, session="a")
    for _ in range(200):
        held = lease()
        assert held.credential.expires_at > clock.now
        assert clock.now < held.until < held.credential.expires_at
        clock.now = held.until
    assert len(provider.issued) == 200


def test_an_old_credential_stands_in_while_renewal_fails(
    make: Callable[..., Vendor], provider: CountingProvider, clock: Clock
) -> None:
    lease = make(share=0.5).source(ONE, Area.APP, session="a")
    first = lease().credential
    provider.failure = StorageUnreachable("down")
    clock.now = START + LIFE / 2
    stood_in = lease()
    assert stood_in.credential is first
    assert stood_in.until == clock.now + RETRY_AFTER
    clock.now = START + LIFE - MIN_REMAINING + timedelta(seconds=1)
    with pytest.raises(StorageUnreachable):
        lease()
    provider.failure = None
    assert lease().credential is not first


def test_a_refused_renewal_is_not_covered_up(
    make: Callable[..., Vendor], provider: CountingProvider, clock: Clock
) -> None:
    """Unreachable may pass; a refusal is the operator's word that this shall end."""
    lease = make(share=0.5).source(ONE, Area.APP, session="a")
    lease()
    provider.failure = IssueRefused("revoked")
    clock.now = START + LIFE / 2
    with pytest.raises(IssueRefused):
        lease()


async def test_a_credential_that_is_over_when_it_arrives_blames_the_clock(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    provider.life = timedelta(seconds=-5)
    with pytest.raises(CredentialExpired, match="clock"):
        await make().vend(ONE, session="a")


async def test_the_cache_is_bounded(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    vendor = make(capacity=3)
    scopes = [grants(Scope(f"app{n}", "user")) for n in range(4)]
    for granted in scopes:
        await vendor.vend(granted, session="a")
    await vendor.vend(scopes[3], session="a")
    assert len(provider.issued) == 4
    await vendor.vend(scopes[0], session="a")
    assert len(provider.issued) == 5


async def test_a_closed_vendor_says_so(make: Callable[..., Vendor]) -> None:
    vendor = make()
    await vendor.vend(ONE, session="a")
    vendor.close()
    vendor.close()
    with pytest.raises(RingfenceError, match="closed"):
        await vendor.vend(ONE, session="a")


def test_threads_that_ask_at_once_share_one_issue(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    provider.gate = threading.Event()
    lease = make().source(ONE, Area.APP, session="a")
    found: list[Credential] = []
    threads = [threading.Thread(target=lambda: found.append(lease().credential)) for _ in range(16)]
    for thread in threads:
        thread.start()
    provider.gate.set()
    for thread in threads:
        thread.join(10)
    assert len(provider.issued) == 1
    assert len({id(credential) for credential in found}) == 1


async def test_who_looked_before_an_issue_ended_does_not_begin_another(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    """Between the look at the cache and the question who is at it, an issue may end."""
    vendor = make()
    credentials = await vendor.vend(ONE, session="a")
    late = vendor._flight(ONE, "a").result(10)
    assert late.credentials == credentials
    assert len(provider.issued) == 1


async def test_strict_refuses_what_is_not_exact_and_issues_nothing(
    make: Callable[..., Vendor], provider: CountingProvider
) -> None:
    provider.coarser = "the run's own log can be read too"
    await make().vend(ONE, session="run1")
    strict = make(strict=True)
    with pytest.raises(GrantNotEnforceable, match=r"RINGFENCE_STRICT.*logs: the run's own log can"):
        await strict.vend(ONE, session="run1")
    with pytest.raises(GrantNotEnforceable):
        strict.source(ONE, Area.APP, session="run1")()
    assert len(provider.issued) == 1
    provider.coarser = None
    await strict.vend(ONE, session="run1")
