"""The refusals of Cloudflare's API in words: the one place where its codes become sentences.

Cloudflare documents the codes of R2 (*Error codes*) and few of its API's own. Those of the API here
were seen in public reports, and what is not known is said as Cloudflare says it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ringfence.errors import BucketMissing, IssueRefused, RingfenceError, StorageUnreachable

_LONGEST_SAID: Final = 300

_TOKEN_IS_NONE: Final = {1000, 6003, 6111, 9106, 9107, 9109}
"""The token is malformed, unknown, expired or revoked."""
_TOKEN_MAY_NOT: Final = {9103, 10000, 10002, 10003}
_NO_SUCH_ACCOUNT: Final = {7000, 7003}
_NO_SUCH_BUCKET: Final = {10006}
_NO_R2: Final = {10042}
_PASSING: Final = {971, 10043, 10054, 10058}
"""Throttled (971 of the API, 10058 of R2), not available, and cut off on the way."""

PERMISSION: Final = "Workers R2 Storage: Edit"


class CloudflareRefusal(Exception):
    """An answer that is not a success, before it is put in words.

    ``errors`` are Cloudflare's own, a code and a message each; ``after`` is how long it asks to
    wait, in seconds. ``is_api`` is False where the answer is none of Cloudflare's API.
    """

    def __init__(
        self,
        status: int,
        errors: tuple[tuple[int, str], ...] = (),
        *,
        after: float | None = None,
        is_api: bool = True,
    ) -> None:
        super().__init__(status)
        self.status = status
        self.errors = errors
        self.after = after
        self.is_api = is_api

    @property
    def codes(self) -> set[int]:
        """Cloudflare's error codes."""
        return {code for code, _ in self.errors}

    @property
    def passing(self) -> bool:
        """Whether the same request may go through later."""
        return self.status >= 500 or self.status in {408, 429} or bool(self.codes & _PASSING)

    @property
    def said(self) -> str:
        """What Cloudflare said, on one line and bounded."""
        each = "; ".join(
            f"{message} ({code})" if message else str(code) for code, message in self.errors
        )
        words = each[:_LONGEST_SAID] or "no error of its own"
        return f"Cloudflare answered HTTP {self.status}: {words}".rstrip(".")

    def mentions(self, *words: str) -> bool:
        """Whether a message has all of the words, in any case."""
        return any(all(word in text.lower() for word in words) for _, text in self.errors)


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What a message needs to name: ``bucket`` is its variable and its name."""

    base_url: str
    account: str
    bucket: str
    attempts: int


def errors_of(answer: Any, secret: str) -> tuple[tuple[int, str], ...]:
    """The errors of an answer, those of their chains too, without ``secret`` and on one line."""
    found: list[tuple[int, str]] = []
    rows = answer.get("errors") if isinstance(answer, dict) else None
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            continue
        code, message = row.get("code"), row.get("message")
        if isinstance(code, int) or (isinstance(code, str) and code.isdecimal()):
            text = message if isinstance(message, str) else ""
            found.append((int(code), _printable(text.replace(secret, "********"))))
        chain = row.get("error_chain")
        found += errors_of({"errors": chain}, secret) if isinstance(chain, list) else ()
    return tuple(found)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text).strip()


def in_words(refusal: CloudflareRefusal, context: ApiContext) -> RingfenceError:
    """The error to raise for a refusal, most specific first."""
    return (
        _about_the_service(refusal, context)
        or _about_the_account(refusal, context)
        or _about_the_parent(refusal)
        or _about_the_request(refusal, context)
        or _about_the_token(refusal, context)
        or IssueRefused(f"Cloudflare's API at {context.base_url} refused. {refusal.said}.")
    )


def _about_the_service(refusal: CloudflareRefusal, context: ApiContext) -> RingfenceError | None:
    if refusal.passing:
        wait = f" It asks to wait {refusal.after:.0f} s." if refusal.after else ""
        return StorageUnreachable(
            f"Cloudflare's API at {context.base_url} did not issue a credential in "
            f"{_tries(context.attempts)}. {refusal.said}.{wait}",
            hint=(
                "It allows 1,200 calls in five minutes: a longer RINGFENCE_CREDENTIAL_TTL asks it "
                "less, RINGFENCE_R2_MINT=local not at all."
                if refusal.status == 429
                else "Try again later, or set RINGFENCE_R2_MINT=local, which needs no API."
            ),
        )
    if not refusal.is_api:
        return IssueRefused(
            f"{context.base_url} does not answer as Cloudflare's API does (HTTP {refusal.status}).",
            hint="Check RINGFENCE_R2_API_URL, and whether a proxy answers in its place.",
        )
    return None


def _tries(count: int) -> str:
    return "one try" if count == 1 else f"{count} tries"


def _about_the_account(refusal: CloudflareRefusal, context: ApiContext) -> RingfenceError | None:
    if refusal.codes & _NO_SUCH_ACCOUNT or (refusal.status == 404 and not refusal.errors):
        return IssueRefused(
            f"Cloudflare knows no account {context.account}. {refusal.said}.",
            hint="Check R2_ACCOUNT_ID: it is the host's first part in R2_ENDPOINT.",
        )
    if refusal.codes & _NO_R2 or refusal.mentions("entitled"):
        return IssueRefused(
            f"The account {context.account} has no R2. {refusal.said}.",
            hint="Enable R2 for it in Cloudflare's dashboard.",
        )
    return None


def _about_the_parent(refusal: CloudflareRefusal) -> RingfenceError | None:
    about_key = refusal.mentions("parent") or refusal.mentions("access key")
    if about_key and not refusal.codes & _TOKEN_IS_NONE:
        return IssueRefused(
            f"Cloudflare makes no credential under the key R2_ACCESS_KEY_ID. {refusal.said}.",
            hint="It must be an access key of R2 in the account R2_ACCOUNT_ID, not revoked, that "
            "may itself read and write the bucket.",
        )
    return None


def _about_the_request(refusal: CloudflareRefusal, context: ApiContext) -> RingfenceError | None:
    if refusal.codes & _NO_SUCH_BUCKET or refusal.mentions("bucket", "not exist"):
        return BucketMissing(
            f"{context.bucket} does not exist in the account {context.account}. {refusal.said}.",
            hint="Make it, or correct the variable.",
        )
    if refusal.mentions("ttl"):
        return IssueRefused(
            f"Cloudflare does not issue credentials for this long. {refusal.said}.",
            hint="Lower RINGFENCE_CREDENTIAL_TTL.",
        )
    return None


def _about_the_token(refusal: CloudflareRefusal, context: ApiContext) -> RingfenceError | None:
    if refusal.codes & _TOKEN_IS_NONE:
        return IssueRefused(
            f"Cloudflare does not accept R2_API_TOKEN. {refusal.said}.",
            hint="It is malformed, expired or revoked: make a new one. It is a Cloudflare API "
            "token, not the secret of an R2 access key.",
        )
    if refusal.codes & _TOKEN_MAY_NOT or refusal.status in {401, 403}:
        return IssueRefused(
            f"R2_API_TOKEN may not issue credentials in the account {context.account}. "
            f"{refusal.said}.",
            hint=f"Give the token the permission {PERMISSION}, and check that R2_ACCOUNT_ID is "
            "its account.",
        )
    return None
