"""What goes wrong, in sentences: from real servers where they can be brought to it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ringfence.errors import (
    AccessDenied,
    ConfigError,
    LayoutMismatch,
    RingfenceError,
    StorageUnreachable,
    UsageError,
)
from ringfence.runs import Cancel, Start, apply, change_run
from ringfence.secret import Secret
from ringfence.state.redis import RedisStateStore
from ringfence.testing.state import TestClock, new_record, read_all
from tests.ports import free_port
from tests.state.redis.conftest import OpenStore
from tests.state.redis.fake import bulk, saying
from tests.state.redis.proxy import before
from tests.state.redis.servers import Valkey

pytestmark = pytest.mark.redis

PASSWORD = "s3cr3t-pa55word-s3cr3t"
StartValkey = Callable[..., Valkey]


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No log of these tests has the password in it."""
    caplog.set_level(logging.DEBUG)
    yield
    assert PASSWORD not in caplog.text


async def failure(work: Awaitable[object]) -> RingfenceError:
    """What it raises, checked for what must never be in a message."""
    with pytest.raises(RingfenceError) as raised:
        await work
    said = raised.value
    assert said.__cause__ is None
    assert said.__suppress_context__ or said.__context__ is None
    assert PASSWORD not in f"{said} {said!r}"
    return said


def works(store: RedisStateStore) -> list[Callable[[], Awaitable[object]]]:
    """One of each kind of call."""
    return [
        lambda: store.create(new_record()),
        lambda: store.get("r"),
        lambda: store.replace(new_record(id="r"), expected_version=1),
        lambda: store.list("app"),
        lambda: store.append("r", ["x"]),
        lambda: store.events("r"),
        lambda: store.acknowledge("r", "c", 0),
        lambda: store.acknowledged("r", "c"),
        lambda: store.abandoned(TestClock()()),
        store.purge,
    ]


# --- out of reach ----------------------------------------------------------------------------


