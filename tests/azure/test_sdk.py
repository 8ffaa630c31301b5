"""The same fence through SDKs: obstore, ``azure-storage-blob``, ``azure-storage-file-datalake``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContainerClient
from azure.storage.filedatalake import DataLakeServiceClient
from obstore.exceptions import BaseError
from obstore.store import AzureStore

from ringfence.config import Buckets
from ringfence.layout import BucketRole
from ringfence.scope import AccessMode, Scope, grants
from ringfence.testing.isolation import (
    COPIES,
    LISTINGS,
    Answer,
    Ground,
    Neighbour,
    Operation,
    Outcome,
    Probe,
    attack,
    neighbours_of,
    probes,
)
from tests.azure.front import Front
from tests.azure.installation import Installation
from tests.azure.test_matrix import on_azure
from tests.azure.wire import REFUSALS, block_id

if TYPE_CHECKING:
    from obstore.store import AzureSASToken

DONE: Final = Outcome.ALLOWED


class SdkTenant:
    """Holds some SAS, and tries each of them through an SDK, as the raw one does."""

    name = "an SDK"
    operations: frozenset[Operation] = frozenset()
    lists_folders = False

    @classmethod
    def can_say(cls, probe: Probe) -> bool:
        """Whether the SDK can ask for that; what it cannot is left to the raw client."""
        whole = not probe.kind.endswith("without the slash")
        return whole or probe.operation not in LISTINGS or not cls.lists_folders

    def __init__(self, front: Front, buckets: Buckets, tokens: list[str]) -> None:
        self.endpoint = front.endpoint
        self.account = front.azurite.account
        self.buckets = buckets
        self.tokens = tokens
        self._clients: dict[Any, Any] = {}

    def attempt(self, probe: Probe, ground: Ground) -> Answer:
        last: Answer | None = None
        for token in self.tokens:
            last = self.once(token, probe, ground)
            if last.outcome is not Outcome.REFUSED:
                return last
        assert last is not None
        return last

    def once(self, token: str, probe: Probe, ground: Ground) -> Answer:
        raise NotImplementedError

    def client(self, token: str, role: BucketRole) -> Any:
        key = (token, role)
        if key not in self._clients:
            self._clients[key] = self.make(token, self.buckets.of(role))
        return self._clients[key]

    def make(self, token: str, container: str) -> Any:
        raise NotImplementedError


class Obstore(SdkTenant):
    """obstore's own store on the whole container, with whatever SAS there is."""

    name = "obstore"
    lists_folders = True
    operations = frozenset(
        {
            *(Operation.GET, Operation.GET_RANGE, Operation.HEAD, Operation.PUT),
            *(Operation.PUT_IF_ABSENT, Operation.PUT_IF_MATCH, Operation.LIST),
            *(Operation.LIST_LEVEL, Operation.LIST_AFTER),
        }
    )

    def make(self, token: str, container: str) -> AzureStore:
        sas: AzureSASToken = {"sas_token": token, "expires_at": None}
        return AzureStore(
            container,
            account_name=self.account,
            endpoint=self.endpoint,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
            credential_provider=lambda: sas,
        )

    def once(self, token: str, probe: Probe, ground: Ground) -> Answer:
        store = self.client(token, probe.bucket)
        try:
            return self._done(store, probe, ground)
        except FileNotFoundError as error:
            return Answer(Outcome.FAILED, str(error)[:200])
        except BaseError as error:
            text = str(error)
            denied = "status code: 403" in text and any(code in text for code in REFUSALS)
            # HEAD has no body, hence no code.
            bare = probe.operation is Operation.HEAD and "status code: 403" in text
            return Answer(Outcome.REFUSED if denied or bare else Outcome.FAILED, text[:200])

    @staticmethod
    def _done(store: AzureStore, probe: Probe, ground: Ground) -> Answer:
        key, keys, body = probe.key, list[str](), b""
        match probe.operation:
            case Operation.GET:
                body = bytes(store.get(key).bytes())
            case Operation.GET_RANGE:
                body = bytes(store.get_range(key, start=0, end=8))
            case Operation.HEAD:
                store.head(key)
            case Operation.PUT:
                store.put(key, ground.body, use_multipart=False)
            case Operation.PUT_IF_ABSENT:
                store.put(key, ground.body, mode="create")
            case Operation.PUT_IF_MATCH:
                store.put(key, ground.body, mode={"e_tag": ground.version or "none"})
            case Operation.LIST:
                keys = [found["path"] for chunk in store.list(key or None) for found in chunk]
            case Operation.LIST_AFTER:
                stream = store.list(key or None, offset=f"{key}!")
                keys = [found["path"] for chunk in stream for found in chunk]
            case Operation.LIST_LEVEL:
                level = store.list_with_delimiter(key or None)
                keys = [f["path"] for f in level["objects"]]
                keys += [f"{prefix}/" for prefix in level["common_prefixes"]]
        return Answer(DONE, "done", body, tuple(keys))


