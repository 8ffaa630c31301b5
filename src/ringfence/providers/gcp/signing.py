"""V4 signed URLs of Google Cloud Storage ("V4 signing process"), by the installation's own account.

A key signs here; without one, a service account has IAM sign (``signBlob``), which needs
``iam.serviceAccounts.signBlob`` on itself. A user's credentials cannot sign at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from ringfence.errors import GrantNotEnforceable, IssueRefused, StorageUnreachable, UsageError
from ringfence.providers.base import Method
from ringfence.providers.gcp.refusals import passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.auth.credentials import Credentials

    from ringfence.providers.gcp.source import Token
    from ringfence.providers.gcp.transport import Answer

IAM_ENDPOINT: Final = "https://iamcredentials.googleapis.com"
ALGORITHM: Final = "GOOG4-RSA-SHA256"
MAX_LIFE: Final = timedelta(days=7)

_SCOPE_END: Final = "auto/storage/goog4_request"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: an account, and what makes its RSA signatures. ``sign`` may block."""

    email: str
    sign: Callable[[bytes], bytes]


def signer_of(credentials: Credentials, iam: Callable[[str, bytes], bytes]) -> Signer:
    """The signer that credentials have: their own key, or IAM.

    Args:
        iam: asks IAM for an account's signature, see :func:`signed_by_iam`.

    Raises:
        GrantNotEnforceable: they are of no service account.
    """
    own = getattr(credentials, "sign_bytes", None)
    email = getattr(credentials, "signer_email", None) or getattr(
        credentials, "service_account_email", None
    )
    # A virtual machine says "default" until its account is asked for, with its first token.
    if not isinstance(email, str) or "@" not in email:
        raise GrantNotEnforceable(
            "A URL can be signed by a service account only, and the installation's own credentials "
            "are of none.",
            hint="Set GOOGLE_APPLICATION_CREDENTIALS_JSON to a service account's key.",
        )
    account: str = email
    return Signer(account, own or (lambda text: iam(account, text)))


def signed_by_iam(ask: Callable[..., Answer], token: Token, account: str, text: bytes) -> bytes:
    """An account's signature by IAM (``projects.serviceAccounts.signBlob``).

    Args:
        ask: sends a request, and again while it may go through.
        token: the account's own.

    Raises:
        IssueRefused: IAM would not sign.
        StorageUnreachable: no usable answer in time.
    """
    from google.auth.exceptions import TransportError

    url = f"{IAM_ENDPOINT}/v1/projects/-/serviceAccounts/{quote(account, safe='@')}:signBlob"
    body = json.dumps({"payload": base64.b64encode(text).decode()})
    headers = {
        "Authorization": f"Bearer {token.secret.reveal()}",
        "Content-Type": "application/json",
    }
    try:
        answer = ask(url, method="POST", body=body, headers=headers)
        if answer.status == 200:
            return base64.b64decode(json.loads(answer.data)["signedBlob"], validate=True)
    except (TransportError, ValueError, KeyError, TypeError):
        raise _no_iam() from None
    if passing(answer.status):
        raise _no_iam()
    raise may_not_sign(account)


def _no_iam() -> StorageUnreachable:
    return StorageUnreachable(
        f"{IAM_ENDPOINT} cannot be reached, or kept failing, to sign a URL.",
        hint="Check the network, and that the IAM Service Account Credentials API is on.",
    )


def may_not_sign(account: str) -> IssueRefused:
    """IAM says no."""
    return IssueRefused(
        f"IAM would not sign a URL for {account}.",
        hint=(
            "Give the account iam.serviceAccounts.signBlob on itself, as "
            "roles/iam.serviceAccountTokenCreator does, or configure its key."
        ),
    )


def signed_url(
    signer: Signer,
    *,
    endpoint: str,
    bucket: str,
    key: str,
    method: Method,
    now: datetime,
    expires_in: timedelta,
) -> str:
    """A URL for one request on one object.

    Raises:
        UsageError: it would be good for more than seven days.
        IssueRefused: IAM would not sign.
        StorageUnreachable: no usable answer of IAM's in time.
    """
    if expires_in > MAX_LIFE:
        raise UsageError("A URL of Google Cloud Storage is good for seven days at most.")
    parts = urlsplit(endpoint)
    path = f"/{bucket}/{quote(key, safe='/~')}"
    day = now.strftime("%Y%m%d")
    scope = f"{day}/{_SCOPE_END}"
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    query = _query(
        {
            "X-Goog-Algorithm": ALGORITHM,
            "X-Goog-Credential": f"{signer.email}/{scope}",
            "X-Goog-Date": stamp,
            "X-Goog-Expires": str(int(expires_in.total_seconds())),
            "X-Goog-SignedHeaders": "host",
        }
    )
    canonical = "\n".join(
        (method, path, query, f"host:{parts.netloc}", "", "host", "UNSIGNED-PAYLOAD")
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = _signature(signer, "\n".join((ALGORITHM, stamp, scope, digest)).encode())
    return f"{parts.scheme}://{parts.netloc}{path}?{query}&X-Goog-Signature={signature}"


def _query(fields: Mapping[str, str]) -> str:
    return "&".join(f"{name}={quote(fields[name], safe='~')}" for name in sorted(fields))


def _signature(signer: Signer, text: bytes) -> str:
    from google.auth.exceptions import GoogleAuthError

    try:
        return bytes(signer.sign(text)).hex()
    except GoogleAuthError:  # of impersonated credentials, which ask IAM by themselves
        raise may_not_sign(signer.email) from None
