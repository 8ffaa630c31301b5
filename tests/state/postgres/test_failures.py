"""What goes wrong, in sentences, and without the password."""

# ruff: noqa: S608 - the names in the SQL are the tests' own

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator

import asyncpg
import pytest

from ringfence.errors import (
    AccessDenied,
    ConfigError,
    RingfenceError,
    StorageUnreachable,
)
from ringfence.secret import Secret
from ringfence.state.postgres import address
from ringfence.state.postgres.address import parse_address
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.testing.state import new_record, race_to_the_end
from tests.state.postgres.conftest import OpenStore
from tests.state.postgres.proxy import before
from tests.state.postgres.server import PASSWORD, Server

pytestmark = pytest.mark.postgres

WRONG = "wr0ng-wr0ng"


async def failure(work: Awaitable[object]) -> RingfenceError:
    """What it raises, checked for what must never be in a message."""
    with pytest.raises(RingfenceError) as raised:
        await work
    error = raised.value
    said = f"{error} {error!r} {error.__cause__!r} {error.hint!r}"
    for never in (PASSWORD, WRONG, "postgresql://p", "Traceback"):
        assert never not in said
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert not isinstance(error, ConfigError) or len(error.problems) == 1
    if not isinstance(error, ConfigError):
        assert "\n" not in said
    return error


@pytest.fixture(autouse=True)
def _nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("DEBUG"):
        yield
    for never in (PASSWORD, WRONG):
        assert never not in caplog.text


# --- reaching the server ---------------------------------------------------------------------