def of_azure(error: AzureError) -> Answer:
    """What Microsoft's SDK raised."""
    if isinstance(error, HttpResponseError) and error.status_code == 403:
        code = str(getattr(error, "error_code", ""))
        code = code.rpartition(".")[2].replace("_", "")
        known = {name.lower() for name in REFUSALS}
        if code.lower() in known:
            return Answer(Outcome.REFUSED, f"403 {code}")
    return Answer(Outcome.FAILED, f"{type(error).__name__}: {error}"[:200])


class AzureBlob(SdkTenant):
    """``azure-storage-blob``."""

    name = "azure-storage-blob"
    operations = Obstore.operations | {
        *(Operation.DELETE, Operation.UPLOAD_START, Operation.UPLOAD_PART),
        *(Operation.UPLOAD_COMPLETE, Operation.COPY_FROM, Operation.COPY_TO),
    } - {Operation.LIST_AFTER}

    def make(self, token: str, container: str) -> ContainerClient:
        return ContainerClient(
            self.endpoint, container, credential=token, retry_total=0, connection_timeout=20
        )

    def once(self, token: str, probe: Probe, ground: Ground) -> Answer:
        client: ContainerClient = self.client(token, probe.bucket)
        try:
            if probe.operation in LISTINGS:
                return self._listed(client, probe)
            if probe.operation in COPIES:
                return self._copied(token, probe)
            return self._done(client, probe, ground)
        except AzureError as error:
            return of_azure(error)

    @staticmethod
    def _listed(client: ContainerClient, probe: Probe) -> Answer:
        prefix = probe.key or None
        if probe.operation is Operation.LIST:
            found: Iterable[Any] = client.list_blobs(name_starts_with=prefix)
        else:
            found = client.walk_blobs(name_starts_with=prefix, delimiter="/")
        return Answer(DONE, "done", keys=tuple(each.name for each in found))

    def _copied(self, token: str, probe: Probe) -> Answer:
        assert probe.other is not None
        back = probe.operation is Operation.COPY_TO
        source, to = (probe.other, probe.place) if back else (probe.place, probe.other)
        target = self.client(token, to.bucket).get_blob_client(to.key)
        last: Answer | None = None
        for other in self.tokens:
            url = self.client(other, source.bucket).get_blob_client(source.key).url
            try:
                target.start_copy_from_url(url)
                return Answer(DONE, "done")
            except AzureError as error:
                last = of_azure(error)
        assert last is not None
        return last

    @staticmethod
    def _done(client: ContainerClient, probe: Probe, ground: Ground) -> Answer:
        blob, body = client.get_blob_client(probe.key), b""
        part = ground.upload.part if ground.upload else block_id(1)
        match probe.operation:
            case Operation.GET:
                body = blob.download_blob().readall()
            case Operation.GET_RANGE:
                body = blob.download_blob(offset=0, length=8).readall()
            case Operation.HEAD:
                blob.get_blob_properties()
            case Operation.PUT:
                blob.upload_blob(ground.body, overwrite=True)
            case Operation.PUT_IF_ABSENT:
                blob.upload_blob(ground.body, overwrite=False)
            case Operation.PUT_IF_MATCH:
                from azure.core import MatchConditions

                blob.upload_blob(
                    ground.body,
                    overwrite=True,
                    etag=ground.version or "none",
                    match_condition=MatchConditions.IfNotModified,
                )
            case Operation.DELETE:
                blob.delete_blob()
            case Operation.UPLOAD_START | Operation.UPLOAD_PART:
                blob.stage_block("0" * 14 + "07", ground.body)
            case Operation.UPLOAD_COMPLETE:
                import base64

                blob.commit_block_list([BlobBlock(base64.b64decode(part).decode())])
        return Answer(DONE, "done", body)


