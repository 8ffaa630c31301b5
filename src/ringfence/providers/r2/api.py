"""R2 credentials from Cloudflare's API, which has one call for them.

``POST /client/v4/accounts/{account}/r2/temp-access-credentials`` (Cloudflare API Reference, *Create
Temporary Access Credentials*). Its answer has no expiry, so the life is counted from before the
question. Asking again is harmless: what an unread answer issued runs out unused.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from ringfence.config import Buckets
from ringfence.errors import IssueRefused, StorageUnreachable
from ringfence.providers.base import Clock, Credential
from ringfence.providers.connecting import proxy_before
from ringfence.providers.r2.fence import R2Fence
from ringfence.providers.r2.refusals import ApiContext, CloudflareRefusal, errors_of, in_words
from ringfence.secret import Secret

if TYPE_CHECKING:
    import httpx

LANGUAGE: Final = "Cloudflare R2 temp-access-credentials request"

MAX_TTL: Final = timedelta(seconds=604_800)
"""Longest life of what the API issues (Cloudflare API Reference)."""
ATTEMPTS: Final = 5
"""Tries in all, where Cloudflare throttles or fails or is out of reach."""
TOTAL_SECONDS: Final = 45.0
"""After this no other try is begun and no answer read on; a try takes 15 s at most until it has its
first byte. Together well below the two minutes for which a store waits for its credential."""
BACKOFF_SECONDS: Final = 0.5
MAX_WAIT_SECONDS: Final = 20.0
"""Longest wait between two tries. Who is asked to wait for longer is told so instead: Cloudflare
blocks for up to five minutes (*Rate limits*)."""
MAX_ANSWER_BYTES: Final = 1 << 20

_FIELDS: Final = {
    "access_key_id": "accessKeyId",
    "secret_access_key": "secretAccessKey",
    "token": "sessionToken",
}


def body(fence: R2Fence, access_key_id: str, ttl: timedelta) -> dict[str, Any]:
    """What is asked for. The prefixes are never an empty list: that would be the whole bucket."""
    return {
        "bucket": fence.bucket,
        "parentAccessKeyId": access_key_id,
        "permission": fence.api_permission.value,
        "ttlSeconds": _seconds(ttl),
        "prefixes": [*fence.prefixes],
    }


def _seconds(ttl: timedelta) -> int:
    return int(min(ttl, MAX_TTL).total_seconds())


@dataclass(frozen=True, slots=True)
class TempCredentialsApi:
    """Asks for credentials. Blocking, thread-safe, bounded in time.

    ``jitter`` gives a random number from 0 to 1, ``monotonic`` seconds that never go back.
    """

    http: httpx.Client
    base_url: str
    buckets: Buckets
    account: str
    token: Secret
    access_key_id: str
    ttl: timedelta
    now: Clock
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random

    @property
    def url(self) -> str:
        """Where the call goes."""
        return f"{self.base_url}/client/v4/accounts/{self.account}/r2/temp-access-credentials"

    def issue(self, fence: R2Fence) -> Credential:
        """The credential of a fence.

        Raises:
            IssueRefused: Cloudflare says no; the message names what is missing.
            BucketMissing: the bucket does not exist.
            StorageUnreachable: no usable answer in time.
        """
        request = body(fence, self.access_key_id, self.ttl)
        content = json.dumps(request, separators=(",", ":")).encode()
        deadline = self.monotonic() + TOTAL_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            issued_at = self.now()
            refusal: CloudflareRefusal | StorageUnreachable
            try:
                return self._credential(fence, self._send(content, deadline), issued_at)
            except (CloudflareRefusal, StorageUnreachable) as error:
                refusal = error
            wait = self._wait(refusal, attempt)
            if wait is None or self.monotonic() + wait >= deadline:
                raise self._in_words(refusal, fence, attempt) from None
            self.sleep(wait)
        raise AssertionError("unreachable")

    def _wait(self, refusal: CloudflareRefusal | StorageUnreachable, attempt: int) -> float | None:
        """Seconds until the next try, or None where there is none."""
        if attempt == ATTEMPTS:
            return None
        # Half of it by chance, so that many who were turned away together do not come back so.
        backoff = BACKOFF_SECONDS * 2.0**attempt * (0.5 + self.jitter() / 2)
        if isinstance(refusal, StorageUnreachable):
            return backoff
        if not refusal.passing:
            return None
        wait = max(backoff, refusal.after or 0.0)
        return wait if wait <= MAX_WAIT_SECONDS else None

    def _in_words(
        self, refusal: CloudflareRefusal | StorageUnreachable, fence: R2Fence, attempts: int
    ) -> Exception:
        if isinstance(refusal, StorageUnreachable):
            return refusal
        bucket = self.buckets.named(fence.grants[0].bucket)
        context = ApiContext(self.base_url, self.account, bucket, attempts)
        return in_words(refusal, context)

    def _credential(self, fence: R2Fence, answer: Any, issued_at: datetime) -> Credential:
        result = answer.get("result") if isinstance(answer, Mapping) else None
        given = result if isinstance(result, Mapping) else {}
        parts = {name: given.get(key) for name, key in _FIELDS.items()}
        # They go into headers and variables as they are.
        fields = {
            name: Secret(part)
            for name, part in parts.items()
            if isinstance(part, str) and part.isascii() and part.isprintable() and part
        }
        missing = ", ".join(key for name, key in _FIELDS.items() if name not in fields)
        if missing:
            raise IssueRefused(
                f"{self.base_url} issued a credential without a usable {missing}.",
                hint="Check that RINGFENCE_R2_API_URL is Cloudflare's API.",
            )
        expires_at = issued_at + timedelta(seconds=_seconds(self.ttl))
        return Credential(fence.grants, fields, issued_at, expires_at, fence.by_api)

    def _send(self, content: bytes, deadline: float) -> Any:
        """One question and its answer as JSON, if it is one of success."""
        import httpx  # costs 0.15 s, paid only by who asks for credentials

        headers = {
            "Authorization": f"Bearer {self.token.reveal()}",
            "Content-Type": "application/json",
        }
        try:
            with self.http.stream("POST", self.url, content=content, headers=headers) as response:
                answer = _parse(self._read(response, deadline))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(str(error) or type(error).__name__) from None
        success = isinstance(answer, dict) and answer.get("success") is True
        if response.is_success and success:
            return answer
        raise CloudflareRefusal(
            response.status_code,
            errors_of(answer, self.token.reveal()),
            after=retry_after(response.headers.get("retry-after"), self.now()),
            is_api=isinstance(answer, dict) and "success" in answer,
        )

    def _read(self, response: httpx.Response, deadline: float) -> bytes:
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise self._unreachable("its answer has no end")
            if self.monotonic() > deadline:
                raise self._unreachable("its answer takes too long")
        return bytes(content)

    def _unreachable(self, reason: str) -> StorageUnreachable:
        proxy = proxy_before(self.base_url)
        through = f" It was asked through {proxy}'s proxy." if proxy else ""
        return StorageUnreachable(
            f"Cloudflare's API at {self.base_url} cannot be reached ({reason}).",
            hint="Check the network and RINGFENCE_R2_API_URL, or set RINGFENCE_R2_MINT=local, "
            f"which needs no API.{through}",
        )


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def retry_after(header: str | None, now: datetime) -> float | None:
    """How many seconds a ``Retry-After`` asks to wait; None where there is none that can be read.

    It is a number of seconds or a date (RFC 9110, section 10.2.3).
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())
