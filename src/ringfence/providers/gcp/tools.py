"""A downscoped token in the words of the tools that use it: variables, files, other formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ringfence.errors import UsageError
from ringfence.providers.base import Credential, Form, Renewal, ToolFile
from ringfence.providers.gcp.store import GcsAddress
from ringfence.scope import Permission

if TYPE_CHECKING:
    from ringfence.scope import Grant

Addresses = Mapping[str, GcsAddress]
"""The address of each area that a credential covers, by the area's name."""

AUDIENCE: Final = "//iam.googleapis.com/locations/global/ringfence"
"""Of no pool and no project, so that google-auth asks Google about neither."""

SUBJECT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
"""google-auth wants one of its list; the run's service, which reads the token, knows its own."""


def environment(credential: Credential, address: GcsAddress, project: str | None) -> dict[str, str]:
    """The token for tools that take one as it is, and where the API is."""
    token = credential.fields["token"].reveal()
    return {
        "GOOGLE_BEARER_TOKEN": token,  # object_store: obstore, Polars, delta-rs, Lance
        "GOOGLE_OAUTH_ACCESS_TOKEN": token,  # Terraform, rclone and others
        **place(address, project),
    }


def place(address: GcsAddress, project: str | None) -> dict[str, str]:
    """Project and endpoint, in the names of Google's libraries, of gcloud and of object_store."""
    named = {
        # The machine's own account may not stand in for the fenced token.
        "NO_GCE_CHECK": "true",
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
    }
    if project is not None:
        named["GOOGLE_CLOUD_PROJECT"] = named["CLOUDSDK_CORE_PROJECT"] = project
    if address.endpoint is not None:
        named["API_ENDPOINT_OVERRIDE"] = address.endpoint  # google-cloud-storage
        named["GOOGLE_BASE_URL"] = address.endpoint
        named["CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE"] = f"{address.endpoint}/"
    return named


def files(credentials: Sequence[Credential], at: Renewal) -> tuple[ToolFile, ...]:
    """Credential files of the type ``external_account``, one for each token.

    google-auth, and gcloud with it, fetch a token by one when they need it and again before it
    ends: the file names the run's service in place of Google's, and holds the run's own token and
    nothing else. The first is where every tool looks; each other area's is named for it.
    """
    return tuple(
        ToolFile(f"google-{number}.json", variable, _external_account(number, at))
        for number, credential in enumerate(credentials)
        for variable in _variables(number, credential)
    )


def _variables(number: int, credential: Credential) -> Sequence[str]:
    names = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")
    if number == 0:
        return names
    return [f"RINGFENCE_{grant.area.name}_{names[0]}" for grant in credential.grants]


def _external_account(number: int, at: Renewal) -> str:
    """See *External account credentials* of google-auth (AIP-4117), with a URL as the source."""
    return json.dumps(
        {
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": SUBJECT_TYPE,
            "token_url": f"{at.url}/google/token/{number}",
            "credential_source": {
                "url": f"{at.url}/google/subject",
                "headers": {"Authorization": at.token.reveal()},
                "format": {"type": "json", "subject_token_field_name": "subject_token"},
            },
        },
        indent=2,
    )


def export(credential: Credential, form: Form, addresses: Addresses) -> str:
    """See :meth:`ringfence.providers.base.Provider.export`.

    Raises:
        UsageError: ``credential-process``, which is of AWS; DuckDB without an area to read.
    """
    match form:
        case Form.OPTIONS:
            return json.dumps(_options(credential, _first(credential, addresses)))
        case Form.DUCKDB:
            return _duckdb(credential, addresses)
        case _:
            raise UsageError(
                f"The format {form.value} is of the AWS SDKs; Google's tools read no such thing.",
                hint=(
                    "Use env, json, storage-options or duckdb. Inside `ringfence run`, "
                    "GOOGLE_APPLICATION_CREDENTIALS names a file that renews itself."
                ),
            )


def _options(credential: Credential, address: GcsAddress) -> dict[str, str]:
    """The keys of object_store 0.14 and later; earlier ones know no token."""
    options = {"google_bearer_token": credential.fields["token"].reveal()}
    if address.endpoint is not None:
        options["google_base_url"] = address.endpoint
        options["allow_http"] = str(address.endpoint.startswith("http:")).lower()
    return options


def _first(credential: Credential, addresses: Addresses) -> GcsAddress:
    return addresses[credential.grants[0].area.value]


def _duckdb(credential: Credential, addresses: Addresses) -> str:
    """DuckDB's ``gcs`` secrets are HMAC keys, which no boundary holds. Over plain HTTP it sends a
    bearer token, and so reads objects by their URL; it neither lists nor writes there."""
    readable = [grant for grant in credential.grants if Permission.READ in grant.permissions]
    if not readable:
        raise UsageError(
            "DuckDB can read by a token of Google Cloud Storage, and this credential reads nothing."
        )
    return "\n".join(
        f"CREATE OR REPLACE SECRET ringfence_{grant.area.value} (TYPE http, BEARER_TOKEN "
        f"{_sql(credential.fields['token'].reveal())}, SCOPE "
        f"{_sql(http_url(grant, addresses[grant.area.value]))});"
        for grant in readable
    )


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def gs_url(grant: Grant, address: GcsAddress) -> str:
    """``gs://bucket/prefix/``, as Google's tools and object_store write it."""
    return f"gs://{address.bucket}/{grant.prefix}"


def http_url(grant: Grant, address: GcsAddress) -> str:
    """The place of a grant in the XML API, encoded as a URL."""
    from urllib.parse import quote

    return f"{address.base_url}/{address.bucket}/{quote(grant.prefix, safe='/~')}"
