"""Cloudflare R2: S3 without STS. Its fence is a session token for one bucket and some prefixes.

Tokens are signed here or made by Cloudflare's API, as ``RINGFENCE_R2_MINT`` says. Both know the
prefixes exactly; what is signed here names its operations too, while the API knows only reading and
reading with writing. See :mod:`ringfence.providers.r2.fence` for what a token covers.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Final

from ringfence.config import Buckets, R2Mint, R2Settings
from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole
from ringfence.providers.base import Clock, Credential, PolicyDocument, Renewal
from ringfence.providers.connecting import open_client
from ringfence.providers.naming import R2, name_endpoint
from ringfence.providers.r2 import api as r2_api
from ringfence.providers.r2 import sign as r2_sign
from ringfence.providers.r2.api import TempCredentialsApi
from ringfence.providers.r2.fence import R2Fence, fences
from ringfence.providers.r2.sign import LocalSigner
from ringfence.providers.r2.store import MAX_RETRIES, REGION
from ringfence.providers.s3.keys import StaticKeys
from ringfence.providers.s3.provider import S3Provider
from ringfence.providers.s3.store import S3Address
from ringfence.scope import Grants

if TYPE_CHECKING:
    import httpx

_ACCOUNT_HOST: Final = re.compile(
    r"([0-9a-f]{32})(?:\.[a-z]+)?\.r2\.cloudflarestorage\.com(?::\d+)?"
)

# R2 refuses some of the checksums that newer AWS SDKs send with every upload and ask for with every
# download (R2, *S3 API compatibility*, "Checksum Types"): they are then left out.
_CHECKSUMS: Final = {
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


class R2Provider(S3Provider):
    """Opens stores on R2 and issues temporary credentials, signed here or by Cloudflare's API."""

    name = "r2"
    _max_retries = MAX_RETRIES

    def __init__(
        self,
        settings: R2Settings,
        buckets: Buckets,
        *,
        credential_ttl: timedelta,
        clock: Clock = lambda: datetime.now(UTC),
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._buckets = buckets
        self._ttl = credential_ttl
        self._clock = clock
        self._transport = transport
        self._sleep = sleep
        self._monotonic = monotonic
        self._jitter = jitter
        self._opening = Lock()
        name_endpoint(settings.endpoint, R2)

    # --- fencing ---------------------------------------------------------------------------

    def plan(self, grants: Grants) -> tuple[PolicyDocument, ...]:
        """The claims of the tokens, or the requests for them. See :class:`base.Provider`."""
        parts = fences(grants, self._buckets.of)
        if self._settings.mint is R2Mint.LOCAL:
            return tuple(self._claims(fence) for fence in parts)
        return tuple(self._request(fence) for fence in parts)

    def issue(self, grants: Grants, *, session: str) -> tuple[Credential, ...]:
        """Signs, or asks once for each credential, for all at the same time.

        R2's tokens have no place for ``session``, so its audit log does not show it.
        """
        del session
        parts = fences(grants, self._buckets.of)
        if self._settings.mint is R2Mint.LOCAL:
            now = self._clock()
            return tuple(self._signer.sign(fence, now) for fence in parts)
        with self._opening:  # several may issue their first credential at once
            api = self._api
        if len(parts) == 1:
            return (api.issue(parts[0]),)
        with ThreadPoolExecutor(len(parts), thread_name_prefix="ringfence-r2") as pool:
            return tuple(pool.map(api.issue, parts))

    def _claims(self, fence: R2Fence) -> PolicyDocument:
        text = json.dumps(self._signer.claims(fence), separators=(",", ":"))
        return PolicyDocument(fence.grants, r2_sign.LANGUAGE, text, fence.exactly)

    def _request(self, fence: R2Fence) -> PolicyDocument:
        body = r2_api.body(fence, self._settings.access_key_id, self._ttl)
        text = json.dumps(body, separators=(",", ":"))
        return PolicyDocument(fence.grants, r2_api.LANGUAGE, text, fence.by_api)

    @cached_property
    def _signer(self) -> LocalSigner:
        settings = self._settings
        host = r2_sign.audience(settings.endpoint)
        account = settings.account_id or _account_of(host)
        if account is None:
            raise GrantNotEnforceable(
                f"A credential for R2 names its Cloudflare account, which R2_ENDPOINT ({host}) "
                "does not tell: nothing was issued.",
                hint="Set R2_ACCOUNT_ID, with RINGFENCE_R2_MINT=local to sign credentials here.",
            )
        return LocalSigner(
            settings.access_key_id, settings.secret_access_key, account, host, self._ttl
        )

    @cached_property
    def _api(self) -> TempCredentialsApi:
        settings = self._settings
        # The settings have both wherever the API is chosen.
        assert settings.api_token is not None  # noqa: S101
        assert settings.account_id is not None  # noqa: S101
        return TempCredentialsApi(
            http=open_client(settings.api_url, self._transport),
            base_url=settings.api_url,
            buckets=self._buckets,
            account=settings.account_id,
            token=settings.api_token,
            access_key_id=settings.access_key_id,
            ttl=self._ttl,
            now=self._clock,
            sleep=self._sleep,
            monotonic=self._monotonic,
            jitter=self._jitter,
        )

    # --- stores ----------------------------------------------------------------------------

    def _keys(self) -> StaticKeys:
        settings = self._settings
        return StaticKeys(settings.access_key_id, settings.secret_access_key, None)

    def _address(self, role: BucketRole) -> S3Address:
        settings = self._settings
        bucket = self._buckets.of(role)
        return S3Address(bucket, REGION, settings.endpoint, settings.use_path_style)

    def environment(self, credential: Credential) -> dict[str, str]:
        """As :meth:`S3Provider.environment`, with what R2 needs of AWS SDKs."""
        return super().environment(credential) | _CHECKSUMS

    def refreshing_environment(self, credential: Credential, at: Renewal) -> dict[str, str]:
        """As :meth:`S3Provider.refreshing_environment`, with the same."""
        return super().refreshing_environment(credential, at) | _CHECKSUMS

    def close(self) -> None:
        """Closes the connections to the API, if there were any. Idempotent."""
        if "_api" in self.__dict__:
            self._api.http.close()


def _account_of(host: str) -> str | None:
    """The account that an endpoint of Cloudflare's begins with."""
    match = _ACCOUNT_HOST.fullmatch(host)
    return match[1] if match else None
