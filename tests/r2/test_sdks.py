"""The isolation matrix on R2 through the SDKs that executions really use, over http and https."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final

import pytest

from ringfence.scope import AccessMode, Area, Scope
from ringfence.testing.isolation import Client, Expected, attack, neighbours_of, probes
from tests.clients.aio import aio_tenant
from tests.clients.boto import boto_client, boto_tenant
from tests.clients.obstore_client import ObstoreTenant
from tests.clients.site import Site, is_in_one_bucket, is_plain
from tests.r2.installation import R2Installation
from tests.r2.test_matrix import as_enforced, in_areas, longer, loose

pytestmark = pytest.mark.engine

Opened = AbstractContextManager[Client]

TENANTS: Final[dict[str, Callable[[Site], Opened]]] = {
    "boto3": boto_tenant,
    "aiobotocore": aio_tenant,
    "obstore": lambda site: nullcontext(ObstoreTenant(site)),
}
LEAST_PROBES: Final = 25
BIG: Final = 6 << 20


@pytest.mark.parametrize("sdk", TENANTS)
@pytest.mark.parametrize("installation", ["local", "api_over_tls"], indirect=True)
def test_the_sdk_meets_the_fence(installation: R2Installation, scope: Scope, sdk: str) -> None:
    look_through(sdk, installation, scope)


@pytest.mark.soak
@pytest.mark.parametrize("mode", AccessMode)
@pytest.mark.parametrize("sdk", TENANTS)
@pytest.mark.parametrize(
    "installation", ["local", "by_api", "over_tls", "api_over_tls"], indirect=True
)
def test_the_sdk_meets_the_fence_in_every_mode(
    installation: R2Installation, tag: str, sdk: str, mode: AccessMode
) -> None:
    scope = Scope(f"{tag}-app1", f"{tag}-user", f"{tag}-run1", mode)
    look_through(sdk, installation, scope, whole=True)


def look_through(
    sdk: str, installation: R2Installation, scope: Scope, *, whole: bool = False
) -> None:
    near = neighbours_of(scope) if whole else longer(scope)
    for credential in installation.credentials(scope):
        held, coarse = as_enforced(credential), loose(credential)
        every = probes(scope, near, installation.case, held=held, coarse=coarse)
        wanted = [p for p in (every if whole else in_areas(every, held)) if is_plain(p)]
        if sdk == "obstore":
            wanted = [probe for probe in wanted if is_in_one_bucket(probe)]
        with TENANTS[sdk](installation.site(credential)) as tenant:
            report = attack(tenant, installation.owner, wanted, held)
        report.check()
        assert report.probes >= LEAST_PROBES
        assert report.counts[Expected.ALLOWED]


@pytest.mark.parametrize("installation", ["local", "over_tls"], indirect=True)
def test_what_boto3_does_by_itself_goes_through(installation: R2Installation, scope: Scope) -> None:
    """Uploads in parts, checksums, pages: boto3's own helpers with their defaults."""
    content = next(each for each in installation.credentials(scope) if each.covers(Area.APP))
    app = content.grants[0]
    bucket, body = installation.buckets.content, b"b" * BIG
    with boto_client(installation.site(content)) as s3:
        s3.put_object(Bucket=bucket, Key=f"{app.prefix}big", Body=body, ContentType="text/plain")
        s3.copy_object(
            Bucket=bucket,
            Key=f"{app.prefix}copy",
            CopySource={"Bucket": bucket, "Key": f"{app.prefix}big"},
        )
        upload = s3.create_multipart_upload(Bucket=bucket, Key=f"{app.prefix}parts")["UploadId"]
        key = f"{app.prefix}parts"
        part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=body)
        s3.complete_multipart_upload(
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
        )
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=app.prefix, PaginationConfig={"PageSize": 2}
        )
        keys = [row["Key"].removeprefix(app.prefix) for p in pages for row in p["Contents"]]
        assert keys == ["big", "copy", "parts"]
        for name in keys:
            assert s3.get_object(Bucket=bucket, Key=f"{app.prefix}{name}")["Body"].read() == body
        gone = s3.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": f"{app.prefix}{name}"} for name in keys]}
        )
        assert len(gone["Deleted"]) == 3
        assert "Errors" not in gone