async def test_nobody_listens(open_store: OpenStore) -> None:
    port = free_port()
    store = open_store(f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
    for work in works(store):
        said = await failure(work())
        assert type(said) is StorageUnreachable
        assert f"REDIS_URL 127.0.0.1:{port} is out of reach (it refuses connections)" in str(said)


async def test_a_name_that_is_none(open_store: OpenStore) -> None:
    said = await failure(open_store(f"redis://u:{PASSWORD}@no-such-host.invalid").get("r"))
    assert type(said) is StorageUnreachable
    assert "REDIS_URL no-such-host.invalid:6379 is out of reach (its name is unknown)" in str(said)


async def test_a_socket_that_is_none(open_store: OpenStore, tmp_path: Path) -> None:
    said = await failure(open_store(f"unix://:{PASSWORD}@{tmp_path}/none").get("r"))
    assert type(said) is StorageUnreachable
    assert f"REDIS_URL {tmp_path}/none is out of reach (there is no such socket)" in str(said)


async def test_nobody_answers(open_store: OpenStore) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        url = f"redis://:{PASSWORD}@127.0.0.1:{held.getsockname()[1]}"
        said = await failure(open_store(url, connect_seconds=0.2).get("r"))
    assert type(said) is StorageUnreachable
    assert "(no answer in time)" in str(said)


async def test_an_answer_that_does_not_come(open_store: OpenStore, valkey: Valkey) -> None:
    async with before(valkey.port) as proxy:
        store = open_store(proxy.url, seconds=0.2, connect_seconds=0.2)
        await store.create(new_record(id="r"))
        assert await store.events("r") == ()
        proxy.deaf = True
        for work in works(store):
            said = await failure(work())
            assert type(said) is StorageUnreachable
            assert "(no answer in time)" in str(said)
        proxy.deaf = False
        assert (await store.get("r")).id == "r"


async def test_a_tail_that_waits_is_not_late(open_store: OpenStore) -> None:
    """The server holds its answer back for a second, which is no failure."""
    store = open_store(seconds=0.2)
    await store.create(new_record(id="r"))
    answer = await store._server.wait(
        ("XREAD", "BLOCK", 900, "STREAMS", store._keys.run("r").events, "0"), 1.0, what="wait"
    )
    assert answer is None


async def test_every_connection_is_busy(open_store: OpenStore) -> None:
    store = open_store(most_connections=1, seconds=0.2)
    await store.create(new_record(id="r"))
    link = await store._server._connector.link()
    gate = link._gate  # type: ignore[attr-defined]
    async with gate:
        said = await failure(store.events("r"))
        assert type(said) is StorageUnreachable
        assert "all 1 connections were busy for 0.2 s" in str(said)
        assert (await store.get("r")).id == "r", "small calls share one of their own"
    assert await store.events("r") == ()


async def test_too_many_clients(open_store: OpenStore, own_valkey: StartValkey) -> None:
    server = own_valkey("--maxclients", "1")
    store = open_store(server.url)
    with server.client() as taken:
        assert taken.ping()
        said = await failure(store.get("r"))
        assert type(said) is StorageUnreachable
        # It says so and hangs up, and may hang up before it is asked anything.
        assert re.search(r"\((it has too many clients|the connection broke)\)", str(said))


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 400 Bad\r\n\r\n"])
async def test_what_does_not_speak_redis(open_store: OpenStore, banner: bytes) -> None:
    async with saying(banner) as url:
        said = await failure(open_store(url).get("r"))
    assert type(said) is StorageUnreachable
    assert "is out of reach (" in str(said)


async def test_tls_where_there_is_none(open_store: OpenStore) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR unknown command\r\n" * 3)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        said = await failure(open_store(f"rediss://:{PASSWORD}@127.0.0.1:{port}").get("r"))
    assert type(said) is StorageUnreachable
    assert "TLS cannot be agreed on" in str(said)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "still loading its data"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "a replica that has lost its primary"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "the cluster is down"),
        (b"-BUSY Redis is busy running a script.\r\n", "busy with a script"),
        (b"-MISCONF Errors writing to the AOF file\r\n", "cannot write to its disk"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "too few replicas"),
        (b"-TRYAGAIN Multiple keys request during rehashing\r\n", "moving slots"),
        (b"-OOM command not allowed\r\n", "memory is full"),
        (b"-READONLY You can't write against a read only replica.\r\n", "read-only replica"),
    ],
)
async def test_answers_that_ask_for_another_try(
    open_store: OpenStore, answer: bytes, words: str
) -> None:
    async with saying(answer) as url:
        said = await failure(open_store(url).get("r"))
    assert type(said) is StorageUnreachable
    assert words in str(said)
    assert re.search(r"REDIS_URL 127\.0\.0\.1:\d+: the (server|cluster)", str(said))


async def test_an_error_that_nobody_foresaw(open_store: OpenStore) -> None:
    async with saying(f"-WHATEVER it is {PASSWORD}\r\n".encode()) as url:
        said = await failure(open_store(url).get("r"))
    assert type(said) is RingfenceError
    assert "the server could not say what it is (WHATEVER)" in str(said)


async def test_redis_6_answers_of_scripts(open_store: OpenStore) -> None:
    def say(command: list[bytes]) -> bytes:
        if command[0] == b"INFO":
            return bulk("redis_version:6.2.14\r\n")
        return b"-ERR Error running script (call to f_1): @user_script:3: -OOM command not a\r\n"

    async with saying(say) as url:
        said = await failure(open_store(url).create(new_record()))
    assert type(said) is StorageUnreachable
    assert "memory is full" in str(said)


# --- who asks --------------------------------------------------------------------------------


async def test_a_password_that_is_wanted_or_wrong(
    open_store: OpenStore, own_valkey: StartValkey
) -> None:
    server = own_valkey(password="right")
    for login, words in (("", "wants a password"), (f":{PASSWORD}@", "refuses its user name or")):
        store = open_store(f"redis://{login}127.0.0.1:{server.port}")
        for work in works(store):
            said = await failure(work())
            assert isinstance(said, ConfigError)
            assert said.problems[0].variable == "REDIS_URL"
            assert f"127.0.0.1:{server.port} {words}" in str(said)
    assert (await open_store(server.url).create(new_record(id="r"))).id == "r"


def acl_of_the_docs() -> list[str]:
    """The rules that the page tells to give the user."""
    page = (Path(__file__).parents[3] / "docs" / "state-redis.md").read_text()
    found = re.search(r"ACL SETUSER ringfence ((?:\\\n|[^`\n])+)", page)
    assert found is not None
    return found[1].replace("\\\n", " ").replace(">PASSWORD", f">{PASSWORD}").split()


