"""Just enough of S3 and STS to see that the engine answers, and to make its buckets."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from ringfence.embedded.keys import AccessKey
from ringfence.embedded.model import HOST, REGION

_ARN: Final = re.compile(r"<Arn>([^<]*)</Arn>")
_CODE: Final = re.compile(r"<Code>([^<]*)</Code>")
_MAX_ANSWER_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine said."""

    status: int
    body: str

    @property
    def code(self) -> str:
        """The error's code, or the bare status where there is none."""
        match = _CODE.search(self.body)
        return match[1] if match else str(self.status)


@dataclass(frozen=True, slots=True)
class Client:
    """Signs with botocore and sends to the S3 port, on loopback, without retries.

    Every method raises ``OSError`` or ``http.client.HTTPException`` where there is no answer.
    """

    port: int
    key: AccessKey
    timeout: float = 5.0

    def caller(self) -> str | None:
        """The ARN that the key stands for, or None where the engine does not know it."""
        match = _ARN.search(self._sts({"Action": "GetCallerIdentity"}).body)
        return match[1] if match else None

    def assume(self, role: str, policy: str) -> Answer:
        """Assumes the role for a moment; the credentials are thrown away."""
        form = {"Action": "AssumeRole", "RoleArn": role, "RoleSessionName": "ringfence-up"}
        return self._sts({**form, "Policy": policy, "DurationSeconds": "900"})

    def create(self, bucket: str) -> Answer:
        """Makes a bucket."""
        return self._send("PUT", f"/{bucket}", b"", "s3")

    def has(self, bucket: str) -> Answer:
        """Asks for the first key of a bucket."""
        return self._send("GET", f"/{bucket}?list-type=2&max-keys=1", b"", "s3")

    def keeps(self, bucket: str, key: str) -> bool:
        """Whether an object can be stored, read and removed."""
        target, body = f"/{bucket}/{key}", b"ringfence"
        stored = self._send("PUT", target, body, "s3").status == 200
        found = stored and self._send("GET", target, b"", "s3").body == body.decode()
        return found and self._send("DELETE", target, b"", "s3").status == 204

    def _sts(self, form: dict[str, str]) -> Answer:
        body = urlencode({**form, "Version": "2011-06-15"}).encode()
        return self._send("POST", "/", body, "sts")

    def _send(self, method: str, path: str, body: bytes, service: str) -> Answer:
        from botocore.auth import S3SigV4Auth, SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        headers = {"Content-Type": "application/x-www-form-urlencoded"} if service == "sts" else {}
        request = AWSRequest(method, f"http://{HOST}:{self.port}{path}", headers, body)
        signer = S3SigV4Auth if service == "s3" else SigV4Auth
        key = Credentials(self.key.id, self.key.secret.reveal())
        signer(key, service, REGION).add_auth(request)
        sent = dict(request.headers)
        return send(self.port, method, path, body=body, headers=sent, timeout=self.timeout)


def send(
    port: int,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    timeout: float,
) -> Answer:
    """One request, sent as it stands."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, response.read(_MAX_ANSWER_BYTES).decode(errors="replace"))
    finally:
        connection.close()
