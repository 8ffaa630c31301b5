"""A SAS in the words of tools: variables, URLs, storage options, DuckDB."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import obstore
import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient
from obstore.store import AzureStore

from ringfence.errors import UsageError
from ringfence.providers.base import Form, Renewal
from ringfence.scope import Area, Scope, grants
from ringfence.secret import Secret
from tests.azure import golden
from tests.azure.installation import Installation

AT = Renewal("http://127.0.0.1:1", Secret("token"))


@pytest.fixture
def named(keyed: Installation, scope: Scope) -> dict[str, str]:
    (first, *_) = keyed.of(scope)
    return keyed.provider.environment(first)


def test_object_store_finds_everything_in_the_variables(
    keyed: Installation, scope: Scope, named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    prefix = grants(scope)[0].prefix
    store = AzureStore(prefix=prefix, client_options={"allow_http": True})
    obstore.put(store, "by variables", b"x")
    assert bytes(store.get("by variables").bytes()) == b"x"
    with pytest.raises(Exception, match="403"):
        AzureStore(prefix="apps/other/", client_options={"allow_http": True}).get("x")


def test_no_identity_of_the_machine_stands_in(
    named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A managed identity of this machine is the installation's, not the execution's."""
    from azure.identity import DefaultAzureCredential

    for name, value in named.items():
        monkeypatch.setenv(name, value)
    with DefaultAzureCredential() as chain:
        kinds = [type(each).__name__ for each in chain.credentials]
    assert kinds == ["EnvironmentCredential"]


def test_microsofts_sdk_takes_the_connection_string(
    keyed: Installation, scope: Scope, named: dict[str, str]
) -> None:
    text = named["AZURE_STORAGE_CONNECTION_STRING"]
    prefix = grants(scope)[0].prefix
    with BlobServiceClient.from_connection_string(text) as service:
        blob = service.get_blob_client(keyed.buckets.content, f"{prefix}by string")
        blob.upload_blob(b"x")
        assert blob.download_blob().readall() == b"x"


def test_every_area_has_a_url_as_azcopy_takes_it(keyed: Installation, scope: Scope) -> None:
    for credential in keyed.of(scope):
        (grant,) = credential.grants
        url = keyed.provider.environment(credential)[f"RINGFENCE_{grant.area.name}_SAS_URL"]
        directory = f"{keyed.buckets.of(grant.bucket)}/{grant.prefix.removesuffix('/')}?"
        assert directory in url
        base, _, sas = url.partition("?")
        with ContainerClient.from_container_url(
            f"{base[: base.index(keyed.buckets.of(grant.bucket))]}"
            f"{keyed.buckets.of(grant.bucket)}?{sas}"
        ) as container:
            container.upload_blob(f"{grant.prefix}by url", b"x")


def test_a_url_quotes_what_an_id_has(keyed: Installation) -> None:
    (first, *_) = keyed.issue(grants(Scope("auth0|app", "u", "r")))
    url = keyed.provider.environment(first)["RINGFENCE_APP_SAS_URL"]
    assert "/apps/auth0%257Capp?" in url


def test_storage_options_are_object_stores(keyed: Installation, scope: Scope) -> None:
    (first, *_) = keyed.of(scope)
    options: Any = json.loads(keyed.provider.export(first, Form.OPTIONS))
    store = AzureStore(prefix=grants(scope)[0].prefix, config=options)
    store.put("by options", b"x")
    assert store.head("by options")["size"] == 1


def test_duckdb_secrets_have_the_scope_of_their_area(keyed: Installation, scope: Scope) -> None:
    for credential in keyed.of(scope):
        (grant,) = credential.grants
        text = keyed.provider.export(credential, Form.DUCKDB)
        assert text.startswith(f"CREATE OR REPLACE SECRET ringfence_{grant.area.value} (TYPE azure")
        assert f"SCOPE '{keyed.provider.url(grant)}'" in text
        assert "SharedAccessSignature=" in text
        assert len(re.findall("'", text)) == 4


def test_there_is_no_credential_process(keyed: Installation, scope: Scope) -> None:
    (first, *_) = keyed.of(scope)
    with pytest.raises(UsageError, match="storage-options"):
        keyed.provider.export(first, Form.PROCESS)


def test_nothing_is_written_to_files_and_nothing_renews(keyed: Installation, scope: Scope) -> None:
    credentials = keyed.of(scope)
    assert keyed.provider.tool_files(credentials, AT) == ()
    for credential in credentials:
        plain = keyed.provider.environment(credential)
        assert keyed.provider.refreshing_environment(credential, AT) == plain


def test_the_address_has_no_secret(keyed: Installation, scope: Scope) -> None:
    for grant in grants(scope):
        text = json.dumps(dict(keyed.provider.address(grant)))
        assert keyed.front.azurite.key not in text
        assert "sig" not in text
        assert keyed.provider.url(grant) == f"az://{keyed.buckets.of(grant.bucket)}/{grant.prefix}"


def test_https_is_the_default_address() -> None:
    provider = golden.provider(delegated=False)
    (first, *_) = provider.issue(grants(Scope(*golden.IDS)), session="x")
    named = provider.environment(first)
    assert named["AZURE_STORAGE_ENDPOINT"] == "https://goldenaccount.blob.core.windows.net"
    assert "AZURE_ALLOW_HTTP" not in named
    assert first.covers(Area.APP)
    assert first.expires_at - first.issued_at <= timedelta(hours=1)
