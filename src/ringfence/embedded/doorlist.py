"""Every way into the engine, and whether it is closed.

The engine serves its inner ports in clear when it cannot use its certificates, and only warns. So
:func:`ringfence.embedded.up` looks at each door itself and ends the engine if one is open.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ringfence.embedded.model import HOST, Closed, Door, Engine, Port, Ports
from ringfence.embedded.ports import grpc_sockets
from ringfence.embedded.statedir import StateDir

FILER_SOCKET: Final = "filer.sock"
S3_SOCKET: Final = "s3.sock"

_TIMEOUT_SECONDS: Final = 5.0
"""For each step of trying a door."""

_LONGEST_PATH: Final = 100
"""Bytes; ``sun_path`` has 104 on macOS and 108 on Linux."""

_CERTIFICATE_REQUIRED: Final = "CERTIFICATE_REQUIRED"
"""The end of OpenSSL's name for TLS alert 116 (RFC 8446, section 6)."""


def doors(engine: Engine) -> tuple[Door, ...]:
    """Every listening port and Unix socket of the engine."""
    return tuple(expected(StateDir(engine.state_dir), engine.ports))


def expected(state: StateDir, ports: Ports) -> Iterator[Door]:
    """The doors that an engine with these ports has."""
    for port in Port:
        closed = Closed.SIGNATURE if port is Port.S3 else Closed.MUTUAL_TLS
        yield Door(port.value, f"{HOST}:{ports[port]}", closed)
    yield Door("s3_socket", str(state.sockets / S3_SOCKET), Closed.SIGNATURE)
    yield Door("filer_socket", str(state.sockets / FILER_SOCKET), Closed.NO_HANDLERS)
    for port, path in grpc_sockets(ports).items():
        yield Door(f"{port.value}_socket", str(path), Closed.MUTUAL_TLS)


def is_closed(door: Door) -> bool:
    """Tries the door without any key. A door where nobody listens is closed, too."""
    try:
        stream = connect(door)
    except OSError:
        return True
    with stream:
        if door.closed is Closed.MUTUAL_TLS:
            return _asks_for_certificate(stream)
        refusal = b"404" if door.closed is Closed.NO_HANDLERS else b"403"
        return _status(stream) in {refusal, b""}


def connect(door: Door) -> socket.socket:
    """A connection to the door."""
    if not door.unix:
        host, _, port = door.address.rpartition(":")
        return socket.create_connection((host, int(port)), _TIMEOUT_SECONDS)
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.settimeout(_TIMEOUT_SECONDS)
    try:
        _connect_unix(stream, Path(door.address))
    except BaseException:
        stream.close()
        raise
    return stream


def _connect_unix(stream: socket.socket, path: Path) -> None:
    """Connects to a socket whose path may be longer than the system allows in an address."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        stream.connect(str(path))
        return
    with TemporaryDirectory(prefix="ringfence-") as folder:
        link = Path(folder, "s")
        link.symlink_to(path)
        stream.connect(str(link))


def _asks_for_certificate(stream: socket.socket) -> bool:
    """Whether the server ends a handshake without a certificate by asking for one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is the server's demand that is looked at
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        with context.wrap_socket(stream) as secure:
            # In TLS 1.3 the server refuses after the client's part of the handshake is done.
            # Nothing is sent: whoever writes to a closed Unix socket does not get to read why.
            secure.recv(1)
    except ssl.SSLError as error:
        return (error.reason or "").endswith(_CERTIFICATE_REQUIRED)
    except OSError:
        return False
    return False


def _status(stream: socket.socket) -> bytes:
    """The status that an HTTP request gets, or nothing where there is no answer."""
    try:
        stream.sendall(b"GET /buckets/ HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
        return stream.recv(64).partition(b" ")[2][:3]
    except OSError:
        return b""
