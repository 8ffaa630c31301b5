"""An installation on the double: its account, its variables, and doubles with a check off."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ringfence.config import GcpSettings, Settings
from ringfence.providers.gcp.provider import GcpProvider
from tests.gcp.double.backend import Backend
from tests.gcp.double.checks import Check
from tests.gcp.double.door import World
from tests.gcp.double.front import Front, serving
from tests.gcp.double.tokens import Tokens

if TYPE_CHECKING:
    from ringfence.config import Buckets
    from ringfence.providers.base import Clock

EMAIL: Final = "storage@acme-project.iam.gserviceaccount.com"
PROJECT: Final = "acme-project"


@lru_cache(maxsize=1)
def key() -> rsa.RSAPrivateKey:
    """The account's key: one for all, since making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def account(front_url: str) -> str:
    """The JSON of the account's key, as Google gives it, with a token endpoint of its own."""
    pem = key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "0123456789abcdef",
            "private_key": pem.decode(),
            "client_email": EMAIL,
            "client_id": "1234567890",
            "token_uri": f"{front_url}/token",
        }
    )


@dataclass(frozen=True)
class Installation:
    """Settings and a provider on a double."""

    front: Front
    env: dict[str, str]
    settings: Settings = field(repr=False)

    @property
    def world(self) -> World:
        return self.front.world

    @property
    def tokens(self) -> Tokens:
        return self.front.world.tokens

    @property
    def cloud(self) -> GcpSettings:
        assert isinstance(self.settings.cloud, GcpSettings)
        return self.settings.cloud

    @property
    def buckets(self) -> Buckets:
        return self.settings.buckets

    def provider(
        self,
        clock: Clock = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> GcpProvider:
        """A provider of its own: nothing is cached in it yet."""
        return GcpProvider(self.cloud, self.buckets, clock=clock, sleep=sleep)

    def own_token(self) -> str:
        """A token of the account itself, for the owner of a matrix."""
        provider = self.provider()
        try:
            return provider._google.source.token().secret.reveal()
        finally:
            provider.close()


def buckets_of(tag: str) -> dict[str, str]:
    names = {"META": "meta", "CONTENT": "content", "LOG": "logs"}
    return {f"GCP_{role}_BUCKET": f"acme-{tag}-{name}" for role, name in names.items()}


@contextmanager
def installed(
    backend: Backend,
    *,
    off: Collection[Check] = (),
    clock: Clock = lambda: datetime.now(UTC),
    buckets: dict[str, str] | None = None,
) -> Iterator[Installation]:
    """A double, by default with buckets of its own, and an installation on it."""
    if buckets is None:
        buckets = buckets_of(secrets.token_hex(4))
        for name in buckets.values():
            backend.make_bucket(name)
    tokens = Tokens(EMAIL, key().public_key(), clock, off)
    world = World(tokens, backend, frozenset(buckets.values()), off)
    with serving(world) as front:
        env = {
            "STORAGE_PROVIDER": "gcp",
            "EXECUTION_STATE_BACKEND": "s3",
            "GOOGLE_APPLICATION_CREDENTIALS_JSON": account(front.url),
            "GCS_ENDPOINT": front.url,
            "GCS_STS_ENDPOINT": front.url,
            **buckets,
        }
        yield Installation(front, env, Settings.from_env(env))
