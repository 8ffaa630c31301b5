"""The half of a provider that is alike wherever S3 is spoken: stores, tools and signed URLs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from ringfence.layout import BucketRole, Prefix
from ringfence.providers.aws.sts import SigningKeys
from ringfence.providers.base import (
    Address,
    Credential,
    CredentialSource,
    Form,
    Method,
    Renewal,
    ToolFile,
)
from ringfence.providers.s3 import tools as s3_tools
from ringfence.providers.s3.keys import MasterCredentials
from ringfence.providers.s3.store import S3Address, leased, open_s3
from ringfence.providers.stores import MAX_RETRIES, timeout_of
from ringfence.scope import Grant

if TYPE_CHECKING:
    from obstore.store import S3Store


class S3Provider(ABC):
    """Everything of :class:`base.Provider` but the fence itself."""

    _max_retries: ClassVar[int] = MAX_RETRIES

    @abstractmethod
    def _address(self, role: BucketRole) -> S3Address:
        """Where a whole bucket is."""

    @abstractmethod
    def _keys(self) -> SigningKeys:
        """The installation's own keys. May block."""

    def _address_of(self, grant: Grant) -> S3Address:
        """Where a fenced store finds a grant."""
        return self._address(grant.bucket)

    # --- stores ----------------------------------------------------------------------------

    def open(self, grant: Grant, lease: CredentialSource) -> S3Store:
        """A store rooted at the grant's prefix. See :class:`base.Provider`."""
        address = self._address_of(grant)
        return open_s3(address, grant.prefix, leased(lease), max_retries=self._max_retries)

    def open_bucket(self, role: BucketRole, prefix: Prefix | None = None) -> S3Store:
        """A store on a whole bucket with the installation's own credentials."""
        return open_s3(
            self._address(role),
            prefix,
            MasterCredentials(self._keys),
            timeout=timeout_of(role),
            max_retries=self._max_retries,
        )

    def sign(self, grant: Grant, path: str, method: Method, expires_in: timedelta) -> str:
        """A URL presigned with the installation's own keys. See :class:`base.Provider`.

        Never with a session's: its token stands in the URL, and where that holds the session's
        secret, as R2's does, the URL would be a gift of all that the session may do.
        """
        store = self.open_bucket(grant.bucket, grant.prefix)
        return s3_tools.sign(store, path, method, expires_in)

    # --- for other processes and tools -------------------------------------------------------

    def address(self, grant: Grant) -> Address:
        """Bucket, region, endpoint and style: see :class:`s3.store.S3Address`."""
        return asdict(self._address_of(grant))

    def url(self, grant: Grant) -> str:
        """``s3://bucket/prefix/``."""
        return s3_tools.s3_url(grant, self._address_of(grant))

    def environment(self, credential: Credential) -> dict[str, str]:
        """The names that AWS SDKs, obstore, DuckDB and kin read by themselves."""
        return s3_tools.environment(credential, self._first_address(credential))

    def refreshing_environment(self, credential: Credential, at: Renewal) -> dict[str, str]:
        """Container credentials, which AWS SDKs renew by themselves."""
        return s3_tools.refreshing_environment(at, self._first_address(credential))

    def tool_files(self, credentials: Sequence[Credential], at: Renewal) -> tuple[ToolFile, ...]:
        """AWS profiles, one for each area. See :func:`s3_tools.profiles`."""
        del at  # the process of a profile finds the runner by the execution's variables
        return s3_tools.profiles(credentials, self._addresses(*credentials))

    def export(self, credential: Credential, form: Form) -> str:
        """Every form. See :class:`base.Provider`."""
        return s3_tools.export(credential, form, self._addresses(credential))

    def _addresses(self, *credentials: Credential) -> dict[str, S3Address]:
        return {
            grant.area.value: self._address_of(grant)
            for credential in credentials
            for grant in credential.grants
        }

    def _first_address(self, credential: Credential) -> S3Address:
        addresses = self._addresses(credential)
        first = s3_tools.address_of(credential, addresses)
        # Tools of object_store are told of S3 Express once for all buckets: only if it holds there.
        return replace(first, express=all(each.express for each in addresses.values()))
