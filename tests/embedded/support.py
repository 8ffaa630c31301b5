"""Engines for tests, and the hands of somebody who has no business in them."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ringfence import embedded
from ringfence.embedded import Door, Engine
from ringfence.layout import BucketRole

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 2.0
"""Long, as other tests may have both processors."""

CONTENT: Final = embedded.BUCKETS[BucketRole.CONTENT]
META: Final = embedded.BUCKETS[BucketRole.META]

PLANTED: Final = b"the neighbour's planted secret 7c1f9a"
NEIGHBOUR: Final = "apps/neighbour/planted.txt"
OWN: Final = "apps/own/"


@dataclass(frozen=True)
class RunningEngine:
    """An engine and what ``up`` wrote for its users."""

    status: Engine
    env: dict[str, str] = field(repr=False)

    @property
    def endpoint(self) -> str:
        return self.status.endpoint

    @property
    def state_dir(self) -> Path:
        return self.status.state_dir

    @cached_property
    def master(self) -> Keys:
        return Keys(self.env["AWS_ACCESS_KEY_ID"], self.env["AWS_SECRET_ACCESS_KEY"])

    def door(self, name: str) -> Door:
        return next(door for door in embedded.doors(self.status) if door.name == name)


@dataclass(frozen=True)
class Keys:
    """Credentials, static or of a session."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        match = re.search(rb"<Code>([^<]*)</Code>", self.body)
        return match[1].decode() if match else ""


def start(folder: Path) -> RunningEngine:
    status = embedded.up(folder, timeout=START_SECONDS)
    return RunningEngine(status, read_env(status.env_file))


def stop(engine: RunningEngine) -> None:
    # Politely, but not for as long as a client of these tests keeps a connection idle.
    embedded.down(engine.state_dir, timeout=STOP_SECONDS)


def read_env(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def s3(engine: RunningEngine, keys: Keys | None = None) -> S3Client:
    import boto3
    from botocore.config import Config

    keys = keys or engine.master
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=engine.endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys.access,
        aws_secret_access_key=keys.secret,
        aws_session_token=keys.token,
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )
    return client


def signed(
    engine: RunningEngine,
    keys: Keys,
    method: str,
    target: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    service: str = "s3",
) -> Reply:
    """A signed request, sent as it stands."""
    request = AWSRequest(method, f"{engine.endpoint}{target}", dict(headers or {}), body)
    credentials = Credentials(keys.access, keys.secret, keys.token)
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(credentials, service, "us-east-1").add_auth(request)
    return plain(engine, method, target, body=body, headers=dict(request.headers))


def plain(
    engine: RunningEngine,
    method: str,
    target: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """A request to the S3 port without more than what is given."""
    url = urlsplit(engine.endpoint)
    assert url.hostname
    assert url.port
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def sts(engine: RunningEngine, keys: Keys | None, **form: str) -> Reply:
    """An STS or IAM call, in the body of a POST as SDKs send it."""
    body = urlencode({"Version": "2011-06-15", **form}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    if keys is None:
        return plain(engine, "POST", "/", body=body, headers=headers)
    return signed(engine, keys, "POST", "/", body=body, headers=headers, service="sts")


def fenced(engine: RunningEngine, prefix: str = OWN) -> Keys:
    """Credentials fenced to a prefix of the content bucket, as the AWS provider asks for them."""
    objects = f"arn:aws:s3:::{CONTENT}/{prefix}*"
    policy: dict[str, Any] = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": [objects],
            },
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{CONTENT}"],
                "Condition": {"StringLike": {"s3:prefix": [f"{prefix}*"]}},
            },
        ],
    }
    reply = sts(
        engine,
        engine.master,
        Action="AssumeRole",
        RoleArn=engine.env["RUNTIME_ROLE_ARN"],
        RoleSessionName="fenced",
        Policy=json.dumps(policy, separators=(",", ":")),
    )
    assert reply.status == 200, reply.body
    text = reply.body.decode()
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    return Keys(*(re.findall(f"<{name}>(.*?)</{name}>", text)[0] for name in names))


def talk(door: Door, payload: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Sends bytes through a door and returns all that comes back; nothing where it is shut."""
    answer = b""
    try:
        with _connect(door) as stream:
            stream.settimeout(10)
            channel = context.wrap_socket(stream) if context else stream
            with channel:
                channel.sendall(payload)
                while chunk := channel.recv(65536):
                    answer += chunk
    except (ConnectionError, ssl.SSLError):
        pass
    return answer


def _connect(door: Door) -> socket.socket:
    if not door.unix:
        host, _, port = door.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=10)
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(Path(door.address).parent, os.O_RDONLY)
    try:
        stream.connect(f"/proc/self/fd/{folder}/{Path(door.address).name}")
    finally:
        os.close(folder)
    return stream


def request(method: str, target: str, body: bytes = b"", headers: str = "") -> bytes:
    """A raw HTTP request: the target goes out as it is given."""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def status_of(answer: bytes) -> int | None:
    """The status of a raw HTTP answer, or None where it is none."""
    match = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return int(match[1]) if match else None
