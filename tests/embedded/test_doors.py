"""Every listening port and socket of the engine, tried by somebody who has no keys: raw HTTP."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence import embedded
from ringfence.embedded import Closed
from ringfence.embedded.certs import make
from ringfence.embedded.listening import listening
from tests.embedded.inner import chunk_id
from tests.embedded.support import (
    CONTENT,
    NEIGHBOUR,
    PLANTED,
    RunningEngine,
    request,
    status_of,
    talk,
)

pytestmark = pytest.mark.engine

ALL_DOORS = (
    "s3",
    "s3_grpc",
    "filer",
    "filer_grpc",
    "master",
    "master_grpc",
    "volume",
    "volume_grpc",
    "s3_socket",
    "filer_socket",
    "s3_grpc_socket",
    "filer_grpc_socket",
    "master_grpc_socket",
    "volume_grpc_socket",
)
TLS_DOORS = tuple(name for name in ALL_DOORS if name not in {"s3", "s3_socket", "filer_socket"})
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "MOVE", "TRACE")
NO_TLS = b"Client sent an HTTP request to an HTTPS server.\n"


def targets(key: str, fid: str) -> Iterator[str]:
    """Ways in that SeaweedFS's parts are known to have, and some that proxies are fooled with."""
    volume = fid.partition(",")[0]
    yield from ("/", "/status", "/healthz", "/readyz", "/metrics", "/ui/index.html", "/favicon.ico")
    yield from (
        f"/{CONTENT}/{key}",
        f"/{CONTENT}",
        f"/{CONTENT}/?list-type=2",
        f"//{CONTENT}/{key}",
    )
    yield from (f"/buckets/{CONTENT}/{key}", "/buckets/", f"/buckets/{CONTENT}/?recursive=true")
    yield from (f"/buckets/{CONTENT}/{key}?proxyChunkId={fid}", f"/?proxyChunkId={fid}")
    yield from (f"/buckets/{CONTENT}/apps/x/../neighbour/planted.txt", "/buckets/?metadata=true")
    yield from (f"/buckets/{CONTENT}/new.txt?mv.from=/buckets/{CONTENT}/{key}", "/etc/iam/")
    yield from ("/etc/iam/identity.json", "/etc/seaweedfs/filer.conf", "/topics/.system/log/")
    yield from (f"/{fid}", f"/{fid.replace(',', '/')}", f"/{fid}?readDeleted=true", f"/{volume}")
    yield from (f"/dir/lookup?volumeId={volume}", f"/dir/lookup?fileId={fid}&read=yes")
    yield from ("/dir/assign", f"/dir/assign?collection={CONTENT}", "/dir/status", "/vol/status")
    yield from (f"/col/delete?collection={CONTENT}", f"/collection/info?collection={CONTENT}")
    yield from (f"/vol/grow?collection={CONTENT}&count=1", "/vol/vacuum?garbageThreshold=0.00001")
    yield from ("/submit", "/cluster/status", "/cluster/healthz", "/raft/stats", "/stats/health")
    yield from ("/stats/counter", "/stats/memory", "/stats/disk", "/debug/pprof/", "/debug/vars")
    yield from (
        f"/admin/volume/delete?volume={volume}",
        f"/admin/delete_collection?collection={CONTENT}",
    )
    yield from ("/.tus/", "/v1/config", "/v1/namespaces", "/webdav/", "/api/buckets")


@pytest.fixture
def fid(engine: RunningEngine, planted: str) -> str:
    """Where the engine keeps the planted object, which an attacker may know."""
    return chunk_id(engine, planted)


