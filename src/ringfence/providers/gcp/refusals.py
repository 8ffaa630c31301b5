"""What google-auth raises, and what Google's token endpoints answer, in Ringfence's words."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from ringfence.errors import (
    ConfigError,
    CredentialExpired,
    IssueRefused,
    Problem,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.providers.connecting import proxy_before

if TYPE_CHECKING:
    from ringfence.providers.gcp.transport import Answer

JSON_VARIABLE: Final = "GOOGLE_APPLICATION_CREDENTIALS_JSON"
STS_VARIABLE: Final = "GCS_STS_ENDPOINT"
ENDPOINT_VARIABLE: Final = "GCS_ENDPOINT"

_WORD: Final = re.compile(r"[A-Za-z_]{1,64}")
_CLOCK: Final = ("reasonable timeframe", "iat and exp", "Token used too early", "expired")


def passing(status: int) -> bool:
    """Whether the same request may go through later."""
    return status >= 500 or status in {408, 429}


def no_default_credentials() -> ConfigError:
    """Neither the settings nor the machine have credentials."""
    hint = (
        "Or give this process application default credentials: GOOGLE_APPLICATION_CREDENTIALS, "
        "`gcloud auth application-default login`, or a service account of the machine."
    )
    expected = "the JSON of a service account's key, raw or in base64"
    return ConfigError((Problem(JSON_VARIABLE, None, expected, hint),))


def bad_credentials() -> ConfigError:
    """google-auth cannot make anything of the JSON. What it says may quote the key, so it is left
    out."""
    found = "set, but google-auth cannot read the credentials in it"
    hint = "Download the key anew: a private_key in PEM is one of RSA, whole."
    return ConfigError((Problem(JSON_VARIABLE, found, "a Google credentials file", hint),))


def about_source(error: Exception, where: str) -> RingfenceError:
    """Why the installation's own token could not be had.

    Args:
        error: an error of google-auth.
        where: the token's endpoint, or a word for it.
    """
    from google.auth.exceptions import RefreshError, TransportError

    # A metadata server that does not answer is told in a refusal's arguments.
    broken = any(isinstance(each, TransportError) for each in (error, *error.args))
    if broken or getattr(error, "retryable", False):
        return _unreachable(where, "Check the network" + _proxy(where))
    code, text = _said(error) if isinstance(error, RefreshError) else ("", "")
    if code == "invalid_grant" and any(sign in text for sign in _CLOCK):
        return CredentialExpired(
            f"Google refuses the installation's own credentials as out of their time ({code}).",
            hint="Set this machine's clock (NTP); if it is right, sign in anew or renew the key.",
        )
    return IssueRefused(
        f"Google gave no token for the installation's own credentials ({code or 'no reason'}).",
        hint=(
            f"Check {JSON_VARIABLE}: the key may be deleted or the account disabled. Without it, "
            "check this process's application default credentials."
        ),
    )


def about_exchange(answer: Answer | None, endpoint: str, attempts: int) -> RingfenceError:
    """Why the Security Token Service gave no downscoped token; None where it did not answer."""
    if answer is None:
        return _unreachable(endpoint, f"Check {STS_VARIABLE} and the network" + _proxy(endpoint))
    if passing(answer.status):
        return StorageUnreachable(
            f"The Security Token Service at {endpoint} failed {attempts} times (HTTP "
            f"{answer.status}).",
            hint="It is overloaded or down: try again later.",
        )
    code, text = _of_json(answer.data)
    if not code:
        return IssueRefused(
            f"{endpoint} does not answer as a Security Token Service does (HTTP {answer.status}).",
            hint=f"Check {STS_VARIABLE}.",
        )
    return IssueRefused(
        f"The Security Token Service at {endpoint} refused the boundary ({code}, HTTP "
        f"{answer.status}): {text or 'it gives no reason'}.",
        hint=_way_out(code, text),
    )


def _way_out(code: str, text: str) -> str:
    if code == "invalid_scope" or "scope" in text:
        return (
            "The source token needs the scope cloud-platform: on a virtual machine it is set where "
            "the machine's service account is."
        )
    return (
        "The installation's own credentials must be those of a service account or a user, with a "
        "token for OAuth 2.0."
    )


def about_bucket(answer: Answer | None, bucket: str, endpoint: str) -> RingfenceError:
    """Why it is not known whether a bucket has uniform access."""
    if answer is None:
        return _unreachable(endpoint, f"Check {ENDPOINT_VARIABLE} and the network")
    if passing(answer.status):
        return StorageUnreachable(
            f"{endpoint} kept failing to describe the bucket {bucket} (HTTP {answer.status}).",
            hint="Try again later.",
        )
    return IssueRefused(
        f"The bucket {bucket} cannot be looked at (HTTP {answer.status}), so that it is not known "
        "whether ACLs let others in beside the fence: nothing was issued.",
        hint=(
            "Give the installation's service account storage.buckets.get on it, as "
            "roles/storage.legacyBucketReader does, and check the bucket's name."
        ),
    )


def about_folder(answer: Answer, bucket: str, endpoint: str) -> RingfenceError:
    """Why the folders of a prefix could not be made."""
    if passing(answer.status):
        return about_bucket(answer, bucket, endpoint)
    return IssueRefused(
        f"The bucket {bucket} has a hierarchical namespace, and the folders that an execution "
        f"writes below could not be made (HTTP {answer.status}): nothing was issued.",
        hint=(
            "Give the installation's service account storage.folders.create on it, as "
            "roles/storage.objectUser does."
        ),
    )


def acls_in_use(bucket: str) -> IssueRefused:
    """The bucket's objects may have ACLs, which no boundary looks at."""
    return IssueRefused(
        f"The bucket {bucket} does not have uniform bucket-level access. A Credential Access "
        "Boundary does not cover the ACLs of its objects, so nothing was issued.",
        hint=(
            f"Turn it on: gcloud storage buckets update gs://{bucket} --uniform-bucket-level-access"
        ),
    )


def _unreachable(where: str, hint: str) -> StorageUnreachable:
    return StorageUnreachable(f"{where} cannot be reached.", hint=f"{hint}.")


def _proxy(endpoint: str) -> str:
    variable = proxy_before(endpoint) if "://" in endpoint else None
    return f"; it was asked through {variable}'s proxy" if variable else ""


def _said(error: Exception) -> tuple[str, str]:
    """The code and the description of a token endpoint, which google-auth puts into arguments."""
    for argument in error.args:
        if isinstance(argument, dict):
            return _code_and_text(argument)
    return _of_text(str(error.args[0]) if error.args else "")


def _of_text(text: str) -> tuple[str, str]:
    code, _, rest = text.partition(":")
    return (code, rest.strip()) if _WORD.fullmatch(code) else ("", text)


def _of_json(data: bytes) -> tuple[str, str]:
    try:
        row = json.loads(data)
    except (ValueError, RecursionError):
        return "", ""
    return _code_and_text(row) if isinstance(row, dict) else ("", "")


def _code_and_text(row: dict[str, Any]) -> tuple[str, str]:
    code, text = row.get("error"), row.get("error_description")
    if not isinstance(code, str) or not _WORD.fullmatch(code):
        return "", ""
    shown = text if isinstance(text, str) and text.isprintable() else ""
    return code, shown[:300].rstrip(".")
