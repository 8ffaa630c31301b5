"""A directory SAS in the words of the tools that use it: variables, URLs, other formats.

No Azure SDK or tool renews a SAS by itself, so what they are given ends with the credential;
:func:`ringfence.attach` renews.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from ringfence.errors import UsageError
from ringfence.providers.azure.store import AzureAddress
from ringfence.providers.base import Credential, Form

if TYPE_CHECKING:
    from ringfence.scope import Grant

Addresses = Mapping[str, AzureAddress]
"""The address of each area that a credential covers, by the area's name."""


def environment(credential: Credential, addresses: Addresses) -> dict[str, str]:
    """The names that object_store, adlfs, Azure's command line and its SDKs read by themselves.

    A tool that takes none of them takes a URL: ``RINGFENCE_<AREA>_SAS_URL`` is azcopy's.
    """
    address = _first(credential, addresses)
    sas = _sas(credential)
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": address.account,
        "AZURE_STORAGE_ACCOUNT": address.account,
        "AZURE_STORAGE_SAS_TOKEN": sas,
        "AZURE_STORAGE_ENDPOINT": address.endpoint,
        "AZURE_STORAGE_CONNECTION_STRING": connection_string(address, sas),
        "AZURE_CONTAINER_NAME": address.bucket,
        # Neither the machine's own identity nor a login may stand in for the fenced credential:
        # object_store takes the SAS and nothing else, azure-identity asks nobody but the variables.
        "AZURE_CREDENTIAL_TYPE": "sas_token",
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        **_allow_http(address),
        **{
            f"RINGFENCE_{grant.area.name}_SAS_URL": sas_url(credential, grant, addresses)
            for grant in credential.grants
        },
    }


def connection_string(address: AzureAddress, sas: str) -> str:
    """What SDKs, adlfs, DuckDB and ``az storage`` take (*Configure Azure Storage connection
    strings*, "Use a shared access signature").
    """
    return f"BlobEndpoint={address.endpoint};SharedAccessSignature={sas}"


def sas_url(credential: Credential, grant: Grant, addresses: Addresses) -> str:
    """The URL of a grant's directory with the SAS: what azcopy takes."""
    return f"{addresses[grant.area.value].url_of(grant.prefix)}?{_sas(credential)}"


def azure_url(grant: Grant, address: AzureAddress) -> str:
    """``az://container/prefix/``, as object_store, adlfs and DuckDB write it."""
    return f"az://{address.bucket}/{grant.prefix}"


def export(credential: Credential, form: Form, addresses: Addresses) -> str:
    """See :meth:`ringfence.providers.base.Provider.export`.

    Raises:
        UsageError: for ``credential-process``, which is of AWS.
    """
    match form:
        case Form.PROCESS:
            raise UsageError(
                "credential-process is a form of AWS; Azure has none like it.",
                hint="Use --format env, storage-options or duckdb.",
            )
        case Form.OPTIONS:
            return json.dumps(_options(credential, addresses))
        case Form.DUCKDB:
            return "\n".join(
                _duckdb_secret(credential, grant, addresses[grant.area.value])
                for grant in credential.grants
            )


_OPTIONS: Final = (
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_CONTAINER_NAME",
    "AZURE_ALLOW_HTTP",
)


def _options(credential: Credential, addresses: Addresses) -> dict[str, str]:
    named = environment(credential, addresses)
    return {name.lower(): named[name] for name in _OPTIONS if name in named}


def _duckdb_secret(credential: Credential, grant: Grant, address: AzureAddress) -> str:
    parts = {
        "TYPE": "azure",
        "CONNECTION_STRING": _sql(connection_string(address, _sas(credential))),
        "SCOPE": _sql(azure_url(grant, address)),
    }
    body = ", ".join(f"{name} {value}" for name, value in parts.items())
    return f"CREATE OR REPLACE SECRET ringfence_{grant.area.value} ({body});"


def _allow_http(address: AzureAddress) -> dict[str, str]:
    return {"AZURE_ALLOW_HTTP": "true"} if address.endpoint.startswith("http:") else {}


def _first(credential: Credential, addresses: Addresses) -> AzureAddress:
    return addresses[credential.grants[0].area.value]


def _sas(credential: Credential) -> str:
    return credential.fields["sas_token"].reveal()


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
