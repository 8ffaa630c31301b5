"""An S3 credential in the words of the tools that use it: variables, profiles, other formats.

Shared by every provider whose stores speak S3.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ringfence.errors import RingfenceError, UsageError
from ringfence.providers._obstore import translate
from ringfence.providers.base import Credential, Form, Method, Renewal, ToolFile
from ringfence.providers.s3.store import S3Address

if TYPE_CHECKING:
    from obstore.store import S3Store

    from ringfence.scope import Grant

Addresses = Mapping[str, S3Address]
"""The address of each area that a credential covers, by the area's name."""

_PROCESS_MODULE: Final = "ringfence.executor.credential_process"


def environment(credential: Credential, address: S3Address) -> dict[str, str]:
    """The names that AWS SDKs, obstore, DuckDB and kin read by themselves."""
    return {
        "AWS_ACCESS_KEY_ID": credential.fields["access_key_id"].reveal(),
        "AWS_SECRET_ACCESS_KEY": credential.fields["secret_access_key"].reveal(),
        "AWS_SESSION_TOKEN": credential.fields["token"].reveal(),
        "AWS_CREDENTIAL_EXPIRATION": credential.expires_at.isoformat(),
        **_address_environment(address),
    }


def refreshing_environment(at: Renewal, address: S3Address) -> dict[str, str]:
    """Container credentials: AWS SDKs fetch them at the URL and renew in time by themselves."""
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": at.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": at.token.reveal(),
        **_address_environment(address),
    }


def _address_environment(address: S3Address) -> dict[str, str]:
    """Where the engine is, in the names of botocore (``..._URL``) and of object_store."""
    named = {
        "AWS_REGION": address.region,
        "AWS_DEFAULT_REGION": address.region,
        # Neither the machine's own role nor a profile may stand in for the fenced credential.
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    if address.endpoint is not None:
        named["AWS_ENDPOINT"] = named["AWS_ENDPOINT_URL"] = address.endpoint
        named["AWS_ALLOW_HTTP"] = str(address.endpoint.startswith("http:")).lower()
    if address.path_style:
        named["AWS_USE_PATH_STYLE"] = "true"
    if address.express:
        # For object_store; the AWS SDKs tell such buckets by their names.
        named["AWS_S3_EXPRESS"] = "true"
    named["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] = str(not address.path_style).lower()
    return named


def profiles(credentials: Sequence[Credential], addresses: Addresses) -> tuple[ToolFile, ...]:
    """An AWS configuration file with a profile for each area, where there are several credentials.

    ``aws --profile logs`` and ``boto3.Session(profile_name="logs")`` then use the right one and
    renew it. The file holds no secret: its process asks the runner, with the run's own token.
    """
    if len(credentials) < 2:
        return ()
    lines = [
        line
        for number, credential in enumerate(credentials)
        for grant in credential.grants
        for line in _profile(grant.area.value, number, addresses[grant.area.value])
    ]
    return (ToolFile("aws-config", "AWS_CONFIG_FILE", "\n".join(lines) + "\n"),)


def _profile(area: str, number: int, address: S3Address) -> list[str]:
    process = shlex.join((sys.executable, "-m", _PROCESS_MODULE, str(number)))
    lines = [f"[profile {area}]", f"credential_process = {process}", f"region = {address.region}"]
    if address.endpoint is not None:
        lines.append(f"endpoint_url = {address.endpoint}")
    style = "path" if address.path_style else "virtual"
    return [*lines, "s3 =", f"  addressing_style = {style}"]


def export(credential: Credential, form: Form, addresses: Addresses) -> str:
    """See :meth:`ringfence.providers.base.Provider.export`. S3 has every form, S3 Express has not:
    DuckDB makes no sessions there.
    """
    match form:
        case Form.PROCESS:
            return json.dumps(process_document(credential))
        case Form.OPTIONS:
            return json.dumps(_options(credential, addresses))
        case Form.DUCKDB:
            return "\n".join(
                _duckdb_secret(credential, grant, addresses[grant.area.value])
                for grant in credential.grants
            )


def process_document(credential: Credential) -> dict[str, object]:
    """What ``credential_process`` is to print (AWS SDKs Reference Guide, *Process credentials*)."""
    return {
        "Version": 1,
        "AccessKeyId": credential.fields["access_key_id"].reveal(),
        "SecretAccessKey": credential.fields["secret_access_key"].reveal(),
        "SessionToken": credential.fields["token"].reveal(),
        "Expiration": credential.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


_OPTIONS: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT",
    "AWS_ALLOW_HTTP",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_S3_EXPRESS",
)


def _options(credential: Credential, addresses: Addresses) -> dict[str, str]:
    named = environment(credential, address_of(credential, addresses))
    return {name.lower(): named[name] for name in _OPTIONS if name in named}


def address_of(credential: Credential, addresses: Addresses) -> S3Address:
    """The address that the variables of a credential name: of the first area that it covers."""
    return addresses[credential.grants[0].area.value]


def _duckdb_secret(credential: Credential, grant: Grant, address: S3Address) -> str:
    if address.express:
        raise UsageError(
            f"{address.bucket} is on S3 Express One Zone, where DuckDB cannot open objects.",
            hint="Use --format storage-options for tools of object_store, or env for AWS SDKs.",
        )
    scheme, _, host = (address.endpoint or "").partition("://")
    parts = {
        "TYPE": "s3",
        "KEY_ID": _sql(credential.fields["access_key_id"].reveal()),
        "SECRET": _sql(credential.fields["secret_access_key"].reveal()),
        "SESSION_TOKEN": _sql(credential.fields["token"].reveal()),
        "REGION": _sql(address.region),
        "URL_STYLE": _sql("path" if address.path_style else "vhost"),
    }
    if host:
        parts["ENDPOINT"] = _sql(host)
        parts["USE_SSL"] = str(scheme == "https").lower()
    scoped = {**parts, "SCOPE": _sql(s3_url(grant, address))}
    body = ", ".join(f"{name} {value}" for name, value in scoped.items())
    return f"CREATE OR REPLACE SECRET ringfence_{grant.area.value} ({body});"


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def s3_url(grant: Grant, address: S3Address) -> str:
    """``s3://bucket/prefix/``."""
    return f"s3://{address.bucket}/{grant.prefix}"


def sign(store: S3Store, path: str, method: Method, expires_in: timedelta) -> str:
    """A presigned URL (SigV4, 7 days at most) by the credentials of ``store``."""
    from obstore import sign as presign

    try:
        return presign(store, method, path, expires_in)
    except RingfenceError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever obstore raises, it is said in a sentence
        raise translate(error, what="sign a URL", bucket="The installation's keys") from None
