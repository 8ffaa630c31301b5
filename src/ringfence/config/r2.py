"""Cloudflare R2: its settings, and reading them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ringfence.config.endpoints import PATH_STYLE, check_subdomains, read_endpoint
from ringfence.secret import Secret

if TYPE_CHECKING:
    from ringfence.config.reader import Reader
    from ringfence.config.shapes import Endpoint

API_URL: Final = "https://api.cloudflare.com"

_HOST: Final = r"([^.]+)(?:\.[a-z]+)?\.r2\.cloudflarestorage\.com"
_EXAMPLE: Final = "https://<account-id>.r2.cloudflarestorage.com"


class R2Mint(StrEnum):
    """Who makes a fenced R2 credential."""

    API = "api"
    """Cloudflare's temp-credentials API."""
    LOCAL = "local"
    """This process, by signing a JWT with the parent's secret."""


@dataclass(frozen=True, slots=True)
class R2Settings:
    """Cloudflare R2. Where there is an ``api_token`` there is an ``account_id``.

    ``api_url`` is Cloudflare's API without a path. R2 answers path-style and virtual-hosted URLs
    alike, so either ``use_path_style`` works.
    """

    access_key_id: str = field(repr=False)
    secret_access_key: Secret
    endpoint: str
    account_id: str | None = None
    api_token: Secret | None = None
    mint: R2Mint = R2Mint.LOCAL
    use_path_style: bool = True
    api_url: str = API_URL


def read_r2(reader: Reader) -> R2Settings:
    """The settings of STORAGE_PROVIDER=r2."""
    access_key_id = reader.required("R2_ACCESS_KEY_ID", "the access key of an R2 API token")
    secret = reader.secret("R2_SECRET_ACCESS_KEY")
    if secret is None:
        reader.missing("R2_SECRET_ACCESS_KEY", "the secret of R2_ACCESS_KEY_ID")
    reader.required("R2_ENDPOINT", f"the account's endpoint, {_EXAMPLE}")
    endpoint = read_endpoint(reader, "R2_ENDPOINT")
    account_id = reader.text("R2_ACCOUNT_ID")
    api_token = reader.secret("R2_API_TOKEN")
    _check_account(reader, endpoint, account_id)
    mint = _read_mint(reader, account_id, api_token)
    api = read_endpoint(reader, "RINGFENCE_R2_API_URL")
    # What is empty here has been reported, so these settings are never handed out.
    return R2Settings(
        access_key_id,
        secret or Secret(""),
        endpoint.url if endpoint else "",
        account_id,
        api_token,
        mint,
        _read_path_style(reader, endpoint),
        api.url if api else "",
    )


def _read_path_style(reader: Reader, endpoint: Endpoint | None) -> bool:
    path_style = reader.boolean(PATH_STYLE)
    if not path_style:
        check_subdomains(reader, endpoint)
    return path_style


def _check_account(reader: Reader, endpoint: Endpoint | None, account_id: str | None) -> None:
    if account_id is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", account_id):
        reader.problem("R2_ACCOUNT_ID", "a Cloudflare account id, 32 hexadecimal digits")
        return
    host = re.fullmatch(_HOST, endpoint.host) if endpoint else None
    if account_id is None or host is None or reader.is_placeholder("R2_ACCOUNT_ID"):
        return
    if account_id.lower() != host[1]:
        hint = "One of them is another account's; a fence must not depend on which."
        reader.problem("R2_ACCOUNT_ID", "the account that R2_ENDPOINT begins with", hint)


def _read_mint(reader: Reader, account_id: str | None, api_token: Secret | None) -> R2Mint:
    mint = reader.choice("RINGFENCE_R2_MINT", R2Mint, {})
    if account_id is None and api_token is not None:
        reader.missing("R2_ACCOUNT_ID", "the account of R2_API_TOKEN", "Set both, or neither.")
    # Without a token credentials are signed here, which is the narrower fence of the two. The
    # account is then asked for only where the endpoint's host does not begin with it.
    if mint is R2Mint.API and api_token is None:
        hint = "Or let credentials be signed locally: RINGFENCE_R2_MINT=local."
        reader.missing("R2_API_TOKEN", "a token, since RINGFENCE_R2_MINT is api", hint)
    return mint or (R2Mint.LOCAL if api_token is None else R2Mint.API)
