"""A connection: answers in any pieces, calls that are given up, and what breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import exceptions as redis

from ringfence.errors import RunNotFound, StorageUnreachable, UsageError
from ringfence.runs import Cancel, Start, apply, change_run
from ringfence.state.redis import RedisStateStore
from ringfence.state.redis.wire import Refusal, Wire, _parsed, pack
from ringfence.testing.state import TestClock, new_record, read_all
from tests.state.redis.conftest import OpenStore
from tests.state.redis.fake import saying
from tests.state.redis.proxy import Proxy, before
from tests.state.redis.servers import Valkey
from tests.state.redis.waiting import until

pytestmark = pytest.mark.redis

# --- answers ---------------------------------------------------------------------------------

_answers = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)


def as_resp(answer: Any) -> bytes:
    match answer:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % answer
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(answer), answer)
        case _:
            return b"*%d\r\n%s" % (len(answer), b"".join(map(as_resp, answer)))


@settings(deadline=None)
@given(_answers, st.binary(max_size=20))
def test_every_answer_is_read_as_it_was_meant(answer: Any, after: bytes) -> None:
    data = as_resp(answer)
    assert _parsed(bytearray(data + after), 0, 20) == (answer, len(data))
    for end in range(len(data)):
        assert _parsed(bytearray(data[:end]), 0, 20)[1] == -1, "it is not complete yet"


@settings(deadline=None)
@given(st.lists(st.lists(st.binary(max_size=20) | st.text(max_size=9) | st.integers(), min_size=1)))
def test_every_command_is_sent_as_it_was_meant(commands: list[list[Any]]) -> None:
    packed, end = bytearray(pack([tuple(command) for command in commands])), 0
    for command in commands:
        told, end = _parsed(packed, end, 2)
        assert told == [a if isinstance(a, bytes) else str(a).encode() for a in command]
    assert end == len(packed)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("NOSCRIPT No matching script.", "NOSCRIPT"),
        ("ERR unknown command", "ERR"),
        ("no code at all", "ERR"),
        ("ERR Error running script (call to f_1): @user_script:3: -OOM command", "OOM"),
        ("MOVED 3999 127.0.0.1:6381", "MOVED"),
    ],
)
def test_codes(text: str, code: str) -> None:
    refusal, _ = _parsed(bytearray(f"-{text}\r\n".encode()), 0, 1)
    assert (type(refusal), refusal.code, refusal.text) == (Refusal, code, text)


@settings(max_examples=20, deadline=None)
@given(st.lists(_answers, min_size=1, max_size=8), st.integers(1, 7))
def test_answers_come_in_any_pieces(answers: list[Any], size: int) -> None:
    async def scenario() -> None:
        data = b"".join(map(as_resp, answers))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"GO\r\n")
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await writer.drain()
                await asyncio.sleep(0)
            await reader.read()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            wire = await connected(server.sockets[0].getsockname()[1])
            first = wire.send(b"", 1)
            rest = wire.send(b"GO\r\n", len(answers) - 1) if answers[1:] else None
            if rest is None:
                wire._transport.write(b"GO\r\n")
            assert await first == answers[:1]
            assert rest is None or await rest == answers[1:]
            await wire.close()

    asyncio.run(scenario())


async def connected(port: int, seconds: float = 5) -> Wire:
    """A wire to a server that wants no greeting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection: Any = SimpleNamespace(_reader=reader, _writer=writer)
    return Wire(connection, seconds)


async def test_a_call_that_is_given_up_leaves_the_others_alone(valkey: Valkey) -> None:
    wire = await connected(valkey.port)
    calls = [wire.send(pack([("ECHO", i)]), 1) for i in range(9)]
    for call in calls[::2]:
        call.cancel()
    assert [await call for call in calls[1::2]] == [[b"1"], [b"3"], [b"5"], [b"7"]]
    assert await wire.send(pack([("ECHO", "x")]), 1) == [b"x"]
    assert wire.idle
    await wire.close()


