"""The engine's gRPC, spoken without its message definitions: bytes in, bytes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc  # type: ignore[import-untyped]

from ringfence.embedded import Door
from tests.embedded.support import CONTENT, RunningEngine

TIMEOUT_SECONDS = 20.0


def field(number: int, value: bytes | str | int) -> bytes:
    """One protobuf field: a varint, or a string of bytes."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def address(door: Door) -> str:
    return f"unix:{door.address}" if door.unix else door.address


@contextmanager
def channel(door: Door, credentials: grpc.ChannelCredentials | None) -> Iterator[grpc.Channel]:
    """A channel of its own: gRPC shares connections between channels to one address otherwise."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.enable_http_proxy", 0),
    ]
    where = address(door)
    found = (
        grpc.insecure_channel(where, options)
        if credentials is None
        else grpc.secure_channel(where, credentials, options)
    )
    try:
        yield found
    finally:
        found.close()


def call(channel: grpc.Channel, method: str, message: bytes = b"") -> bytes:
    """One unary call; a stream's first message is enough for us, too."""
    invoke = channel.unary_unary(
        method, request_serializer=lambda data: data, response_deserializer=lambda data: data
    )
    answer: bytes = invoke(message, timeout=TIMEOUT_SECONDS)
    return answer


def with_certificate(engine: RunningEngine) -> grpc.ChannelCredentials:
    """What only the engine's owner has."""
    conf = engine.state_dir / "conf"
    return grpc.ssl_channel_credentials(
        (conf / "authority.crt").read_bytes(),
        (conf / "engine.key").read_bytes(),
        (conf / "engine.crt").read_bytes(),
    )


def look_up(engine: RunningEngine, key: str, door: str = "filer_grpc") -> bytes:
    """The filer's entry of an object of the content bucket, by the owner of the certificate."""
    folder, _, name = f"/buckets/{CONTENT}/{key}".rpartition("/")
    with channel(engine.door(door), with_certificate(engine)) as open_channel:
        message = field(1, folder) + field(2, name)
        return call(open_channel, "/filer_pb.SeaweedFiler/LookupDirectoryEntry", message)


def chunk_id(engine: RunningEngine, key: str) -> str:
    """The file id under which a volume keeps an object, such as ``3,01637037d6``."""
    match = re.search(rb"(\d+,[0-9a-f]{9,})", look_up(engine, key))
    assert match, "the entry names no chunk"
    return match[1].decode()
