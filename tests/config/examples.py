"""Environments to test with: the page's own, verbatim, and complete ones for each provider."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Final

from ringfence.config import ProviderName

# Verbatim from the Storage Providers page, comments included.
PAGE_AWS: Final = """\
STORAGE_PROVIDER=aws
# Credentials
AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE
AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
# Region and endpoint
AWS_REGION=us-east-1
AWS_ENDPOINT= # Leave empty for AWS S3
# Bucket names
META_BUCKET=flow-like-meta
CONTENT_BUCKET=flow-like-content
LOG_BUCKET=flow-like-logs
"""
PAGE_EXPRESS: Final = """\
# Enable S3 Express for meta bucket
META_BUCKET=flow-like-meta--usw2-az1--x-s3
META_BUCKET_EXPRESS_ZONE=true
# Content bucket can also use Express if in same AZ
CONTENT_BUCKET=flow-like-content
CONTENT_BUCKET_EXPRESS_ZONE=false
# Logs bucket (standard S3 is usually sufficient)
LOG_BUCKET=flow-like-logs
LOGS_BUCKET_EXPRESS_ZONE=false
"""
PAGE_ROLE: Final = """\
# Role to assume for runtime credentials
RUNTIME_ROLE_ARN=arn:aws:iam::123456789012:role/FlowLikeRuntimeRole
"""
PAGE_R2: Final = """\
STORAGE_PROVIDER=r2
# R2 credentials for S3 API access (from R2 API tokens)
R2_ACCESS_KEY_ID=your-r2-access-key-id
R2_SECRET_ACCESS_KEY=your-r2-secret-access-key
# R2 endpoint (replace with your account ID)
R2_ENDPOINT=https://<account-id>.r2.cloudflarestorage.com
# R2 Temp Credentials API (required for scoped credentials)
R2_ACCOUNT_ID=your-cloudflare-account-id
R2_API_TOKEN=your-cloudflare-api-token
# Bucket names
META_BUCKET=flow-like-meta
CONTENT_BUCKET=flow-like-content
LOG_BUCKET=flow-like-logs
"""
PAGE_MINIO: Final = """\
STORAGE_PROVIDER=aws
# MinIO credentials
AWS_ACCESS_KEY_ID=minioadmin
AWS_SECRET_ACCESS_KEY=minioadmin
# MinIO endpoint
AWS_ENDPOINT=http://minio:9000
AWS_REGION=us-east-1
AWS_USE_PATH_STYLE=true
# Bucket names
META_BUCKET=flow-like-meta
CONTENT_BUCKET=flow-like-content
LOG_BUCKET=flow-like-logs
# STS AssumeRole for scoped credentials
# MinIO requires STS to be enabled: https://min.io/docs/minio/linux/developers/security-token-service.html
RUNTIME_ROLE_ARN=arn:minio:iam:::role/FlowLikeRuntimeRole
"""
PAGE_AZURE: Final = """\
STORAGE_PROVIDER=azure
# Azure credentials
AZURE_STORAGE_ACCOUNT_NAME=yourstorageaccount
AZURE_STORAGE_ACCOUNT_KEY=your-access-key
# Container names
AZURE_META_CONTAINER=flow-like-meta
AZURE_CONTENT_CONTAINER=flow-like-content
AZURE_LOG_CONTAINER=flow-like-logs
"""
PAGE_GCP: Final = """\
STORAGE_PROVIDER=gcp
# GCP project
GCS_PROJECT_ID=your-project-id
# Service account JSON (base64 encoded or raw)
GOOGLE_APPLICATION_CREDENTIALS_JSON={"type":"service_account","project_id":"..."}
# Bucket names
GCP_META_BUCKET=flow-like-meta
GCP_CONTENT_BUCKET=flow-like-content
GCP_LOG_BUCKET=flow-like-logs
"""

ACCOUNT: Final = "0123456789abcdef0123456789abcdef"
PRIVATE_KEY: Final = (
    "-----BEGIN PRIVATE KEY-----\nsecret-private-key-body\n-----END PRIVATE KEY-----\n"
)
SERVICE_ACCOUNT: Final[Mapping[str, str]] = {
    "type": "service_account",
    "project_id": "project-of-the-key",
    "private_key": PRIVATE_KEY,
    "client_email": "ringfence@project-of-the-key.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}
SERVICE_ACCOUNT_JSON: Final = json.dumps(SERVICE_ACCOUNT)
AZURE_KEY: Final = base64.b64encode(b"secret-azure-account-key".ljust(64, b"!")).decode()

BUCKETS: Final = {
    "META_BUCKET": "flow-like-meta",
    "CONTENT_BUCKET": "flow-like-content",
    "LOG_BUCKET": "flow-like-logs",
}
AWS: Final = BUCKETS
R2: Final = BUCKETS | {
    "STORAGE_PROVIDER": "r2",
    "R2_ACCESS_KEY_ID": "r2-key-id-01",
    "R2_SECRET_ACCESS_KEY": "secret-r2-access-key",
    "R2_ENDPOINT": f"https://{ACCOUNT}.r2.cloudflarestorage.com",
}
AZURE: Final = BUCKETS | {
    "STORAGE_PROVIDER": "azure",
    "AZURE_STORAGE_ACCOUNT_NAME": "flowlike",
}
GCP: Final = BUCKETS | {"STORAGE_PROVIDER": "gcp"}
LEAST: Final[Mapping[ProviderName, Mapping[str, str]]] = {
    ProviderName.AWS: AWS,
    ProviderName.R2: R2,
    ProviderName.AZURE: AZURE,
    ProviderName.GCP: GCP,
}
"""The least that each provider needs."""

_OWN: Final = {
    "EXECUTION_STATE_BACKEND": "redis",
    "DATABASE_URL": "postgresql://ringfence:secret-database-password@db/ringfence",
    "REDIS_URL": "rediss://:secret-redis%2Dpassword@redis:6379/0",
    "EXECUTION_STATE_TTL_SECONDS": "86400",
    "RINGFENCE_ID_CASE": "folded",
    "RINGFENCE_STRICT": "yes",
    "RINGFENCE_CREDENTIAL_TTL": "900",
    "RINGFENCE_CREDENTIAL_CACHE_SHARE": "0.75",
    "RINGFENCE_HEARTBEAT_SECONDS": "5",
}
FULL: Final[Mapping[ProviderName, Mapping[str, str]]] = {
    ProviderName.AWS: {
        "STORAGE_PROVIDER": "aws",
        "META_BUCKET": "meta--euw1-az1--x-s3",
        "CONTENT_BUCKET": "content--euw1-az1--x-s3",
        "LOG_BUCKET": "logs--euw1-az1--x-s3",
        "META_BUCKET_EXPRESS_ZONE": "true",
        "CONTENT_BUCKET_EXPRESS_ZONE": "1",
        "LOGS_BUCKET_EXPRESS_ZONE": "YES",
        "RUNTIME_ROLE_ARN": "arn:aws:iam::111122223333:role/path/Runtime",
        "AWS_ACCESS_KEY_ID": "ASIAQWERTYUIOPASDFGH",
        "AWS_SECRET_ACCESS_KEY": "secret-aws-access-key",
        "AWS_SESSION_TOKEN": "secret-aws-session-token",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT": "https://s3.example.test:9000",
        "AWS_STS_ENDPOINT": "https://sts.example.test",
        "AWS_USE_PATH_STYLE": "false",
        "RINGFENCE_EXPRESS_SHARED": "true",
        "RINGFENCE_EXPRESS_ACCESS_POINTS": "true",
        **_OWN,
    },
    ProviderName.R2: {
        **R2,
        "R2_ACCOUNT_ID": ACCOUNT,
        "R2_API_TOKEN": "secret-cloudflare-token",
        "AWS_USE_PATH_STYLE": "false",
        "RINGFENCE_R2_MINT": "local",
        "RINGFENCE_R2_API_URL": "https://api.example.test",
        **_OWN,
    },
    ProviderName.AZURE: {
        **AZURE,
        "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY,
        "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:10000/devstoreaccount1",
        "RINGFENCE_AZURE_NAMES_SHARED": "true",
        "AZURE_META_CONTAINER": "own-meta",
        "AZURE_CONTENT_CONTAINER": "own-content",
        "AZURE_LOG_CONTAINER": "own-logs",
        **_OWN,
    },
    ProviderName.GCP: {
        **GCP,
        "GCS_PROJECT_ID": "another-project",
        "GOOGLE_APPLICATION_CREDENTIALS_JSON": SERVICE_ACCOUNT_JSON,
        "GCS_ENDPOINT": "http://127.0.0.1:4443",
        "GCS_STS_ENDPOINT": "http://127.0.0.1:4444",
        "GCP_META_BUCKET": "own_meta",
        "GCP_CONTENT_BUCKET": "own.content",
        "GCP_LOG_BUCKET": "own-logs",
        **_OWN,
    },
}
"""Every variable that each provider reads, none at its default."""
