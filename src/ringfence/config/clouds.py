"""Chooses the cloud to read. Each has its module, imported when it is the one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never

from ringfence.config.variables import ProviderName

if TYPE_CHECKING:
    from ringfence.config.aws import AwsSettings
    from ringfence.config.azure import AzureSettings
    from ringfence.config.gcp import GcpSettings
    from ringfence.config.r2 import R2Settings
    from ringfence.config.reader import Reader
    from ringfence.layout import BucketRole

    CloudSettings: TypeAlias = AwsSettings | R2Settings | AzureSettings | GcpSettings


def read_cloud(
    reader: Reader, provider: ProviderName, express: frozenset[BucketRole]
) -> CloudSettings:
    """The settings of the chosen cloud; those of the others are not looked at."""
    match provider:
        case ProviderName.AWS:
            from ringfence.config.aws import read_aws

            return read_aws(reader, express)
        case ProviderName.R2:
            from ringfence.config.r2 import read_r2

            return read_r2(reader)
        case ProviderName.AZURE:
            from ringfence.config.azure import read_azure

            return read_azure(reader)
        case ProviderName.GCP:
            from ringfence.config.gcp import read_gcp

            return read_gcp(reader)
    assert_never(provider)
