"""One installation on a running engine, as the tests look at it."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.config import AwsSettings, Buckets, Settings
from ringfence.layout import BucketRole, IdCase
from ringfence.providers.base import Credential, Provider
from ringfence.scope import Scope, grants
from tests.isolation.s3 import RawOwner, RawTenant
from tests.isolation.wire import Keys, Wire


def keys_of(credential: Credential) -> Keys:
    fields = credential.fields
    return Keys(
        fields["access_key_id"].reveal(),
        fields["secret_access_key"].reveal(),
        fields["token"].reveal(),
    )


@dataclass(frozen=True, slots=True)
class Installation:
    """What the tests need of one: its settings, its provider, and the wire with its own keys."""

    env: dict[str, str]
    settings: Settings
    provider: Provider
    master: Wire

    @property
    def buckets(self) -> Buckets:
        return self.settings.buckets

    @property
    def case(self) -> IdCase:
        return self.settings.id_case

    @property
    def role(self) -> str:
        assert isinstance(self.settings.cloud, AwsSettings)
        assert self.settings.cloud.runtime_role_arn is not None
        return self.settings.cloud.runtime_role_arn

    @property
    def owner(self) -> RawOwner:
        return RawOwner(self.master, self.buckets)

    def credential(self, scope: Scope) -> Credential:
        """The one credential of a scope; ids of ordinary length are never split."""
        (credential,) = self.provider.issue(grants(scope, self.case), session="isolation")
        return credential

    def fenced(self, scope: Scope) -> Wire:
        return self.holding(self.credential(scope))

    def holding(self, credential: Credential) -> Wire:
        return self.master.holding(keys_of(credential))

    def tenant(self, scope: Scope) -> RawTenant:
        return RawTenant(self.fenced(scope), self.buckets)

    def bucket(self, role: BucketRole) -> str:
        return self.buckets.of(role)
