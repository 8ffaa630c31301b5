"""Installations on the local AWS, by which of their buckets are on Express."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from ringfence._registry import open_provider
from ringfence.config import AwsSettings, Buckets, Settings
from ringfence.layout import BucketRole
from ringfence.providers.aws.provider import AwsProvider
from ringfence.providers.base import Credential
from ringfence.scope import Grants, Scope, grants
from ringfence.testing.isolation import Place, Upload
from tests.express.local_aws import EXPRESS, OWNER_KEYS, REGION, ROLE, STANDARD, LocalAws
from tests.express.tenant import ExpressTenant, ExpressWire
from tests.isolation.installation import keys_of
from tests.isolation.s3 import RawOwner

_FLAGS = {
    BucketRole.META: ("META_BUCKET", "META_BUCKET_EXPRESS_ZONE"),
    BucketRole.CONTENT: ("CONTENT_BUCKET", "CONTENT_BUCKET_EXPRESS_ZONE"),
    BucketRole.LOG: ("LOG_BUCKET", "LOGS_BUCKET_EXPRESS_ZONE"),
}


def environment(on: str, *, shared: bool = False, access_points: bool = False) -> dict[str, str]:
    """The variables of an installation with the roles named in ``on`` on S3 Express."""
    express = {BucketRole(role) for role in on.split()}
    env = {
        "STORAGE_PROVIDER": "aws",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": OWNER_KEYS.access,
        "AWS_SECRET_ACCESS_KEY": OWNER_KEYS.secret,
        "RUNTIME_ROLE_ARN": ROLE,
        "EXECUTION_STATE_BACKEND": "s3",
        "RINGFENCE_ID_CASE": "folded",
        "RINGFENCE_EXPRESS_SHARED": str(shared).lower(),
        "RINGFENCE_EXPRESS_ACCESS_POINTS": str(access_points).lower(),
    }
    for role, (name, flag) in _FLAGS.items():
        env[name] = (EXPRESS if role in express else STANDARD).of(role)
        env[flag] = str(role in express).lower()
    return env


@dataclass(frozen=True, slots=True)
class Express:
    """One installation."""

    aws: LocalAws
    env: Mapping[str, str]
    settings: Settings
    provider: AwsProvider

    @classmethod
    def on(cls, aws: LocalAws, on: str, **flags: bool) -> Self:
        env = environment(on, **flags)
        settings = Settings.from_env(env)
        provider = open_provider(settings, lambda: datetime.now(UTC))
        assert isinstance(provider, AwsProvider)
        return cls(aws, env, settings, provider)

    @property
    def owner(self) -> RawOwner:
        """The engine's own owner: sees what really lies there, without the double between."""
        names, aws = self.settings.buckets, self.aws
        physical = Buckets(*(aws.zonal.upstream.buckets[names.of(role)] for role in BucketRole))
        assert isinstance(self.settings.cloud, AwsSettings)
        return _Owner(aws, physical, self.settings.cloud.express)

    def grants(self, scope: Scope) -> Grants:
        return grants(scope, self.settings.id_case)

    def credential(self, scope: Scope) -> Credential:
        (credential,) = self.provider.issue(self.grants(scope), session="express")
        return credential

    def wire(self, credential: Credential) -> ExpressWire:
        return ExpressWire(self.aws.url, keys_of(credential))

    def doors(self, credential: Credential) -> Iterator[tuple[dict[BucketRole, str], Grants]]:
        """Each set of names by which the buckets can be asked, and what is granted through it."""
        direct = {role: self.settings.buckets.of(role) for role in BucketRole}
        names = {g: str(self.provider.address(g)["bucket"]) for g in credential.grants}
        everywhere = tuple(g for g in credential.grants if names[g] == direct[g.bucket])
        yield direct, everywhere
        points = {name: g.bucket for g, name in names.items() if name != direct[g.bucket]}
        for name, role in points.items():
            through = tuple(g for g in credential.grants if names[g] == name or g in everywhere)
            yield {**direct, role: name}, through

    def tenant(self, credential: Credential, doors: Mapping[BucketRole, str]) -> ExpressTenant:
        return ExpressTenant(self.wire(credential), doors)


class _Owner(RawOwner):
    """Tells the ETags of Express buckets as their tenants see them."""

    def __init__(self, aws: LocalAws, buckets: Buckets, express: frozenset[BucketRole]) -> None:
        super().__init__(aws.zonal.upstream.wire, buckets)
        self._zonal = aws.zonal
        self._express = express

    def plant(self, place: Place, body: bytes) -> str | None:
        tag = super().plant(place, body)
        return None if tag is None else self._seen(place.bucket, tag)

    def begin(self, place: Place) -> Upload | None:
        upload = super().begin(place)
        return upload and Upload(upload.id, self._seen(place.bucket, upload.part))

    def versions(self, bucket: BucketRole) -> Mapping[str, str]:
        return {key: self._seen(bucket, tag) for key, tag in super().versions(bucket).items()}

    def _seen(self, bucket: BucketRole, tag: str) -> str:
        return self._zonal.veiled(tag) if bucket in self._express else tag