async def test_calls_at_once_go_out_together(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = await connected(valkey.port)
    writes: list[bytes] = []
    transport = wire._transport

    def write(data: bytes) -> None:
        writes.append(data)
        transport.write(data)

    noted = SimpleNamespace(write=write, abort=transport.abort)
    monkeypatch.setattr(wire, "_transport", noted)
    calls = [wire.send(pack([("ECHO", i)]), 1) for i in range(30)]
    assert await asyncio.gather(*calls) == [[b"%d" % i] for i in range(30)]
    assert len(writes) == 2, "the first at once, and the others with each other"
    await wire.close()


async def test_an_answer_that_is_late_ends_the_wire(valkey: Valkey) -> None:
    wire = await connected(valkey.port, seconds=0.05)
    late = wire.send(pack([("XREAD", "BLOCK", 10_000, "STREAMS", "none", "0")]), 1)
    behind = wire.send(pack([("PING",)]), 1)
    for call in (late, behind):
        with pytest.raises(redis.TimeoutError):
            await call
    assert wire.broken
    with pytest.raises(redis.ConnectionError):
        await wire.send(pack([("PING",)]), 1)
    await wire.close()


# --- connections that break ------------------------------------------------------------------


def once(pattern: bytes) -> Callable[[bytes], bool]:
    """Cuts the first connection that sends this."""
    seen: list[bytes] = []

    def cut(data: bytes) -> bool:
        if pattern in data and not seen:
            seen.append(data)
            return True
        return False

    return cut


async def test_an_answer_that_was_lost_is_asked_for_again(
    open_store: OpenStore, valkey: Valkey
) -> None:
    """The server has done it; the connection breaks before it can say so."""
    async with before(valkey.port) as proxy:
        store = open_store(proxy.url)
        record = new_record("app")
        await store.list("app")

        async def losing(work: Awaitable[Any]) -> Any:
            proxy.cut_after = once(b"EVALSHA")
            connections = proxy.connections
            told = await work
            assert proxy.connections > connections, "nothing was lost"
            return told

        assert await losing(store.create(record)) == record
        started = apply(record, Start(), TestClock(1)())
        assert await losing(store.replace(started, expected_version=1)) == started
        assert await losing(store.append(record.id, ["a", "b"], batch="b")) == range(1, 3)
        assert await losing(store.acknowledge(record.id, "c", 2)) == 2
        assert [e.payload for e in await losing(store.events(record.id))] == ["a", "b"]
        ended = apply(started, Cancel(), TestClock(2)())
        assert await losing(store.replace(ended, expected_version=2)) == ended
        assert await losing(read_all(store, "app")) == [ended]


async def test_a_batch_without_an_id_is_never_sent_twice(
    open_store: OpenStore, valkey: Valkey
) -> None:
    async with before(valkey.port) as proxy:
        store = open_store(proxy.url)
        record = await store.create(new_record())
        for size in (1, 100_000):
            proxy.cut_after = once(b"EVALSHA")
            with pytest.raises(StorageUnreachable):
                await store.append(record.id, ["x" * size])
        assert len(await store.events(record.id)) == 2
        assert await store.append(record.id, ["y"]) == range(3, 4), "no restart is needed"


async def test_what_is_lost_again_and_again_may_be_repeated(
    open_store: OpenStore, valkey: Valkey
) -> None:
    async with before(valkey.port) as proxy:
        store = open_store(proxy.url)
        await store.list("app")
        record = new_record("app")

        async def lost(work: Awaitable[Any]) -> None:
            proxy.cut_after = lambda data: b"EVALSHA" in data
            with pytest.raises(StorageUnreachable, match="the connection broke"):
                await work
            proxy.cut_after = lambda _: False

        await lost(store.create(record))
        assert await store.create(record) == record
        await lost(change_run(store, record.id, Start(), TestClock(1)))
        await lost(change_run(store, record.id, Cancel("enough"), TestClock(2)))
        ended = await change_run(store, record.id, Cancel("enough"), TestClock(3))
        assert ended.version == 3
        await lost(store.append(record.id, ["x"], batch="b"))
        assert await store.append(record.id, ["x"], batch="b") == range(1, 2)
        assert await read_all(store, "app") == [ended]


async def test_connections_that_the_server_closed_cost_nobody_anything(
    open_store: OpenStore, valkey: Valkey
) -> None:
    async with before(valkey.port) as proxy:
        store = open_store(proxy.url)
        records = await asyncio.gather(*(store.create(new_record()) for _ in range(16)))
        await asyncio.gather(*(store.events(record.id) for record in records))
        link: Any = await store._server._connector.link()
        await proxy.hang_up()
        await until(lambda: link._shared.broken and not any(w.idle for w in link._idle))
        told = await asyncio.gather(*(store.append(record.id, ["x"]) for record in records))
        assert told == [range(1, 2)] * 16
        await proxy.hang_up()
        told_too = await asyncio.gather(*(store.events(record.id) for record in records))
        assert [len(events) for events in told_too] == [1] * 16


async def test_a_script_that_the_server_has_forgotten(
    open_store: OpenStore, valkey: Valkey
) -> None:
    store = open_store()
    record = await store.create(new_record("app"))
    for work in (
        lambda: store.create(record),
        lambda: store.append(record.id, ["x"]),
        lambda: store.events(record.id),
        lambda: store.list("app"),
        lambda: change_run(store, record, Cancel(), TestClock(1)),
    ):
        valkey.ask("SCRIPT", "FLUSH")
        await work()
    assert (await store.get(record.id)).version == 2


# --- who is cancelled ------------------------------------------------------------------------


async def test_cancelling_leaves_nothing_behind(open_store: OpenStore, valkey: Valkey) -> None:
    async with before(valkey.port) as proxy:
        store = open_store(proxy.url)
        record = await store.create(new_record())
        await store.events(record.id)
        tasks = asyncio.all_tasks()
        for make in every_call(store, record.id):
            proxy.deaf = True
            task = asyncio.create_task(make())
            await asked(proxy)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            assert {t for t in asyncio.all_tasks() - tasks if "proxy" not in repr(t)} == set()
            proxy.deaf = False
            await proxy.hang_up()
            assert (await store.get(record.id)).id == record.id


def every_call(store: RedisStateStore, run: str) -> list[Callable[[], Any]]:
    return [
        lambda: store.create(new_record()),
        lambda: store.get(run),
        lambda: store.append(run, ["x"]),
        lambda: store.append(run, ["x" * 100_000]),
        lambda: store.events(run),
        lambda: store.list("app"),
        lambda: store.abandoned(TestClock()()),
    ]


async def asked(proxy: Proxy) -> None:
    proxy.forget()
    await until(lambda: bool(proxy.sent))


async def test_who_connects_first_may_be_cancelled(open_store: OpenStore, valkey: Valkey) -> None:
    """The others that wait for the connection get it."""
    async with before(valkey.port) as proxy:
        store = open_store(proxy.url)
        first, *others = (asyncio.create_task(store.get("none")) for _ in range(5))
        await asyncio.sleep(0)
        first.cancel()
        told = await asyncio.gather(first, *others, return_exceptions=True)
        assert [type(each) for each in told] == [asyncio.CancelledError] + [RunNotFound] * 4


async def test_closing_ends_what_is_under_way(open_store: OpenStore) -> None:
    async with saying(b"") as url:
        store = open_store(url)
        calls = [asyncio.create_task(store.get("r")) for _ in range(3)]
        await asyncio.sleep(0.05)
        await store.close()
        told = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(each) for each in told} <= {StorageUnreachable, UsageError}
