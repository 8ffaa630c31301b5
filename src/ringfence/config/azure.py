"""Azure Blob Storage: its settings, and reading them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringfence.config.endpoints import read_endpoint

if TYPE_CHECKING:
    from ringfence.config.reader import Reader
    from ringfence.secret import Secret


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """An Azure storage account. Without ``account_key``, azure-identity's default chain.

    ``endpoint`` is the blob endpoint, with ``/account`` in its path for an emulator; None is
    ``https://<account>.blob.core.windows.net``. ``names_shared`` accepts an account that answers a
    listing of ``apps/a`` with the names below ``apps/ab`` as well.
    """

    account_name: str
    account_key: Secret | None = None
    endpoint: str | None = None
    names_shared: bool = False


def read_azure(reader: Reader) -> AzureSettings:
    """The settings of STORAGE_PROVIDER=azure."""
    name = "AZURE_STORAGE_ACCOUNT_NAME"
    account = reader.required(name, "the name of the storage account")
    if account and not re.fullmatch(r"[a-z0-9]{3,24}", account):
        reader.problem(name, "an account's name, 3 to 24 lower-case letters and digits")
    key = reader.secret("AZURE_STORAGE_ACCOUNT_KEY")
    if key and not reader.is_placeholder("AZURE_STORAGE_ACCOUNT_KEY"):
        _check_account_key(reader, key)
    endpoint = read_endpoint(reader, "AZURE_STORAGE_ENDPOINT", account_path=True)
    names_shared = reader.boolean("RINGFENCE_AZURE_NAMES_SHARED")
    return AzureSettings(account, key, endpoint.url if endpoint else None, names_shared)


def _check_account_key(reader: Reader, key: Secret) -> None:
    if not re.fullmatch(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}[A-Za-z0-9+/=]=)?", key.reveal()):
        hint = "Is it whole? It ends in ==, which some shells and tools cut off."
        reader.problem("AZURE_STORAGE_ACCOUNT_KEY", "an account key, which is base64", hint)