async def test_the_permissions_of_the_docs_are_enough(
    open_store: OpenStore, own_valkey: StartValkey
) -> None:
    server = own_valkey()
    server.ask("ACL", "SETUSER", "ringfence", *acl_of_the_docs())
    store = open_store(server.url_as("ringfence", PASSWORD), prefix="ringfence")
    record = await store.create(new_record(id="r"))
    await change_run(store, record, Start(), TestClock(1))
    await store.append("r", ["x"], batch="b")
    await store.acknowledge("r", "c", 1)
    assert await store.acknowledged("r", "c") == 1
    assert [r.id for r in await store.abandoned(TestClock(100_000)())] == ["r"]
    server.ask("SCRIPT", "FLUSH")
    await change_run(store, "r", Cancel(), TestClock(2))
    assert [event.payload async for event in store.tail("r")] == ["x"]
    assert len(await read_all(store, record.app_id)) == 1
    assert await store.purge() == 0
    denied = server.ask("ACL", "LOG")
    assert not denied, "something was tried that the docs do not allow"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (("-eval", "-evalsha"), "may not run EVAL"),
        (("-info",), "refused to say what it is; the user may not run INFO"),
        (("-hset",), "refused to store a run; the user may not run HSET"),
        (("resetkeys", "~other:*"), "use these commands or keys"),
    ],
)
async def test_a_permission_that_is_missing(
    open_store: OpenStore, own_valkey: StartValkey, rules: tuple[str, ...], words: str
) -> None:
    server = own_valkey()
    everything = ("on", f">{PASSWORD}", "~*", "+@all")
    server.ask("ACL", "SETUSER", "u", *everything, *rules)
    said = await failure(open_store(server.url_as("u", PASSWORD)).create(new_record()))
    assert type(said) is AccessDenied
    assert words in str(said)
    assert "(NOPERM)" in str(said)


# --- what the server is ----------------------------------------------------------------------


async def test_a_replica(open_store: OpenStore, own_valkey: StartValkey) -> None:
    server = own_valkey()
    async with before(server.port) as proxy:
        store = open_store(proxy.url)
        record = await store.create(new_record(id="r"))
        server.ask("REPLICAOF", "127.0.0.1", "1")
        said = await failure(store.append("r", ["x"]))
        assert type(said) is StorageUnreachable
        assert f"REDIS_URL 127.0.0.1:{proxy.port}: the server is a read-only replica" in str(said)
        connections = proxy.connections
        assert await store.get("r") == record
        assert proxy.connections > connections, "its name may stand for another server by now"
        server.ask("REPLICAOF", "NO", "ONE")
        assert await store.append("r", ["x"]) == range(1, 2), "no restart is needed"


async def test_memory_that_is_full(open_store: OpenStore, own_valkey: StartValkey) -> None:
    server = own_valkey()
    store = open_store(server.url)
    record = await store.create(new_record(id="r"))
    server.ask("CONFIG", "SET", "maxmemory", "1")
    for work in (store.create(new_record()), store.append("r", ["x"], batch="b")):
        said = await failure(work)
        assert type(said) is StorageUnreachable
        assert "the server's memory is full" in str(said)
        assert "noeviction" in (said.hint or "")
    assert await store.get("r") == record
    assert await store.events("r") == ()
    server.ask("CONFIG", "SET", "maxmemory", "0")
    assert await store.append("r", ["x"], batch="b") == range(1, 2), "nothing was half stored"


async def test_a_policy_that_loses_runs(
    open_store: OpenStore, own_valkey: StartValkey, caplog: pytest.LogCaptureFixture
) -> None:
    server = own_valkey("--maxmemory-policy", "allkeys-lru")
    store = open_store(server.url)
    for _ in range(3):
        await store.create(new_record())
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1
    assert "maxmemory-policy is allkeys-lru" in warned[0]


