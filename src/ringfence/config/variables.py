"""Every variable that Ringfence reads: the one table.

The documentation, ``ringfence config``, the order of problems, did-you-mean and the scrubbing of
child environments all come from it, so a new variable is added here and nowhere else.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


class ProviderName(StrEnum):
    """The clouds that ``STORAGE_PROVIDER`` chooses from."""

    AWS = "aws"
    R2 = "r2"
    AZURE = "azure"
    GCP = "gcp"


ALL: Final = frozenset(ProviderName)
AWS: Final = frozenset({ProviderName.AWS})
R2: Final = frozenset({ProviderName.R2})
AZURE: Final = frozenset({ProviderName.AZURE})
GCP: Final = frozenset({ProviderName.GCP})


class Variable(NamedTuple):
    """One variable: what it means, and what holds when it is unset.

    ``fallback`` is the variable that is read instead when this one is unset or empty, before any
    ``default``; ``r2_default`` is the default on r2, where that is another. ``secret`` values are
    never shown; of an ``identifier`` only the first characters are, since people put the secret
    there by mistake. ``placeholder`` is the value that the Storage Providers page shows, to be
    replaced.
    """

    name: str
    meaning: str
    default: str | None = None
    providers: frozenset[ProviderName] = ALL
    required: bool = False
    secret: bool = False
    identifier: bool = False
    fallback: str | None = None
    placeholder: str | None = None
    r2_default: str | None = None

    def on(self, provider: ProviderName | None) -> Self:
        """The variable as one provider reads it, with the default that it has there."""
        if provider is None or self.r2_default is None:
            return self
        default = self.r2_default if provider is ProviderName.R2 else self.default
        return self._replace(default=default, r2_default=None)

    @property
    def otherwise(self) -> str:
        """What holds when it is unset, in words."""
        if self.fallback:
            return f"as {self.fallback}"
        if self.default is not None:
            other = "" if self.r2_default is None else f", on r2 {self.r2_default}"
            return self.default + other
        return "required" if self.required else "optional"


VARIABLES: Final[tuple[Variable, ...]] = (
    Variable("STORAGE_PROVIDER", "Storage backend: aws, r2, azure or gcp", "aws"),
    Variable("META_BUCKET", "Bucket for app metadata and execution state", required=True),
    Variable("CONTENT_BUCKET", "Bucket for user content and workflow data", required=True),
    Variable("LOG_BUCKET", "Bucket for execution logs", required=True),
    Variable("META_BUCKET_EXPRESS_ZONE", "The meta bucket is S3 Express One Zone", "false", AWS),
    Variable(
        "CONTENT_BUCKET_EXPRESS_ZONE", "The content bucket is S3 Express One Zone", "false", AWS
    ),
    Variable("LOGS_BUCKET_EXPRESS_ZONE", "The log bucket is S3 Express One Zone", "false", AWS),
    Variable(
        "RUNTIME_ROLE_ARN",
        "Role to assume for fenced credentials; without it nothing can be vended on aws",
        providers=AWS,
        placeholder="arn:aws:iam::123456789012:role/FlowLikeRuntimeRole",
    ),
    Variable(
        "AWS_ACCESS_KEY_ID",
        "Access key; without keys the SDK's default chain finds credentials",
        providers=AWS,
        identifier=True,
        placeholder="AKIAIOSFODNN7EXAMPLE",
    ),
    Variable(
        "AWS_SECRET_ACCESS_KEY",
        "The access key's secret",
        providers=AWS,
        secret=True,
        placeholder="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ),
    Variable(
        "AWS_SESSION_TOKEN", "Session token of temporary access keys", providers=AWS, secret=True
    ),
    Variable("AWS_REGION", "Region of the buckets", providers=AWS, fallback="AWS_DEFAULT_REGION"),
    Variable("AWS_DEFAULT_REGION", "Region, where AWS_REGION is not set", "us-east-1", AWS),
    Variable("AWS_ENDPOINT", "URL of an S3-compatible engine; empty is AWS itself", providers=AWS),
    Variable(
        "AWS_STS_ENDPOINT",
        "URL of STS, where it is not at AWS_ENDPOINT; the region's own on AWS",
        providers=AWS,
        fallback="AWS_ENDPOINT",
    ),
    Variable(
        "AWS_USE_PATH_STYLE",
        "Path-style URLs, which MinIO and every IP address need",
        "false",
        AWS | R2,
        r2_default="true",
    ),
    Variable(
        "RINGFENCE_EXPRESS_SHARED",
        "Accept bucket-wide fences on S3 Express: for a single tenant only",
        "false",
        AWS,
    ),
    Variable(
        "RINGFENCE_EXPRESS_ACCESS_POINTS",
        "Fence apps on S3 Express by an access point for each app",
        "false",
        AWS,
    ),
    Variable(
        "R2_ACCESS_KEY_ID",
        "R2's S3-compatible access key",
        providers=R2,
        required=True,
        identifier=True,
        placeholder="your-r2-access-key-id",
    ),
    Variable(
        "R2_SECRET_ACCESS_KEY",
        "R2's S3-compatible secret key",
        providers=R2,
        required=True,
        secret=True,
        placeholder="your-r2-secret-access-key",
    ),
    Variable("R2_ENDPOINT", "R2's S3-compatible endpoint URL", providers=R2, required=True),
    Variable(
        "R2_ACCOUNT_ID",
        "Cloudflare account of the temp-credentials API; goes with R2_API_TOKEN",
        providers=R2,
        placeholder="your-cloudflare-account-id",
    ),
    Variable(
        "R2_API_TOKEN",
        "Cloudflare API token (Workers R2 Storage: Edit) of the temp-credentials API",
        providers=R2,
        secret=True,
        placeholder="your-cloudflare-api-token",
    ),
    Variable(
        "RINGFENCE_R2_MINT",
        "Who makes R2 credentials: api, or local signing; unset: api if R2_API_TOKEN is set",
        providers=R2,
    ),
    Variable(
        "RINGFENCE_R2_API_URL",
        "URL of Cloudflare's API, without a path",
        "https://api.cloudflare.com",
        R2,
    ),
    Variable(
        "AZURE_STORAGE_ACCOUNT_NAME",
        "Azure storage account",
        providers=AZURE,
        required=True,
        placeholder="yourstorageaccount",
    ),
    Variable(
        "AZURE_STORAGE_ACCOUNT_KEY",
        "Key of the account; without it azure-identity's default chain",
        providers=AZURE,
        secret=True,
        placeholder="your-access-key",
    ),
    Variable(
        "AZURE_STORAGE_ENDPOINT",
        "Blob endpoint URL, for Azurite and sovereign clouds; may end in /account",
        providers=AZURE,
    ),
    Variable(
        "RINGFENCE_AZURE_NAMES_SHARED",
        "Accept an account that lists, beside an app's names, those of apps whose id begins alike",
        "false",
        AZURE,
    ),
    Variable("AZURE_META_CONTAINER", "The meta container", providers=AZURE, fallback="META_BUCKET"),
    Variable(
        "AZURE_CONTENT_CONTAINER",
        "The content container",
        providers=AZURE,
        fallback="CONTENT_BUCKET",
    ),
    Variable("AZURE_LOG_CONTAINER", "The log container", providers=AZURE, fallback="LOG_BUCKET"),
    Variable(
        "GCS_PROJECT_ID",
        "Google Cloud project; unset: the one that the service account names",
        providers=GCP,
        placeholder="your-project-id",
    ),
    Variable(
        "GOOGLE_APPLICATION_CREDENTIALS_JSON",
        "Credentials as JSON, raw or base64; without them application default credentials",
        providers=GCP,
        secret=True,
    ),
    Variable("GCS_ENDPOINT", "Cloud Storage endpoint URL, for emulators", providers=GCP),
    Variable(
        "GCS_STS_ENDPOINT",
        "URL of Google's Security Token Service, for private endpoints and emulators",
        providers=GCP,
    ),
    Variable("GCP_META_BUCKET", "The meta bucket", providers=GCP, fallback="META_BUCKET"),
    Variable("GCP_CONTENT_BUCKET", "The content bucket", providers=GCP, fallback="CONTENT_BUCKET"),
    Variable("GCP_LOG_BUCKET", "The log bucket", providers=GCP, fallback="LOG_BUCKET"),
    Variable(
        "EXECUTION_STATE_BACKEND", "Where run records live: postgres, redis or s3", "postgres"
    ),
    Variable("DATABASE_URL", "URL of the database, for the postgres backend", secret=True),
    Variable("REDIS_URL", "URL of Redis or Valkey, for the redis backend", secret=True),
    Variable(
        "EXECUTION_STATE_TTL_SECONDS",
        "Seconds that run records are kept; 0 keeps them for ever",
        "2592000",
    ),
    Variable(
        "RINGFENCE_ID_CASE",
        "exact, or folded for engines that compare policies without case (SeaweedFS)",
        "exact",
    ),
    Variable("RINGFENCE_STRICT", "Refuse where a cloud's fence is coarser than the grant", "false"),
    Variable("RINGFENCE_CREDENTIAL_TTL", "Life of a credential in seconds, 900 to 43200", "3600"),
    Variable(
        "RINGFENCE_CREDENTIAL_CACHE_SHARE",
        "Share of a credential's life for which it is served from the cache, 0.1 to 0.9",
        "0.5",
    ),
    Variable(
        "RINGFENCE_HEARTBEAT_SECONDS",
        "Seconds between a run's heartbeats, 1 to 300; its lease is three of them",
        "10",
    ),
)
"""Every variable, in the order of the documentation."""

BY_NAME: Final[Mapping[str, Variable]] = MappingProxyType({v.name: v for v in VARIABLES})
ORDER: Final[Mapping[str, int]] = MappingProxyType({v.name: i for i, v in enumerate(VARIABLES)})
SECRET_VARIABLES: Final = frozenset(v.name for v in VARIABLES if v.secret)
