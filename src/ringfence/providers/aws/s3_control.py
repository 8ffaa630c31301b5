"""S3 Control, as far as access points to directory buckets need it: signed requests, bounded.

Requests are as botocore's model of 2018-08-20 and its rule set of endpoints have them. Only its
signer is imported, because every ``ringfence run`` pays for the import.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from ringfence.errors import StorageUnreachable
from ringfence.providers.aws.sts import ATTEMPTS, BACKOFF_SECONDS, MAX_ANSWER_BYTES, SigningKeys
from ringfence.providers.connecting import proxy_before

if TYPE_CHECKING:
    import httpx
    from botocore.credentials import ReadOnlyCredentials

XMLNS: Final = "http://awss3control.amazonaws.com/doc/2018-08-20/"
_VERSION: Final = "v20180820"
_THROTTLED: Final = {"SlowDown", "Throttling", "ThrottlingException", "TooManyRequestsException"}


def control_endpoint(region: str) -> str:
    """Where directory buckets and access points to them are managed."""
    return f"https://s3express-control.{region}.amazonaws.com"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the document if there was one."""

    status: int
    root: ET.Element | None

    @property
    def done(self) -> bool:
        """Whether the request was granted."""
        return 200 <= self.status < 300

    @property
    def missing(self) -> bool:
        """Whether what was asked for is not there."""
        return self.status == 404

    @property
    def code(self) -> str:
        """The error's code, or nothing where there is none."""
        return "" if self.done else self.text("Code")

    @property
    def passing(self) -> bool:
        """Whether the same request may go through later."""
        return self.status >= 500 or self.status == 429 or self.code in _THROTTLED

    @property
    def said(self) -> str:
        """What the server said, on one line and bounded."""
        message = self.text("Message")[:300]
        detail = f": {message}" if message else ""
        code = self.code or "no error code"
        return f"S3 Control answered {code} (HTTP {self.status}){detail}".rstrip(".")

    def text(self, name: str) -> str:
        """The text of the first element of that name; nothing where there is none."""
        return next(iter(self.texts(name)), "")

    def texts(self, name: str) -> list[str]:
        """The texts of the elements of that name, whatever their XML namespace."""
        nodes = () if self.root is None else self.root.iter()
        return [node.text or "" for node in nodes if node.tag.rpartition("}")[2] == name]


@dataclass(frozen=True, slots=True)
class S3Control:
    """Signs and sends. Blocking, thread-safe, every call bounded by the HTTP client's time-outs."""

    http: httpx.Client
    region: str
    account: str
    keys: Callable[[], SigningKeys]
    sleep: Callable[[float], None] = time.sleep

    def call(self, method: str, path: str, action: str, body: bytes = b"") -> Answer:
        """One request about access points, tried again while S3 Control is busy.

        Args:
            path: what follows ``/accesspoint/``.
            action: its name, for the message.

        Raises:
            StorageUnreachable: no answer, or none but failures.
        """
        for attempt in range(1, ATTEMPTS + 1):
            answer = self._send(method, f"/{_VERSION}/accesspoint/{path}", body)
            if not answer.passing:
                return answer
            if attempt < ATTEMPTS:
                self.sleep(BACKOFF_SECONDS * 2**attempt)
        raise StorageUnreachable(
            f"S3 Control at {control_endpoint(self.region)} failed {ATTEMPTS} times to {action}. "
            f"{answer.said}.",
            hint="It is overloaded or down: try again later.",
        )

    def _send(self, method: str, path: str, body: bytes) -> Answer:
        import httpx  # costs 0.15 s, paid only by who asks for credentials

        url = f"{control_endpoint(self.region)}{path}"
        headers = self._signed(method, url, body)
        try:
            response = self.http.request(method, url, content=body, headers=headers)
        except httpx.HTTPError as error:
            proxy = proxy_before(url)
            through = f" It was asked through {proxy}'s proxy." if proxy else ""
            raise StorageUnreachable(
                f"S3 Control at {control_endpoint(self.region)} cannot be reached "
                f"({str(error) or type(error).__name__}).",
                hint=f"Check AWS_REGION and the network.{through}",
            ) from None
        return Answer(response.status_code, _parsed(response.content[:MAX_ANSWER_BYTES]))

    def _signed(self, method: str, url: str, body: bytes) -> dict[str, str]:
        from botocore.auth import S3SigV4Auth  # see the module's docstring
        from botocore.awsrequest import AWSRequest

        headers = {"Host": urlsplit(url).netloc, "x-amz-account-id": self.account}
        request = AWSRequest(method=method, url=url, data=body, headers=headers)
        keys = cast("ReadOnlyCredentials", self.keys())
        S3SigV4Auth(keys, "s3express", self.region).add_auth(request)
        return dict(request.headers.items())


def _parsed(content: bytes) -> ET.Element | None:
    # Expat bounds entity expansion since 2.4.1, and the answer is from AWS's own endpoint.
    try:
        return ET.fromstring(content)  # noqa: S314
    except ET.ParseError:
        return None
