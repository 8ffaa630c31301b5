"""What obstore raises, in Ringfence's words. The one place that reads obstore's messages.

obstore has few error types and puts the rest into text: the engine's XML, the HTTP status, the
kind of a broken connection. What is read from it here is a code, a status and a host; nothing else
of it, no URL, header or dump, gets into a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ringfence import errors
from ringfence.errors import (
    AccessDenied,
    BucketMissing,
    ConfigError,
    CredentialExpired,
    Problem,
    RegionMismatch,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.providers.connecting import proxy_before
from ringfence.providers.naming import AZURE_SAS, Names, names_at

_READ_BYTES: Final = 16 * 1024
# "Error performing GET http://host/bucket/key in 1.5ms, after 2 retries, … - Server returned …"
_REQUEST: Final = re.compile(
    r"Error performing [A-Z]{1,10} (https?)://(?:[^/\s@]{0,256}@)?([^/\s?#]{1,262})\S* in \S+"
    r"(?: after \d+ retries, max_retries: \d+, retry_timeout: \S+)?\s+- (.*)",
    re.DOTALL,
)
# object_store hides the URL of a request by SAS, and of no other.
_HIDDEN: Final = re.compile(r"Error performing [A-Z]{1,10} REDACTED in ")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>\s*([A-Za-z0-9._-]{1,64})\s*</Code>")
# What a credential callable raised: "…credential provider: IssueRefused: The trust policy …".
_RAISED: Final = re.compile(r"credential provider: ([A-Za-z_]{1,64}): (.{1,2000})", re.DOTALL)
_SOMEWHERE: Final = "the endpoint"
_FULL: Final = re.compile(r"no space left|no free volumes|no writable volumes|disk full", re.I)


@dataclass(frozen=True, slots=True)
class _Failure:
    """What could be read of a failure, and what the caller was about."""

    what: str
    bucket: str
    kind: str
    endpoint: str
    reply: str
    dump: str
    by_sas: bool = False

    @property
    def status(self) -> int | None:
        found = _STATUS.search(self.reply)
        return int(found[1]) if found else None

    @property
    def code(self) -> str | None:
        found = _CODE.search(self.reply)
        return found[1] if found else None

    @property
    def names(self) -> Names:
        return AZURE_SAS if self.by_sas else names_at(self.endpoint)

    @property
    def answer(self) -> str:
        """The engine's own words for it: a code, a status, or both; else the type of error."""
        if self.status is None:
            return self.code or self.kind
        return f"{self.code}, HTTP {self.status}" if self.code else f"HTTP {self.status}"


def translate(error: Exception, *, what: str, bucket: str) -> RingfenceError:
    """The error of Ringfence for what obstore raised.

    Args:
        error: What was raised. An error of Ringfence comes back as it is.
        what: What was tried, after "to": ``"read the layout"``.
        bucket: The variable and the name, ``"META_BUCKET flow-like-meta"``, or what else to call
            it at the beginning of a sentence.
    """
    if isinstance(error, RingfenceError):
        return error
    text, _, dump = str(error)[:_READ_BYTES].partition("\n\nDebug source:")
    request = _REQUEST.search(text)
    failure = _Failure(
        what=what,
        bucket=bucket,
        kind=type(error).__name__,
        endpoint=f"{request[1]}://{request[2]}" if request else _SOMEWHERE,
        reply=request[3] if request else text,
        dump=dump,
        by_sas=bool(_HIDDEN.search(text)),
    )
    return _raised_inside(text) or _with_proxy(_translated(failure), failure)


@contextmanager
def translating(what: str, bucket: str) -> Iterator[None]:
    """Around calls of obstore, ``await`` or not: failures leave it as errors of Ringfence.

    An object that is not there, is there already, or has changed is an answer and no failure:
    FileNotFoundError, AlreadyExistsError and PreconditionError pass as obstore raised them.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except (BaseError, FileNotFoundError) as error:
        translated = translate(error, what=what, bucket=bucket)
        if isinstance(error, FileNotFoundError) and not isinstance(translated, BucketMissing):
            raise
        # Without its cause: that one's text holds whole requests.
        raise translated from None


def _raised_inside(text: str) -> RingfenceError | None:
    """An error of Ringfence that a credential callable raised: obstore keeps its name and text."""
    found = _RAISED.search(text)
    kind = getattr(errors, found[1], None) if found else None
    if found is None or not isinstance(kind, type) or not issubclass(kind, RingfenceError):
        return None
    if kind is ConfigError and (problems := tuple(_problems(found[2]))):
        return ConfigError(problems)
    return RingfenceError(found[2]) if kind in _NOT_OF_TEXT else kind(found[2])


def _problems(text: str) -> Iterator[Problem]:
    """What a :class:`ConfigError` said, one problem on each line; see :class:`Problem`."""
    for variable, found, expected, hint in _PROBLEM.findall(text):
        yield Problem(variable, found or None, expected, hint or None)


_PROBLEM: Final = re.compile(
    r"^  - (\w{1,64}) is (?:not set|(.{1,500}?)): expected (.{1,300}?)\.(?: (.{1,500}))?$", re.M
)
_NOT_OF_TEXT: Final = {ConfigError, errors.StateConflict, errors.RunExists}


def _translated(failure: _Failure) -> RingfenceError:
    if failure.code == "AuthenticationFailed":
        for sentence, detail in _BY_DETAIL:
            if detail in failure.reply:
                return sentence(failure)
    if failure.code in failure.names.rejected:
        return _bad_keys(failure)
    if failure.code in _BY_CODE:
        return _BY_CODE[failure.code](failure)
    for sentence, applies in _BY_SIGN:
        if applies(failure):
            return sentence(failure)
    return RingfenceError(f"{failure.bucket}: storage would not {failure.what} ({failure.answer}).")


def _with_proxy(error: RingfenceError, failure: _Failure) -> RingfenceError:
    """Says that a proxy stood before the endpoint, where the answer may be the proxy's own."""
    if failure.code is None and failure.endpoint != _SOMEWHERE:
        variable = proxy_before(failure.endpoint)
        if variable is not None and not isinstance(error, ConfigError):
            error.hint = f"{error.hint or ''} It was asked through {variable}'s proxy.".lstrip()
    return error


