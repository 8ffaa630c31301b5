"""One installation on R2, as the tests look at it: the double, its API, and the engine behind."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from ringfence.config import Buckets, Settings
from ringfence.embedded import certs
from ringfence.layout import BucketRole, IdCase
from ringfence.providers.base import Clock, Credential
from ringfence.providers.r2.provider import R2Provider
from ringfence.scope import Area, Scope, grants
from tests.clients.site import Site
from tests.isolation.installation import keys_of
from tests.isolation.s3 import RawOwner, RawTenant
from tests.isolation.wire import Keys, Wire
from tests.r2.api import EDIT, CloudflareApi, cloudflare_api
from tests.r2.checks import NONE_OFF, Check
from tests.r2.front import R2Front, r2_front, utc_now
from tests.r2.sessions import Parent

ACCOUNT: Final = "4793d734c0b8e484dfc37ec392b5fa8a"
PARENT_KEY: Final = "8f1dde3a1f1c4f0f9a1a2b3c4d5e6f70"
PARENT_SECRET: Final = "5eb63bbbe01eeed093cb22bb8f5acdc3c1ac2f1f5b2a3e4d6c7b8a9f0e1d2c3b"
API_TOKEN: Final = "v1-token-of-cloudflares-api-0123456789ab"
REGION: Final = "auto"


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate for the loopback, its authority as clients load it, and both ends' contexts."""

    ca: Path
    server: ssl.SSLContext
    client: ssl.SSLContext


def make_tls(folder: Path) -> Tls:
    """A fresh certificate and the authority that vouches for it."""
    pem = certs.make()
    names = {"ca.pem": pem.authority, "server.pem": pem.certificate, "server.key": pem.key}
    for name, text in names.items():
        (folder / name).write_text(text)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    client = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    return Tls(folder / "ca.pem", server, client)


@dataclass(frozen=True, slots=True)
class R2Installation:
    """What the tests need of one."""

    env: dict[str, str] = field(repr=False)
    settings: Settings
    provider: R2Provider
    front: R2Front
    api: CloudflareApi
    engine: Wire
    tls: Tls | None = None

    @property
    def buckets(self) -> Buckets:
        return self.settings.buckets

    @property
    def case(self) -> IdCase:
        return self.settings.id_case

    @property
    def owner(self) -> RawOwner:
        """The installation itself, at the engine: what lies there, whatever the double says."""
        return RawOwner(self.engine, self.buckets)

    @property
    def master(self) -> Wire:
        """The parent key, at the double."""
        return self.wire(Keys(PARENT_KEY, PARENT_SECRET))

    def bucket(self, role: BucketRole) -> str:
        return self.buckets.of(role)

    def wire(self, keys: Keys | None) -> Wire:
        return Wire(self.front.endpoint, keys, REGION, self.tls.client if self.tls else None)

    def credentials(self, scope: Scope) -> tuple[Credential, ...]:
        return self.provider.issue(grants(scope, self.case), session="isolation")

    def credential(self, scope: Scope, area: Area) -> Credential:
        return next(each for each in self.credentials(scope) if each.covers(area))

    def holding(self, credential: Credential) -> Wire:
        return self.wire(keys_of(credential))

    def tenant(self, credential: Credential) -> RawTenant:
        return RawTenant(self.holding(credential), self.buckets)

    def site(self, credential: Credential) -> Site:
        ca = self.tls.ca if self.tls else None
        return Site(self.front.endpoint, REGION, keys_of(credential), self.buckets, ca=ca)


def environment(engine: Any, endpoint: str, api_url: str, mint: str, **more: str) -> dict[str, str]:
    """The variables of an installation on the double."""
    return {
        "STORAGE_PROVIDER": "r2",
        **{name: engine.env[name] for name in ("META_BUCKET", "CONTENT_BUCKET", "LOG_BUCKET")},
        "R2_ACCESS_KEY_ID": PARENT_KEY,
        "R2_SECRET_ACCESS_KEY": PARENT_SECRET,
        "R2_ENDPOINT": endpoint,
        "R2_ACCOUNT_ID": ACCOUNT,
        "R2_API_TOKEN": API_TOKEN,
        "RINGFENCE_R2_MINT": mint,
        "RINGFENCE_R2_API_URL": api_url,
        "EXECUTION_STATE_BACKEND": "s3",
        **more,
    }


@contextmanager
def installed(
    engine: Any,
    mint: str,
    *,
    tls: Tls | None = None,
    off: frozenset[Check] = NONE_OFF,
    clock: Clock = utc_now,
    ttl: timedelta = timedelta(hours=1),
    **more: str,
) -> Iterator[R2Installation]:
    """An installation on a double of its own, before the engine."""
    buckets = Settings.from_env(engine.env).buckets
    behind = Wire(engine.endpoint, Keys(engine.master.access, engine.master.secret))
    names = frozenset(buckets.of(role) for role in BucketRole)
    parent = Parent(ACCOUNT, PARENT_KEY, PARENT_SECRET, names)
    with ExitStack() as stack:
        context = tls.server if tls else None
        front = stack.enter_context(r2_front(parent, behind, tls=context, now=clock, off=off))
        tokens = {API_TOKEN: frozenset({EDIT})}
        api = stack.enter_context(cloudflare_api(front, tokens, tls=context, off=off))
        env = environment(engine, front.endpoint, api.url, mint, **more)
        settings = Settings.from_env(env)
        provider = make_provider(settings, clock, ttl)
        stack.callback(provider.close)
        yield R2Installation(env, settings, provider, front, api, behind, tls)


def make_provider(settings: Settings, clock: Clock, ttl: timedelta) -> R2Provider:
    """The provider of some settings, with a time to live that no settings would allow."""
    from ringfence.config import R2Settings

    assert isinstance(settings.cloud, R2Settings)
    return R2Provider(settings.cloud, settings.buckets, credential_ttl=ttl, clock=clock)
