"""Azure's answers to the few requests of Ringfence's own, and its refusals in words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ringfence.errors import IssueRefused, RingfenceError, StorageUnreachable
from ringfence.providers.connecting import proxy_before

if TYPE_CHECKING:
    import httpx

_CODE: Final = re.compile(rb"<Code>\s*([A-Za-z0-9]{1,64})\s*</Code>")
_THROTTLED: Final = {"ServerBusy", "OperationTimedOut"}
MAX_ANSWER_BYTES: Final = 1 << 20


class AzureRefusal(Exception):
    """An answer that is not a success, before it is put in words."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether the same request may go through later."""
        return self.status >= 500 or self.status == 429 or self.code in _THROTTLED

    @property
    def denied(self) -> bool:
        """Whether the service said that this principal may not: a 403 with a code of its own."""
        return self.status == 403 and bool(self.code)

    @property
    def said(self) -> str:
        """Code and status, for a sentence."""
        return f"{self.code or 'no error code'}, HTTP {self.status}"


def ask(
    http: httpx.Client,
    method: str,
    url: str,
    *,
    headers: dict[str, str] | None = None,
    content: bytes = b"",
) -> httpx.Response:
    """One request and its answer, bounded by the client's time-outs.

    No URL gets into an error: it may hold a SAS.

    Raises:
        AzureRefusal: the answer is no success.
        StorageUnreachable: there is none.
    """
    import httpx as library  # costs 0.15 s, paid only by who asks for credentials

    try:
        answer = http.request(method, url, headers=headers or {}, content=content)
    except library.HTTPError as error:
        raise _unreachable(url, type(error).__name__) from None
    if answer.is_success:
        return answer
    found = _CODE.search(answer.content[:MAX_ANSWER_BYTES])
    code = answer.headers.get("x-ms-error-code") or (found[1].decode() if found else "")
    raise AzureRefusal(answer.status_code, code[:64])


def _unreachable(url: str, reason: str) -> StorageUnreachable:
    place = url.partition("?")[0]
    proxy = proxy_before(place)
    through = f" It was asked through {proxy}'s proxy." if proxy else ""
    return StorageUnreachable(
        f"The Azure account at {place} cannot be reached ({reason}).",
        hint=f"Check AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT and the network.{through}",
    )


def delegation_in_words(refusal: AzureRefusal, endpoint: str, attempts: int) -> RingfenceError:
    """Why there is no user delegation key."""
    if refusal.passing:
        return StorageUnreachable(
            f"{endpoint} failed {attempts} times to give a user delegation key ({refusal.said}).",
            hint="It is overloaded or down; a key is asked for once a day.",
        )
    if refusal.status == 401:
        return IssueRefused(
            f"{endpoint} does not accept the token of azure-identity's default chain "
            f"({refusal.said}).",
            hint="Check that the principal is in the account's own tenant (AZURE_TENANT_ID).",
        )
    if refusal.status == 403:
        return IssueRefused(
            "The principal of azure-identity's default chain may not have a user delegation key of "
            f"{endpoint} ({refusal.said}).",
            hint=(
                "Give it the role Storage Blob Delegator on the account (it holds "
                "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action), "
                "and Storage Blob Data Contributor on the three containers."
            ),
        )
    return IssueRefused(
        f"{endpoint} gave no user delegation key ({refusal.said}).",
        hint="Check AZURE_STORAGE_ENDPOINT: it is the account's blob endpoint.",
    )