def _denied(failure: _Failure) -> RingfenceError:
    return AccessDenied(
        f"{failure.bucket}: storage refused to {failure.what} ({failure.answer}).",
        hint=(
            "Give the credentials that were used this permission on the bucket, and check its name:"
            " some engines answer the same where there is no such bucket."
        ),
    )


def _bad_keys(failure: _Failure) -> RingfenceError:
    variable, expected = failure.names.rejected[failure.code or ""]
    found = f"set, but {failure.endpoint} does not accept it ({failure.answer})"
    return ConfigError((Problem(variable, found, expected, f"Check {failure.names.keys}."),))


def _expired(failure: _Failure) -> RingfenceError:
    return CredentialExpired(
        f"{failure.bucket}: storage refused to {failure.what}, because the credential's life is "
        f"over ({failure.answer}).",
        hint="Fetch a new one.",
    )


def _skewed(failure: _Failure) -> RingfenceError:
    return CredentialExpired(
        f"{failure.bucket}: storage refused to {failure.what}, because this machine's clock is off "
        f"({failure.answer}).",
        hint="Set the clock: signatures hold for minutes only.",
    )


def _no_bucket(failure: _Failure) -> RingfenceError:
    return BucketMissing(
        f"{failure.bucket} does not exist at {failure.endpoint}.",
        hint="Make it with your provider's tools, or correct the variable.",
    )


def _elsewhere(failure: _Failure) -> RingfenceError:
    return RegionMismatch(
        f"{failure.bucket} is in another region than {failure.endpoint} serves, or at another "
        f"endpoint ({failure.answer}).",
        hint=f"Set {failure.names.region} to the bucket's.",
    )


def _full(failure: _Failure) -> RingfenceError:
    return StorageUnreachable(
        f"{failure.bucket}: {failure.endpoint} cannot store anything, so it could not "
        f"{failure.what} ({failure.answer}).",
        hint="Its disk or its quota is full: make room, then try again.",
    )


def _failing(failure: _Failure) -> RingfenceError:
    return StorageUnreachable(
        f"{failure.bucket}: {failure.endpoint} kept failing to {failure.what} ({failure.answer}).",
        hint="Try again later; where writing fails and reading works, its disk may be full.",
    )


def _unreachable(failure: _Failure) -> RingfenceError:
    reasons = (reason for sign, reason in _REASONS if sign in failure.dump)
    return StorageUnreachable(
        f"{failure.bucket}: could not {failure.what}, because {failure.endpoint} is out of reach "
        f"({next(reasons, 'the connection broke')}).",
        hint=f"Check {failure.names.endpoint} and the network, and that the engine runs.",
    )


# Most specific first. They are the names that reqwest and hyper give in obstore's debug output.
_REASONS: Final = (
    ("dns error", "its name cannot be resolved"),
    ("ConnectionRefused", "it refuses connections"),
    ("InvalidCertificate", "its certificate is not trusted"),
    ("InvalidContentType", "it does not speak TLS"),
    ("TimedOut", "no answer in time"),
    ("Timeout", "no answer in time"),
)

_Sentence = Callable[[_Failure], RingfenceError]

_BY_CODE: Final[dict[str | None, _Sentence]] = {
    "ExpiredToken": _expired,
    "TokenRefreshRequired": _expired,
    "RequestTimeTooSkewed": _skewed,
    "RequestExpired": _skewed,
    "NoSuchBucket": _no_bucket,
    "ContainerNotFound": _no_bucket,
    "PermanentRedirect": _elsewhere,
    "AuthorizationHeaderMalformed": _elsewhere,
    "IllegalLocationConstraintException": _elsewhere,
    "InsufficientStorage": _full,
    "QuotaExceeded": _full,
    "XMinioStorageFull": _full,
}

# Azure has one code for every signature that does not hold; its detail says why.
_BY_DETAIL: Final[tuple[tuple[_Sentence, str], ...]] = (
    (_expired, "Signature not valid in the specified time frame"),
    (_expired, "Signed expiry time"),
    (_skewed, "Request date header too old"),
)

_REFUSALS: Final = {"PermissionDeniedError", "UnauthenticatedError"}

# For answers without a code that is known, or without any: HEAD has no body. In order.
_BY_SIGN: Final[tuple[tuple[_Sentence, Callable[[_Failure], bool]], ...]] = (
    (_full, lambda failure: bool(_FULL.search(failure.reply))),
    (_denied, lambda failure: failure.status in {401, 403} or failure.kind in _REFUSALS),
    (_elsewhere, lambda failure: failure.status is None and "redirect" in failure.reply),
    (_unreachable, lambda failure: failure.status is None and failure.kind == "GenericError"),
    (_failing, lambda failure: (failure.status or 0) >= 500 or failure.status in {408, 429}),
)
