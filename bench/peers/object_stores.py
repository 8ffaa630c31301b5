"""Other ways to the same objects: obstore by itself, aiobotocore, boto3 with threads, s3fs.

All sign with the same keys that they are given and reach the same prefix, so that what differs is
the client. aiobotocore and s3fs are not typed and need not be installed for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal

from obstore.store import S3Store

from bench.context import Keys, S3Engine
from bench.movers import MOST_IN_FLIGHT, AsyncMover, Mover, ThreadMover


def bare_store(engine: S3Engine, keys: Keys, bucket: str, prefix: str) -> S3Store:
    """An obstore store with nothing of ours and obstore's own settings."""
    return S3Store(
        bucket,
        prefix=prefix,
        client_options={"allow_http": True},
        virtual_hosted_style_request=not engine.path_style,
        **_obstore_config(engine, keys),
    )


def obstore(
    name: str, engine: S3Engine, keys: Keys, prefix: str, runner: asyncio.Runner
) -> AsyncMover:
    """A bare store on the content bucket, on the event loop."""
    store = bare_store(engine, keys, engine.buckets.content, prefix)

    async def get(key: str) -> Any:
        return await (await store.get_async(key)).bytes_async()

    return AsyncMover(name, runner, store.put_async, get)


def _obstore_config(engine: S3Engine, keys: Keys) -> dict[str, Any]:
    config = {
        "endpoint": engine.endpoint,
        "region": engine.region,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key,
        "session_token": keys.session_token,
    }
    return {name: value for name, value in config.items() if value is not None}


def boto3_threads(
    engine: S3Engine, keys: Keys, prefix: str, runner: asyncio.Runner, stack: AsyncExitStack
) -> ThreadMover:
    """boto3 from a pool of threads."""
    import boto3
    from botocore.config import Config

    style: Literal["path", "virtual"] = "path" if engine.path_style else "virtual"
    client = boto3.client(
        "s3",
        endpoint_url=engine.endpoint,
        region_name=engine.region,
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        aws_session_token=keys.session_token,
        config=Config(max_pool_connections=MOST_IN_FLIGHT, s3={"addressing_style": style}),
    )
    bucket = engine.buckets.content
    threads = stack.enter_context(ThreadPoolExecutor(MOST_IN_FLIGHT))
    stack.callback(client.close)

    def put(key: str, body: bytes) -> object:
        return client.put_object(Bucket=bucket, Key=prefix + key, Body=body)

    def get(key: str) -> bytes:
        return bytes(client.get_object(Bucket=bucket, Key=prefix + key)["Body"].read())

    return ThreadMover("boto3, threads", put, get, threads)


def aiobotocore(
    engine: S3Engine, keys: Keys, prefix: str, runner: asyncio.Runner, stack: AsyncExitStack
) -> AsyncMover:
    """aiobotocore on the event loop."""
    config = import_module("aiobotocore.config").AioConfig(
        max_pool_connections=MOST_IN_FLIGHT,
        s3={"addressing_style": "path" if engine.path_style else "virtual"},
    )
    opening = (
        import_module("aiobotocore.session")
        .get_session()
        .create_client("s3", config=config, **_botocore_config(engine, keys))
    )
    client: Any = runner.run(stack.enter_async_context(opening))
    bucket = engine.buckets.content

    async def put(key: str, body: bytes) -> object:
        return await client.put_object(Bucket=bucket, Key=prefix + key, Body=body)

    async def get(key: str) -> Any:
        answer = await client.get_object(Bucket=bucket, Key=prefix + key)
        async with answer["Body"] as body:
            return await body.read()

    return AsyncMover("aiobotocore", runner, put, get)


def _botocore_config(engine: S3Engine, keys: Keys) -> dict[str, Any]:
    return {
        "endpoint_url": engine.endpoint,
        "region_name": engine.region,
        "aws_access_key_id": keys.access_key_id,
        "aws_secret_access_key": keys.secret_access_key,
        "aws_session_token": keys.session_token,
    }


def s3fs(
    engine: S3Engine, keys: Keys, prefix: str, runner: asyncio.Runner, stack: AsyncExitStack
) -> AsyncMover:
    """s3fs through its coroutines."""
    files = import_module("s3fs").S3FileSystem(
        key=keys.access_key_id,
        secret=keys.secret_access_key,
        token=keys.session_token,
        client_kwargs={"endpoint_url": engine.endpoint, "region_name": engine.region},
        config_kwargs={"max_pool_connections": MOST_IN_FLIGHT},
        asynchronous=True,
        skip_instance_cache=True,
    )
    session: Any = runner.run(files.set_session())
    stack.push_async_callback(session.close)
    root = f"{engine.buckets.content}/{prefix}"

    async def put(key: str, body: bytes) -> object:
        return await files._pipe_file(root + key, body)  # noqa: SLF001 - fsspec's async names

    async def get(key: str) -> Any:
        return await files._cat_file(root + key)  # noqa: SLF001

    return AsyncMover("s3fs", runner, put, get)


_Builder = Callable[[S3Engine, Keys, str, asyncio.Runner, AsyncExitStack], Mover]

OTHERS: Final[dict[str, _Builder]] = {
    "aiobotocore": aiobotocore,
    "boto3": boto3_threads,
    "s3fs": s3fs,
}
"""The clients that are measured beside obstore, by the package that each needs."""


def missing() -> list[str]:
    """The packages of these clients that are not installed."""
    return [package for package in OTHERS if find_spec(package) is None]
