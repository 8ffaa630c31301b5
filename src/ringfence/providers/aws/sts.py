"""AWS Security Token Service, the two calls of it that a fence needs, and its refusals in words.

Works with AWS and with every engine that speaks ``AssumeRole`` at its own endpoint (MinIO,
SeaweedFS, Ceph). The request is signed by botocore; only its signer is imported, because every
``ringfence run`` pays for the import.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

from ringfence.errors import IssueRefused, RingfenceError, StorageUnreachable
from ringfence.providers.aws.sts_refusals import StsContext, StsRefusal, in_words
from ringfence.providers.connecting import proxy_before
from ringfence.secret import Secret

if TYPE_CHECKING:
    import httpx
    from botocore.credentials import ReadOnlyCredentials

API_VERSION: Final = "2011-06-15"
ATTEMPTS: Final = 4
"""Tries in all when STS throttles or fails; AWS raises no limit (re:Post, "STS throttling")."""
BACKOFF_SECONDS: Final = 0.2
MAX_ANSWER_BYTES: Final = 1 << 20


class SigningKeys(Protocol):
    """What botocore's signer reads: both its own credentials and ours have these names."""

    @property
    def access_key(self) -> str: ...
    @property
    def secret_key(self) -> str: ...
    @property
    def token(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class SessionCredentials:
    """What ``AssumeRole`` answered."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class StsClient:
    """Signs and sends. Blocking, thread-safe, every call bounded by the HTTP client's time-outs.

    ``where`` names the variable that chose the endpoint, for the messages.
    """

    http: httpx.Client
    endpoint: str
    where: str
    region: str
    keys: Callable[[], SigningKeys]
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def assume_role(
        self, *, role_arn: str, session_name: str, policy: str, duration: timedelta
    ) -> SessionCredentials:
        """Assumes the role, narrowed by the session policy.

        Raises:
            PolicyTooLarge: the policy passes STS's packed limit, which cannot be computed before.
            IssueRefused: STS says no.
            CredentialExpired: the caller's own token is over, or the clocks differ.
            RegionMismatch: the region is disabled or another one.
            StorageUnreachable: no usable answer.
        """
        answer = self._call(
            {
                "Action": "AssumeRole",
                "RoleArn": role_arn,
                "RoleSessionName": session_name,
                "Policy": policy,
                "DurationSeconds": str(int(duration.total_seconds())),
            },
            role_arn,
        )
        fields = {name: _text(answer, name) for name in _SESSION_FIELDS}
        missing = [name for name, value in fields.items() if not value]
        if missing:
            raise IssueRefused(
                f"{self.endpoint} answered AssumeRole without {', '.join(missing)}.",
                hint=f"Check that {self.where} is an STS endpoint.",
            )
        return SessionCredentials(
            fields["AccessKeyId"],
            Secret(fields["SecretAccessKey"]),
            Secret(fields["SessionToken"]),
            _instant(fields["Expiration"]),
        )

    def _in_words(self, refusal: StsRefusal, role_arn: str) -> RingfenceError:
        context = StsContext(self.endpoint, self.where, self.region, role_arn, ATTEMPTS)
        return in_words(refusal, context, self.caller)

    def caller(self) -> str | None:
        """The ARN that the master keys stand for, or None where the engine does not say."""
        try:
            return _text(self._send({"Action": "GetCallerIdentity"}), "Arn") or None
        except (RingfenceError, StsRefusal):
            return None

    def _call(self, form: Mapping[str, str], role_arn: str) -> ET.Element:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._send(form)
            except StsRefusal as refusal:
                if not refusal.passing or attempt == ATTEMPTS:
                    raise self._in_words(refusal, role_arn) from None
            self.sleep(BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("unreachable")

    def _send(self, form: Mapping[str, str]) -> ET.Element:
        import httpx  # costs 0.15 s, paid only by who asks for credentials

        body = urlencode({**form, "Version": API_VERSION}).encode()
        try:
            response = self.http.post(self.endpoint, content=body, headers=self._signed(body))
        except httpx.HTTPError as error:
            proxy = proxy_before(self.endpoint)
            through = f" It was asked through {proxy}'s proxy." if proxy else ""
            raise StorageUnreachable(
                f"STS at {self.endpoint} cannot be reached ({_reason(error)}).",
                hint=f"Check {self.where} and the network.{through}",
            ) from None
        root = _parse(response.content[:MAX_ANSWER_BYTES])
        if response.is_success and root is not None:
            return root
        raise StsRefusal(
            status=response.status_code,
            code=_text(root, "Code"),
            message=_text(root, "Message"),
            skew=_skew(response.headers.get("date"), self.now()),
        )

    def _signed(self, body: bytes) -> dict[str, str]:
        from botocore.auth import SigV4Auth  # see the module's docstring
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(
            method="POST",
            url=self.endpoint,
            data=body,
            headers={
                "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
                "Host": urlsplit(self.endpoint).netloc,
            },
        )
        SigV4Auth(cast("ReadOnlyCredentials", self.keys()), "sts", self.region).add_auth(request)
        return dict(request.headers.items())


_SESSION_FIELDS: Final = ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")


_ILLEGAL_IN_SESSION: Final = re.compile(r"[^A-Za-z0-9_+=,.@-]")
MAX_SESSION_NAME: Final = 64


def session_name(text: str) -> str:
    """A legal ``RoleSessionName`` (2-64 of ``[\\w+=,.@-]``) that still names ``text``.

    Text that had to be changed or cut ends in a digest of the whole, so that two never share one.
    """
    legal = f"ringfence-{_ILLEGAL_IN_SESSION.sub('-', text)}"
    if legal == f"ringfence-{text}" and len(legal) <= MAX_SESSION_NAME:
        return legal
    import hashlib  # only for unusual ids

    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{legal[: MAX_SESSION_NAME - 13]}-{digest}"


def _parse(content: bytes) -> ET.Element | None:
    # Expat bounds entity expansion since 2.4.1, and the answer is from the configured endpoint.
    try:
        return ET.fromstring(content)  # noqa: S314
    except ET.ParseError:
        return None


def _text(root: ET.Element | None, name: str) -> str:
    """The text of the first element of that name, whatever its XML namespace."""
    if root is None:
        return ""
    return next((el.text or "" for el in root.iter() if el.tag.rpartition("}")[2] == name), "")


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise IssueRefused(f"STS answered with an expiry that is no time: {text[:40]!r}.") from None


def _skew(date_header: str | None, now: datetime) -> timedelta | None:
    try:
        return now - parsedate_to_datetime(date_header) if date_header else None
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