class DataLake(SdkTenant):
    """``azure-storage-file-datalake``, whose requests have the shapes of the dfs endpoint."""

    name = "azure-storage-file-datalake"
    lists_folders = True
    operations = frozenset(
        {*(Operation.GET, Operation.HEAD, Operation.PUT, Operation.DELETE), Operation.LIST}
    )

    def make(self, token: str, container: str) -> Any:
        service = DataLakeServiceClient(self.endpoint, credential=token, retry_total=0)
        return service.get_file_system_client(container)

    def once(self, token: str, probe: Probe, ground: Ground) -> Answer:
        system = self.client(token, probe.bucket)
        try:
            if probe.operation is Operation.LIST:
                paths = system.get_paths(path=probe.key.removesuffix("/") or None)
                return Answer(DONE, "done", keys=tuple(path.name for path in paths))
            return self._done(system.get_file_client(probe.key), probe, ground)
        except AzureError as error:
            return of_azure(error)

    @staticmethod
    def _done(file: Any, probe: Probe, ground: Ground) -> Answer:
        body = b""
        match probe.operation:
            case Operation.GET:
                body = file.download_file().readall()
            case Operation.HEAD:
                file.get_file_properties()
            case Operation.PUT:
                file.create_file()
                file.append_data(ground.body, 0, len(ground.body))
                file.flush_data(len(ground.body))
            case Operation.DELETE:
                file.delete_file()
        return Answer(DONE, "done", body)


SDKS: Final[Mapping[str, type[SdkTenant]]] = {
    each.name: each for each in (Obstore, AzureBlob, DataLake)
}


def near(scope: Scope) -> tuple[Neighbour, ...]:
    return tuple(each for each in neighbours_of(scope) if each.kind.endswith("longer"))


def tried(installation: Installation, scope: Scope, sdk: str) -> None:
    held = grants(scope, installation.case)
    every = on_azure(probes(scope, near(scope), installation.case), held)
    wanted = [probe for probe in every if probe.prefix and SDKS[sdk].can_say(probe)]
    tokens = [each.fields["sas_token"].reveal() for each in installation.of(scope)]
    tenant = SDKS[sdk](installation.front, installation.buckets, tokens)
    report = attack(tenant, installation.owner, wanted, held)
    report.check()
    assert report.probes > 30


@pytest.mark.parametrize("sdk", SDKS)
def test_it_is_fenced_in(keyed: Installation, scope: Scope, sdk: str) -> None:
    tried(keyed, replace(scope, mode=AccessMode.READ_APP), sdk)


@pytest.mark.parametrize("sdk", SDKS)
def test_it_is_fenced_in_by_user_delegation(
    delegated: Installation, scope: Scope, sdk: str
) -> None:
    tried(delegated, replace(scope, mode=AccessMode.EDIT_APP), sdk)


@pytest.mark.soak
@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("mode", AccessMode)
def test_it_is_fenced_in_every_mode(
    installation: Installation, scope: Scope, mode: AccessMode, sdk: str
) -> None:
    tried(installation, replace(scope, mode=mode), sdk)


def test_a_signed_url_is_one_for_the_sdk(installation: Installation, scope: Scope) -> None:
    from azure.storage.blob import BlobClient

    app = grants(scope, installation.case)[0]
    minute = timedelta(minutes=1)
    with BlobClient.from_blob_url(installation.provider.sign(app, "a b", "PUT", minute)) as blob:
        blob.upload_blob(b"by URL")
    with BlobClient.from_blob_url(installation.provider.sign(app, "a b", "GET", minute)) as blob:
        assert blob.download_blob().readall() == b"by URL"
    with BlobClient.from_blob_url(installation.provider.sign(app, "a b", "DELETE", minute)) as blob:
        blob.delete_blob()
    with (
        BlobClient.from_blob_url(installation.provider.sign(app, "a b", "GET", minute)) as blob,
        pytest.raises(ResourceNotFoundError),
    ):
        blob.download_blob()