async def test_nobody_listens(open_store: OpenStore) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        store = open_store(f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres")
        for work in (store.get("r"), store.create(new_record()), store.append("r", [1])):
            error = await failure(work)
            assert type(error) is StorageUnreachable
            where = f"DATABASE_URL 127.0.0.1:{port} is out of reach (it refuses connections)."
            assert str(error).startswith(where)


async def test_no_such_socket(open_store: OpenStore) -> None:
    error = await failure(open_store("postgresql://postgres@/postgres?host=/no/such").get("r"))
    assert "DATABASE_URL /no/such is out of reach (it refuses connections)" in str(error)


async def test_a_name_that_is_none(open_store: OpenStore) -> None:
    url = f"postgresql://postgres:{PASSWORD}@no-such-host.invalid/postgres"
    error = await failure(open_store(url).get("r"))
    assert type(error) is StorageUnreachable
    assert "DATABASE_URL no-such-host.invalid:5432 is out of reach (its name is" in str(error)


async def test_nobody_answers(open_store: OpenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "CONNECT_SECONDS", 0.1)
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        url = f"postgresql://u:{PASSWORD}@127.0.0.1:{held.getsockname()[1]}/d"
        error = await failure(open_store(url).get("r"))
    assert type(error) is StorageUnreachable
    assert "is out of reach (no answer in time)" in str(error)


async def test_what_listens_is_no_postgresql(open_store: OpenStore) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"postgresql://u:{PASSWORD}@127.0.0.1:{server.sockets[0].getsockname()[1]}/d"
        error = await failure(open_store(url).get("r"))
        assert "refused TLS: expected PostgreSQL with TLS" in str(error)
        error = await failure(open_store(f"{url}?sslmode=disable").get("r"))
        assert type(error) is StorageUnreachable


async def test_an_answer_that_does_not_come(
    postgres: Server, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with before(postgres) as proxy:
        monkeypatch.setattr(address, "COMMAND_SECONDS", 0.1)
        record = await open_store(schema="other").create(new_record())
        store = open_store(proxy.url, schema="other")
        assert await store.get(record.id) == record
        proxy.silent = True
        error = await failure(store.get(record.id))
        assert type(error) is StorageUnreachable
        assert "is out of reach (no answer in time)" in str(error)
        proxy.silent = False
        assert await store.get(record.id) == record
        await store.close()


async def test_an_append_without_an_id_is_not_repeated(
    postgres: Server, open_store: OpenStore
) -> None:
    async with before(postgres) as proxy:
        store = open_store(proxy.url)
        run = (await store.create(new_record())).id
        await store.append(run, ["before"])
        proxy.lose_answers = True
        error = await failure(store.append(run, ["x"]))
        assert type(error) is StorageUnreachable
        assert "may have been done or not" in str(error)
        assert [event.payload for event in await store.events(run)] == ["before", "x"]
        await store.close()


# --- logging in ------------------------------------------------------------------------------


async def test_a_wrong_password(postgres: Server, open_store: OpenStore) -> None:
    error = await failure(open_store(postgres.tcp_url(password=WRONG)).get("r"))
    assert isinstance(error, ConfigError)
    assert error.problems[0].variable == "DATABASE_URL"
    assert "does not accept its user and password" in str(error)


async def test_a_user_that_is_none(postgres: Server, open_store: OpenStore) -> None:
    error = await failure(open_store(postgres.url(user="nobody")).get("r"))
    assert isinstance(error, ConfigError)
    assert 'role "nobody" does not exist' in str(error)


async def test_a_database_that_is_none(postgres: Server, open_store: OpenStore) -> None:
    error = await failure(open_store(postgres.tcp_url("missing")).get("r"))
    assert isinstance(error, ConfigError)
    assert f"127.0.0.1:{postgres.port} has no such database" in str(error)
    assert 'database "missing" does not exist' in str(error)


async def test_a_server_without_tls(postgres: Server, open_store: OpenStore) -> None:
    url = f"{postgres.tcp_url()}?sslmode=require"
    error = await failure(open_store(url).get("r"))
    assert isinstance(error, ConfigError)
    assert f"127.0.0.1:{postgres.port} refused TLS: expected PostgreSQL with TLS" in str(error)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{WRONG}@h:port/d",
        f"postgresql://u:{WRONG}/x@h/d",
        f"postgresql://u:{WRONG}@h/d?sslmode=perhaps",
        f"postgresql://u:{WRONG}@h/d?port=x",
        f"postgresql://u:{WRONG}@[::1/d",
        f"http://u:{WRONG}@h/d",
    ],
)
async def test_a_url_that_is_none(open_store: OpenStore, url: str) -> None:
    error = await failure(open_store(url).get("r"))
    assert isinstance(error, ConfigError | StorageUnreachable)
    assert "DATABASE_URL" in str(error)


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql://u:p@db.example.org/d", "db.example.org:5432"),
        ("postgresql://u:p@db.example.org:6432/d?x=y", "db.example.org:6432"),
        ("postgresql://u:p@[::1]:5433/d", "[::1]:5433"),
        ("postgresql://h1:1,h2:2/d", "h1:1,h2:2"),
        ("postgresql:///d?host=db&port=7", "db:7"),
        ("postgresql:///d?host=/run/postgresql", "/run/postgresql"),
        ("postgresql:///d", "/tmp"),
        (f"postgresql://u:{WRONG}/x@h/d", "(its host is not readable)"),
        (f"postgresql://u:{WRONG}?x@h/d", "(its host is not readable)"),
        (f"postgresql://u:{WRONG}#x@h/d", "(its host is not readable)"),
        (f"postgresql://u:{WRONG}[@h/d", "(its host is not readable)"),
    ],
)
def test_what_is_said_of_a_url(url: str, where: str) -> None:
    parsed = parse_address(url)
    assert parsed.where == f"DATABASE_URL {where}"
    for shown in (repr(parsed), repr(parse_address(Secret(url)))):
        assert "u:" not in shown.replace("DATABASE_URL", "")
    assert WRONG not in f"{PostgresStateStore(url)!r} {vars(PostgresStateStore(url))}"


# --- what the server answers -----------------------------------------------------------------


@pytest.fixture
async def limited(database: asyncpg.Connection, schema: str) -> AsyncIterator[str]:
    """A user who may use this test's schema, to be limited."""
    name = f"limited_{schema}"
    await database.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")
    yield name
    await database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


async def test_a_server_that_takes_no_changes(
    postgres: Server, open_store: OpenStore, database: asyncpg.Connection, limited: str
) -> None:
    record = await open_store().create(new_record())
    await database.execute(f"ALTER ROLE {limited} SET default_transaction_read_only = on")
    store = open_store(postgres.url(user=limited))
    assert await store.get(record.id) == record
    error = await failure(store.create(new_record()))
    assert type(error) is StorageUnreachable
    assert "takes no changes (cannot execute SELECT in a read-only transaction)" in str(error)
    error = await failure(open_store(postgres.url(user=limited), schema="fresh").get("r"))
    assert "takes no changes" in str(error)