@pytest.mark.parametrize(
    ("info", "fails"),
    [
        ("redis_version:5.0.14", True),
        ("redis_version:6.0.16", True),
        ("redis_version:6.2.0", False),
        ("redis_version:10.0.0", False),
        ("redis_version:5.9.9\r\nvalkey_version:9.0.0", False),
    ],
)
async def test_a_server_that_is_too_old(open_store: OpenStore, info: str, fails: bool) -> None:
    def say(command: list[bytes]) -> bytes:
        return bulk(f"# Server\r\n{info}\r\n") if command[0] == b"INFO" else b"$-1\r\n"

    async with saying(say) as url:
        said = await failure(open_store(url).get("r"))
    assert ("the state store needs Redis 6.2 or later, or Valkey" in str(said)) is fails


async def test_a_record_of_a_newer_schema(open_store: OpenStore, valkey: Valkey) -> None:
    store = open_store()
    await store.create(new_record("app", id="r"))
    valkey.ask("HSET", store._keys.run("r").record, "j", json.dumps({"v": 2}))
    for work in (store.get("r"), store.list("app"), store.create(new_record("app", id="r"))):
        said = await failure(work)
        assert type(said) is LayoutMismatch


async def test_keys_of_somebody_else(open_store: OpenStore, valkey: Valkey) -> None:
    store = open_store()
    valkey.ask("SET", store._keys.run("r").record, "x")
    for work in (store.get("r"), store.append("r", ["x"]), store.create(new_record(id="r"))):
        said = await failure(work)
        assert type(said) is RingfenceError
        assert "(WRONGTYPE)" in str(said)


async def test_a_cluster_that_is_not_made_yet(
    open_store: OpenStore, own_valkey: StartValkey
) -> None:
    server = own_valkey("--cluster-enabled", "yes")
    said = await failure(open_store(server.url).get("r"))
    assert type(said) is StorageUnreachable
    assert "does not serve every slot" in str(said)
    for url in (f"unix://{server.socket}", f"redis://127.0.0.1:{server.port}/1"):
        wrong = await failure(open_store(url).get("r"))
        assert isinstance(wrong, ConfigError)
        assert "no database but 0, for a cluster" in str(wrong)


# --- the URL ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", [f"http://:{PASSWORD}@h", f"redis://:{PASSWORD}@h:port", f"redis://:{PASSWORD}@h:99999"]
)
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="REDIS_URL is set, but not as one can be read") as bad:
        RedisStateStore(Secret(url))
    assert PASSWORD not in f"{bad.value!r} {bad.value}"


async def test_options_of_a_url(open_store: OpenStore, valkey: Valkey) -> None:
    said = await failure(open_store(f"redis://127.0.0.1:{valkey.port}?nonsense=1").get("r"))
    assert isinstance(said, ConfigError)
    said = await failure(open_store(f"redis://127.0.0.1:{valkey.port}/99").get("r"))
    assert isinstance(said, ConfigError)
    assert "a database that the server has" in str(said)
    options = "client_name=rf&max_connections=3&decode_responses=true&socket_timeout=1&protocol=3"
    store = open_store(f"redis://127.0.0.1:{valkey.port}/3?{options}")
    record = await store.create(new_record(id="r"))
    assert await store.get("r") == record
    assert {each["name"]: each["db"] for each in valkey.ask("CLIENT LIST")}["rf"] == "3"
    assert valkey.ask("EXISTS", store._keys.run("r").record) == 0


def test_nothing_shows_the_password() -> None:
    store = RedisStateStore(f"redis://u:{PASSWORD}@h/0")
    for each in (store, store._server, store._server._connector):
        assert PASSWORD not in repr(each)


@pytest.mark.parametrize("prefix", ["", "a{b}", "a b", "x" * 65, "é"])
def test_a_prefix_that_is_none(prefix: str) -> None:
    with pytest.raises(UsageError, match="cannot begin keys"):
        RedisStateStore("redis://h", prefix=prefix)


async def test_a_store_that_is_closed_stays_so(open_store: OpenStore) -> None:
    store = open_store()
    record = await store.create(new_record())
    tail = store.tail(record.id)
    await store.close()
    await store.close()
    for work in works(store):
        assert type(await failure(work())) is UsageError
    assert type(await failure(anext(tail))) is UsageError
    await open_store().close()


async def test_a_race_that_is_lost_is_no_failure(open_store: OpenStore) -> None:
    store = open_store()
    record = await store.create(new_record())
    started = apply(record, Start(), TestClock(1)())
    assert await store.replace(started, expected_version=1) == started
