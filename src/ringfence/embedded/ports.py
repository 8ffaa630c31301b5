"""The engine's ports: found once, and kept."""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ringfence.embedded.model import HOST, Port, Ports
from ringfence.embedded.statedir import StateDir, read_private, write_private
from ringfence.errors import EngineError

LOWEST: Final = 20_000
HIGHEST: Final = 32_767
"""Below the range from which Linux (32,768 up) and macOS (49,152 up) take ports for outgoing
connections: a kept port in it would now and then be somebody's."""

_ATTEMPTS: Final = 1_000

_GRPC_PARTS: Final = MappingProxyType(
    {
        Port.S3_GRPC: "s3",
        Port.FILER_GRPC: "filer",
        Port.MASTER_GRPC: "master",
        Port.VOLUME_GRPC: "volume",
    }
)


def kept(state: StateDir) -> Ports | None:
    """The ports of this installation, or None where it has none yet.

    Raises:
        EngineError: the file is damaged.
    """
    text = read_private(state.ports)
    if text is None:
        return None
    try:
        found: Mapping[str, object] = json.loads(text)
        ports = {port: int(str(found[port])) for port in Port}
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{state.ports} is damaged.", hint="Remove it, and new ports are chosen."
        ) from error
    return MappingProxyType(ports)


def settle(state: StateDir) -> Ports:
    """Free ports: the kept ones, else new ones that are kept from now on.

    Only the S3 port is known to others, so only it is worth an error when it is taken; the inner
    ones are chosen anew.

    Raises:
        EngineError: the S3 port is taken by another program, or no port is free.
    """
    before = kept(state)
    if before is not None and not is_free(before[Port.S3]):
        raise EngineError(
            f"Port {before[Port.S3]}, on which this engine has answered until now, is taken by "
            "another program.",
            hint=f"Stop that program, or remove {state.ports}: then new ports are chosen and "
            f"{state.env} names them.",
        )
    ports: dict[Port, int] = {}
    for port in Port:
        if before is not None and _is_usable(port, before[port]):
            ports[port] = before[port]
        else:
            ports[port] = _choose(port, set(ports.values()) | set((before or {}).values()))
    if ports != before:
        write_private(state.ports, json.dumps(ports, indent=2) + "\n")
    return MappingProxyType(ports)


def _choose(port: Port, taken: set[int]) -> int:
    for _ in range(_ATTEMPTS):
        number = LOWEST + secrets.randbelow(HIGHEST - LOWEST + 1)
        if number not in taken and _is_usable(port, number):
            return number
    raise EngineError(f"No port between {LOWEST} and {HIGHEST} is free on {HOST}.")


def is_free(number: int) -> bool:
    """Whether a server could listen on this port of the loopback address, now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the engine does: a connection of a former run that is still fading is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
            probe.listen(1)
        except OSError:
            return False
    return True


def _is_usable(port: Port, number: int) -> bool:
    path = grpc_sockets({port: number}).get(port)
    return is_free(number) and (path is None or not _is_foreign(path))


def _is_foreign(path: Path) -> bool:
    """Whether the engine could not replace this file, since it is another user's."""
    try:
        return path.lstat().st_uid != os.geteuid()
    except FileNotFoundError:
        return False


def grpc_sockets(ports: Ports) -> dict[Port, Path]:
    """The Unix socket that the engine opens beside each gRPC port.

    Their names cannot be configured (``weed/command/server.go``, ``RegisterLocalGrpcSocket``).
    """
    return {
        port: Path(f"/tmp/seaweedfs-{part}-grpc-{ports[port]}.sock")  # noqa: S108 - not our choice
        for port, part in _GRPC_PARTS.items()
        if port in ports
    }
