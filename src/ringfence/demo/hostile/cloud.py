"""Through the cloud's own SDK, with the credentials that this execution was given."""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

BARE = {"403": "Forbidden", "404": "Not Found"}
"""An answer to HEAD has no body, and so no code but the number."""


def call(service: str, method: str, **parameters: Any) -> tuple[int | None, str]:
    """One call of the SDK; the HTTP status and the engine's own error code, or OK."""
    return _answer(_client(service, signed=True), method, parameters)


def unsigned(service: str, method: str, **parameters: Any) -> tuple[int | None, str]:
    """The same without any credentials."""
    return _answer(_client(service, signed=False), method, parameters)


def _answer(client: Any, method: str, parameters: dict[str, Any]) -> tuple[int | None, str]:
    try:
        response = getattr(client, method)(**parameters)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        return error.response["ResponseMetadata"]["HTTPStatusCode"], BARE.get(code, code)
    return response["ResponseMetadata"]["HTTPStatusCode"], "OK"


@cache
def _session() -> Session:
    return Session()  # one for all clients: it reads the descriptions of the services once


@cache
def _client(service: str, *, signed: bool) -> Any:
    # One try and short time-outs, so that an engine that stopped answering shows as just that.
    # The SDK's own checks are off: what the engine says to a malformed request is the question.
    config = Config(
        signature_version=None if signed else UNSIGNED,
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=20,
        parameter_validation=False,
        s3={"addressing_style": "path"},
    )
    return _session().create_client(service, config=config)