@pytest.fixture(scope="module")
def contexts(
    engine: RunningEngine, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ssl.SSLContext]:
    """TLS as somebody without keys can speak it: no certificate, and one of a forged authority."""
    forged = make()
    folder = tmp_path_factory.mktemp("forged")
    (folder / "both.pem").write_text(forged.certificate + forged.authority + forged.key)
    mixed = folder / "mixed.pem"
    # The engine's own authority, which is no secret, behind a certificate that it never signed.
    authority = (engine.state_dir / "conf" / "authority.crt").read_text()
    mixed.write_text(forged.certificate + authority + forged.key)
    found = {"none": _context(), "forged": _context(), "mixed": _context(), "old": _context()}
    found["forged"].load_cert_chain(folder / "both.pem")
    found["mixed"].load_cert_chain(mixed)
    found["old"].maximum_version = ssl.TLSVersion.TLSv1_2
    return found


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_the_engine_listens_on_its_doors_and_nowhere_else(engine: RunningEngine) -> None:
    assert engine.status.pid is not None
    found = listening(engine.status.pid) or frozenset()
    assert found == frozenset(door.address for door in embedded.doors(engine.status))
    assert all(name.startswith(("127.0.0.1:", "/")) for name in found)


@pytest.mark.skipif(shutil.which("ss") is None, reason="needs the program ss")
def test_the_kernel_and_we_see_the_same_ports(engine: RunningEngine) -> None:
    """By another program than our own reading of /proc."""
    out = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    mine = [line.split()[3] for line in out.splitlines() if f"pid={engine.status.pid}," in line]
    tcp = {door.address for door in embedded.doors(engine.status) if not door.unix}
    assert set(mine) == tcp


def test_every_door_is_tried(engine: RunningEngine) -> None:
    assert tuple(door.name for door in embedded.doors(engine.status)) == ALL_DOORS
    tls = {d.name for d in embedded.doors(engine.status) if d.closed is Closed.MUTUAL_TLS}
    assert tls == set(TLS_DOORS)


def test_nobody_else_can_open_a_socket(engine: RunningEngine) -> None:
    for door in embedded.doors(engine.status):
        if door.unix:
            assert Path(door.address).is_socket()
            assert Path(door.address).stat().st_mode & 0o077 == 0, door


@pytest.mark.parametrize("name", TLS_DOORS)
def test_inner_doors_say_nothing_to_plain_http(
    engine: RunningEngine, planted: str, fid: str, name: str
) -> None:
    door = engine.door(name)
    for target in targets(planted, fid):
        for method in METHODS:
            answer = talk(door, request(method, target, PLANTED))
            # A part that speaks HTTP says that it wants TLS; one that speaks gRPC hangs up.
            assert answer == b"" or (status_of(answer) == 400 and answer.endswith(NO_TLS)), target


@pytest.mark.parametrize("kind", ["none", "forged", "mixed", "old"])
@pytest.mark.parametrize("name", TLS_DOORS)
def test_inner_doors_say_nothing_over_tls_without_the_certificate(
    engine: RunningEngine,
    fid: str,
    contexts: dict[str, ssl.SSLContext],
    name: str,
    kind: str,
) -> None:
    door = engine.door(name)
    for target in (f"/buckets/{CONTENT}/{NEIGHBOUR}", f"/{fid}", "/dir/assign", "/status", "/"):
        for method in ("GET", "POST", "DELETE"):
            assert talk(door, request(method, target), contexts[kind]) == b"", (method, target)


@pytest.mark.parametrize("name", TLS_DOORS)
def test_inner_doors_do_not_speak_http2_in_clear(
    engine: RunningEngine, planted: str, name: str
) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    answer = talk(engine.door(name), preface)
    assert answer == b"" or answer.endswith(NO_TLS)


NO_METHOD = {"PATCH", "MOVE", "TRACE", "POST"}
ALIVE = {"/status", "/healthz", "/readyz"}
"""Whether the gateway lives: 200, and nothing more."""