async def test_no_connection_to_spare(
    postgres: Server, open_store: OpenStore, database: asyncpg.Connection, limited: str
) -> None:
    await database.execute(f"ALTER ROLE {limited} NOSUPERUSER CONNECTION LIMIT 0")
    error = await failure(open_store(postgres.url(user=limited)).get("r"))
    assert type(error) is StorageUnreachable
    assert "has no connection to spare (too many connections for role" in str(error)
    assert "max_connections" in str(error)


@pytest.mark.parametrize(
    ("setting", "words"),
    [("statement_timeout", "took too long"), ("lock_timeout", "kept a lock for too long")],
)
async def test_limits_of_the_server(
    *,
    postgres: Server,
    open_store: OpenStore,
    database: asyncpg.Connection,
    limited: str,
    schema: str,
    setting: str,
    words: str,
) -> None:
    run = (await open_store().create(new_record())).id
    await database.execute(f"ALTER ROLE {limited} SET {setting} = '50ms'")
    store = open_store(postgres.url(user=limited))
    await store.get(run)
    async with database.transaction():
        await database.execute(f"SELECT FROM {schema}.runs FOR UPDATE")
        error = await failure(store.append(run, ["x"]))
    assert type(error) is StorageUnreachable
    assert words in str(error)
    assert await store.append(run, ["x"]) == range(1, 2)


async def test_a_server_that_is_strict_about_transactions(
    postgres: Server, open_store: OpenStore, database: asyncpg.Connection, limited: str
) -> None:
    """Where every transaction is serializable, what collides is done again."""
    await database.execute(
        f"ALTER ROLE {limited} SET default_transaction_isolation = 'serializable'"
    )
    stores = [open_store(postgres.url(user=limited)) for _ in range(2)]
    await race_to_the_end(*stores, writers=4)
    run = (await stores[0].create(new_record())).id
    for number in range(10):
        assert await stores[number % 2].append(run, [number]) == range(number + 1, number + 2)
    told = await asyncio.gather(*(store.append(run, ["x"]) for store in stores))
    assert {numbers[0] for numbers in told} == {11, 12}


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("53100", StorageUnreachable, "has no room left (It says so). Its disk is full"),
        ("53200", StorageUnreachable, "has run out of something"),
        ("57P03", StorageUnreachable, "is starting or stopping"),
        ("58030", StorageUnreachable, "has trouble with its files"),
        ("XX001", StorageUnreachable, "has trouble of its own"),
        ("40001", StorageUnreachable, "undid the change each time, for others' sake"),
        ("08006", StorageUnreachable, "broke off"),
        ("42501", AccessDenied, "the server refused (It says so). Grant to the user of"),
        ("22000", RingfenceError, "answered DataError (22000): It says so."),
        ("42703", RingfenceError, "is not what Ringfence made it (It says so)"),
    ],
)
async def test_answers(
    *,
    open_store: OpenStore,
    database: asyncpg.Connection,
    schema: str,
    code: str,
    kind: type[RingfenceError],
    words: str,
) -> None:
    store = open_store()
    record = await store.create(new_record())
    await database.execute(f"""
        CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'It says so.' USING ERRCODE = '{code}', DETAIL = '{PASSWORD}';
        END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON {schema}.events
        FOR EACH ROW EXECUTE FUNCTION {schema}.refuse();
    """)
    error = await failure(store.append(record.id, ["x"]))
    assert type(error) is kind
    assert words in str(error)
    assert "DATABASE_URL /tmp/" in str(error)
    await database.execute(f"DROP TRIGGER refuse ON {schema}.events")
    assert await store.append(record.id, ["x"]) == range(1, 2)


async def test_a_record_that_is_none(
    store: PostgresStateStore, database: asyncpg.Connection, schema: str
) -> None:
    record = await store.create(new_record())
    await database.execute(f"UPDATE {schema}.runs SET record = 'x'")
    with pytest.raises(RingfenceError, match=f"The run record {record.id} cannot be read: it is"):
        await store.get(record.id)
    with pytest.raises(RingfenceError, match="cannot be read"):
        await store.list(record.app_id)
