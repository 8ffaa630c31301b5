"""Round the side: the engine's other ports and sockets, spoken to without any key."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path

from ringfence.demo.hostile.machine import error_name

TIMEOUT_SECONDS = 5.0
ALERT_SECONDS = 2.0


def knock(address: str, method: str, path: str) -> tuple[int | None, str]:
    """A request in TLS without a client's certificate; in clear where the door speaks no TLS.

    Args:
        address: ``host:port``, or the path of a Unix socket.

    Returns:
        The HTTP status and its reason; no status and the alert where TLS refused, or the kernel's
        error name where it did not let us near.
    """
    try:
        return _knock(address, method, path)
    except (PermissionError, FileNotFoundError) as error:
        return None, error_name(error)


def _knock(address: str, method: str, path: str) -> tuple[int | None, str]:
    # The certificate is not checked: whoever breaks in does not ask for papers.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _connected(address) as plain, context.wrap_socket(plain) as encrypted:
            _wait_for_alert(encrypted)
            return _ask(encrypted, method, path)
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return None, f"TLS {_words(error.reason)}"
    with _connected(address) as plain:
        return _ask(plain, method, path)


def _wait_for_alert(encrypted: ssl.SSLSocket) -> None:
    """In TLS 1.3 a server refuses a client after the client's part of the handshake is done.

    It must be read before anything is sent: who writes to a closed Unix socket reads nothing more.
    """
    encrypted.settimeout(ALERT_SECONDS)
    with suppress(TimeoutError):  # no alert: the server waits for a request
        encrypted.recv(1)
    encrypted.settimeout(TIMEOUT_SECONDS)


def _connected(address: str) -> socket.socket:
    if not address.startswith("/"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host, int(port)), TIMEOUT_SECONDS)
    path = Path(address)
    unix = socket.socket(socket.AF_UNIX)
    unix.settimeout(TIMEOUT_SECONDS)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # A socket's path may be about 100 bytes long, and that of a folder is often longer.
        short = Path(f"/proc/self/fd/{folder}") / path.name
        unix.connect(str(short if short.exists() else path))
    except OSError:
        unix.close()
        raise
    finally:
        os.close(folder)
    return unix


def _ask(stream: socket.socket, method: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT_SECONDS)
    connection.sock = stream
    connection.request(method, path, headers={"Connection": "close"})
    response = connection.getresponse()
    return response.status, response.reason


def _words(reason: str) -> str:
    """``TLSV13_ALERT_CERTIFICATE_REQUIRED`` as ``certificate required``."""
    return reason.partition("ALERT_")[2].replace("_", " ").lower()