@pytest.mark.parametrize("name", ["s3", "s3_socket"])
def test_s3_answers_nothing_unsigned(
    engine: RunningEngine, planted: str, fid: str, name: str
) -> None:
    door = engine.door(name)
    for target in targets(planted, fid):
        for method in METHODS:
            answer = talk(door, request(method, target, b"x"))
            assert (status_of(answer), _said(answer)) in _refusals(method, target), (method, target)


def _said(answer: bytes) -> str:
    """The error's code, or the whole of a body without one."""
    body = answer.partition(b"\r\n\r\n")[2]
    match = re.search(rb"<Code>([^<]*)</Code>", body)
    return (match[1] if match else body).decode()


def _refusals(method: str, target: str) -> set[tuple[int, str]]:
    """What the engine answers, exactly. In HEAD's place an error has no body, so no code."""
    root = target.partition("?")[0] == "/"
    refusal = (403, "AccessDenied")
    if method == "OPTIONS" or (target in ALIVE and method in {"GET", "HEAD"}):
        refusal = (200, "")  # to OPTIONS: what a browser asks before it asks
    elif root and method == "POST":
        refusal = (400, "InvalidAction")  # this is STS, and the request names no action
    elif method in NO_METHOD or target.startswith("//") or (root and method != "GET"):
        refusal = (405, "MethodNotAllowed")
    elif "/../" in target:
        refusal = (400, "InvalidRequest")
    return {refusal, (405, "")} if refusal[0] == 405 else {refusal, _without_body(method, refusal)}


def _without_body(method: str, refusal: tuple[int, str]) -> tuple[int, str]:
    return (refusal[0], "") if method == "HEAD" else refusal


def test_a_web_page_of_elsewhere_may_not_even_ask(engine: RunningEngine) -> None:
    """A browser on this machine, on a page from anywhere, reaches loopback too."""
    ask = "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n"
    for target in ("/", f"/{CONTENT}/x"):
        answer = talk(engine.door("s3"), request("OPTIONS", target, headers=ask))
        # At the root the handler fails over its own refusal and hangs up, which is as good.
        assert status_of(answer) in ({403} if target != "/" else {403, None})
        assert b"evil.example" not in answer


def test_the_filer_socket_serves_nothing(engine: RunningEngine, planted: str, fid: str) -> None:
    door = engine.door("filer_socket")
    picture = talk(door, request("GET", "/favicon.ico")).partition(b"\r\n\r\n")[2]
    nothing = {(404, "404 page not found\n"), (404, "")}
    for target in targets(planted, fid):
        for method in METHODS:
            answer = talk(door, request(method, target, PLANTED))
            if target == "/favicon.ico":  # a picture that is compiled into the program
                assert answer.endswith(picture) or method == "HEAD"
            else:
                assert (status_of(answer), _said(answer)) in nothing, (method, target)


def test_with_the_certificate_the_volume_still_wants_a_token(
    engine: RunningEngine, planted: str, fid: str
) -> None:
    """The second lock, behind mutual TLS. It also shows that ``fid`` is the right one."""
    conf = engine.state_dir / "conf"
    context = _context()
    context.load_cert_chain(conf / "engine.crt", conf / "engine.key")
    door = engine.door("volume")
    for method in ("GET", "PUT", "POST", "DELETE"):
        answer = talk(door, request(method, f"/{fid}", b"x"), context)
        assert status_of(answer) == 401
        assert PLANTED not in answer


def test_with_the_certificate_the_master_and_the_filer_serve_no_http(
    engine: RunningEngine, planted: str, fid: str
) -> None:
    conf = engine.state_dir / "conf"
    context = _context()
    context.load_cert_chain(conf / "engine.crt", conf / "engine.key")
    for name, target in (
        ("filer", f"/buckets/{CONTENT}/{planted}"),
        ("master", f"/dir/lookup?fileId={fid}&read=yes"),
        ("master", "/dir/assign"),
        ("master", f"/col/delete?collection={CONTENT}"),
    ):
        answer = talk(engine.door(name), request("GET", target), context)
        assert status_of(answer) == 404
