"""Every door of the engine, tried by somebody who has no keys: gRPC."""

from __future__ import annotations

from collections.abc import Callable

import grpc  # type: ignore[import-untyped]
import pytest

from ringfence.embedded.certs import make
from tests.embedded.inner import call, channel, field, look_up, with_certificate
from tests.embedded.support import CONTENT, NEIGHBOUR, PLANTED, RunningEngine
from tests.embedded.test_doors import TLS_DOORS

pytestmark = pytest.mark.engine

FOLDER, _, NAME = f"/buckets/{CONTENT}/{NEIGHBOUR}".rpartition("/")
ENTRY = field(1, FOLDER) + field(2, NAME)
COLLECTION = field(1, CONTENT)

CALLS: dict[str, bytes] = {
    "/filer_pb.SeaweedFiler/LookupDirectoryEntry": ENTRY,
    "/filer_pb.SeaweedFiler/ListEntries": field(1, FOLDER),
    "/filer_pb.SeaweedFiler/CreateEntry": field(1, FOLDER) + field(2, field(1, "evil")),
    "/filer_pb.SeaweedFiler/UpdateEntry": field(1, FOLDER) + field(2, field(1, NAME)),
    "/filer_pb.SeaweedFiler/DeleteEntry": ENTRY + field(4, 1) + field(5, 1),
    "/filer_pb.SeaweedFiler/AtomicRenameEntry": ENTRY + field(3, FOLDER) + field(4, "moved"),
    "/filer_pb.SeaweedFiler/AssignVolume": field(1, 1) + field(2, CONTENT),
    "/filer_pb.SeaweedFiler/LookupVolume": field(1, "1"),
    "/filer_pb.SeaweedFiler/CollectionList": b"",
    "/filer_pb.SeaweedFiler/DeleteCollection": COLLECTION,
    "/filer_pb.SeaweedFiler/GetFilerConfiguration": b"",
    "/filer_pb.SeaweedFiler/SubscribeMetadata": field(1, "evil") + field(2, "/"),
    "/filer_pb.SeaweedFiler/KvGet": field(1, "iam"),
    "/filer_pb.SeaweedFiler/KvPut": field(1, "iam") + field(2, "evil"),
    "/iam_pb.SeaweedIdentityAccessManagement/GetConfiguration": b"",
    "/iam_pb.SeaweedIdentityAccessManagement/ListUsers": b"",
    "/iam_pb.SeaweedIdentityAccessManagement/CreateUser": field(1, field(1, "evil")),
    "/iam_pb.SeaweedIdentityAccessManagement/CreateAccessKey": field(1, "ringfence"),
    "/master_pb.Seaweed/Assign": field(1, 1) + field(3, CONTENT),
    "/master_pb.Seaweed/LookupVolume": field(1, "1"),
    "/master_pb.Seaweed/CollectionList": b"",
    "/master_pb.Seaweed/CollectionDelete": COLLECTION,
    "/master_pb.Seaweed/VolumeList": b"",
    "/master_pb.Seaweed/VolumeGrow": field(3, CONTENT),
    "/master_pb.Seaweed/VacuumVolume": b"",
    "/master_pb.Seaweed/LeaseAdminToken": field(3, "evil"),
    "/master_pb.Seaweed/KeepConnected": field(1, "evil"),
    "/protobuf.Raft/OnSendCommand": b"",
    "/volume_server_pb.VolumeServer/ReadAllNeedles": field(1, 1),
    "/volume_server_pb.VolumeServer/ReadNeedleBlob": field(1, 1) + field(3, 8) + field(4, 64),
    "/volume_server_pb.VolumeServer/CopyFile": field(1, 1) + field(2, ".dat") + field(4, 1 << 20),
    "/volume_server_pb.VolumeServer/BatchDelete": field(1, "1,01"),
    "/volume_server_pb.VolumeServer/VolumeDelete": field(1, 1),
    "/volume_server_pb.VolumeServer/DeleteCollection": COLLECTION,
    "/volume_server_pb.VolumeServer/VolumeServerStatus": b"",
    "/volume_server_pb.VolumeServer/VolumeServerLeave": b"",
    "/s3_pb.SeaweedS3IamCache/PutIdentity": field(1, field(1, "evil")),
    "/s3_pb.SeaweedS3IamCache/RemoveIdentity": field(1, "ringfence"),
    "/s3_lifecycle_pb.SeaweedS3LifecycleInternal/LifecycleDelete": field(1, CONTENT),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": field(7, ""),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": field(7, ""),
    "/grpc.health.v1.Health/Check": b"",
}


def _no_tls(_engine: RunningEngine) -> grpc.ChannelCredentials | None:
    return None


def _no_certificate(engine: RunningEngine) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(_authority(engine))


def _forged(engine: RunningEngine) -> grpc.ChannelCredentials:
    """The same names, signed by an authority of the same name: another key is all it lacks."""
    pem = make()
    chain = (pem.certificate + pem.authority).encode()
    return grpc.ssl_channel_credentials(_authority(engine), pem.key.encode(), chain)


def _authority(engine: RunningEngine) -> bytes:
    # An attacker would not check the server at all; gRPC's Python knows no way not to.
    return (engine.state_dir / "conf" / "authority.crt").read_bytes()


Credentials = Callable[[RunningEngine], "grpc.ChannelCredentials | None"]


@pytest.mark.parametrize("credentials", [_no_tls, _no_certificate, _forged])
@pytest.mark.parametrize("name", TLS_DOORS)
def test_no_call_gets_through(
    engine: RunningEngine, planted: str, name: str, credentials: Credentials
) -> None:
    assert planted == NEIGHBOUR
    with channel(engine.door(name), credentials(engine)) as opened:
        for method, message in CALLS.items():
            with pytest.raises(grpc.RpcError) as refused:
                call(opened, method, message)
            # Not an answer of the service, such as UNIMPLEMENTED: there is no connection at all.
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, method


@pytest.mark.parametrize("name", ["s3", "s3_socket", "filer_socket"])
def test_doors_for_http_speak_no_grpc(engine: RunningEngine, planted: str, name: str) -> None:
    assert planted == NEIGHBOUR
    door = engine.door(name)
    if door.unix and len(door.address) > 100:
        pytest.skip("gRPC cannot name a socket with so long a path")
    with channel(door, None) as opened:
        for method, message in CALLS.items():
            with pytest.raises(grpc.RpcError) as refused:
                call(opened, method, message)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, method


@pytest.mark.parametrize("name", ["filer_grpc", "filer_grpc_socket"])
def test_the_certificate_opens_the_door(engine: RunningEngine, planted: str, name: str) -> None:
    """That the calls above fail for want of a certificate, and for no other reason."""
    assert NAME.encode() in look_up(engine, planted, name)


def test_with_the_certificate_iam_still_wants_a_token(engine: RunningEngine) -> None:
    with channel(engine.door("filer_grpc"), with_certificate(engine)) as opened:
        for method, message in CALLS.items():
            if method.startswith("/iam_pb."):
                with pytest.raises(grpc.RpcError) as refused:
                    call(opened, method, message)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, method


def test_small_objects_are_not_in_the_filers_answers(engine: RunningEngine, planted: str) -> None:
    """So that the planted object is to be looked for on the volumes."""
    assert PLANTED not in look_up(engine, planted)
