"""Storage end to end on the real engine: runs, workspaces, layout, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import obstore
import pytest
from obstore.exceptions import BaseError, PermissionDeniedError

from ringfence import (
    AccessDenied,
    AccessMode,
    BucketMissing,
    GrantNotEnforceable,
    IssueRefused,
    LayoutMismatch,
    RunCancelled,
    RunExists,
    RunStatus,
    Scope,
    Storage,
    StorageUnreachable,
    UsageError,
)
from ringfence.layout import LAYOUT_KEY, BucketRole
from ringfence.logs import read_log
from ringfence.providers._obstore import translate
from ringfence.runs import Cancel, change_run

pytestmark = pytest.mark.engine


async def test_a_run_works_in_its_own_places_and_leaves_a_record_and_a_log(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        async with storage.run(app="billing", user="auth0|42", workflow="w", trigger="t") as run:
            await run.app.put_async("invoices/1.json", b"{}")
            run.user.put("mine.txt", b"sync works too")
            await run.tmp.put_async("scratch", b"")
            await run.progress(50, "half")
            run.log.info("stored", invoice=1)
            assert run.record.status is RunStatus.RUNNING
            assert run.record.progress == 50
        stored = await storage.state.get(run.id)
        assert stored == run.record
        assert (stored.status, stored.workflow, stored.progress) == (RunStatus.COMPLETED, "w", 100)
        reader = storage.open(Scope("billing", "auth0|42", run.id, AccessMode.READ_LOGS))
        (line,) = [line async for line in read_log(reader.logs)]
        assert (line.text, line.level, line.fields) == ("stored", "info", {"invoice": 1})
        # The keys are those of the layout, ids encoded; folded, since this engine ignores case.
        content = storage.provider.open_bucket(BucketRole.CONTENT)
        assert (await content.head_async("apps/billing/invoices/1.json"))["size"] == 2
        assert await content.head_async("users/auth0%7C42/apps/billing/mine.txt")


async def test_the_log_is_write_only_for_the_run_itself(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage, storage.run(app="a", user="u") as run:
        await run.workspace.logs.put_async("own", b"x")
        for refused in (
            run.workspace.logs.get_async("own"),
            run.workspace.logs.list_with_delimiter_async(),
        ):
            # obstore has a type of its own for a refused read, and none for a refused list.
            with pytest.raises(BaseError) as caught:
                await refused
            error = translate(caught.value, what="read the log", bucket="LOG_BUCKET")
            assert isinstance(error, AccessDenied)
            assert "403" in str(caught.value)


async def test_how_a_block_ends_is_how_the_run_ends(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        with pytest.raises(ZeroDivisionError):
            async with storage.run(app="a", user="u") as failed:
                _ = 1 / 0
        with pytest.raises(TimeoutError):
            async with storage.run(app="a", user="u", timeout=timedelta(seconds=0.2)) as late:
                await asyncio.sleep(30)
        with pytest.raises(TimeoutError, match="my own"):
            async with storage.run(app="a", user="u", timeout=30) as own:
                raise TimeoutError("my own")
        began = asyncio.Event()
        runs: list[Any] = []

        async def work() -> None:
            async with storage.run(app="a", user="u") as run:
                runs.append(run)
                began.set()
                await asyncio.sleep(30)

        task = asyncio.create_task(work())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ends = {
            run.id: (await storage.state.get(run.id)).status for run in (failed, late, own, runs[0])
        }
        assert list(ends.values()) == [
            RunStatus.FAILED,
            RunStatus.TIMEOUT,
            RunStatus.FAILED,
            RunStatus.CANCELLED,
        ]
        assert failed.record.error == "ZeroDivisionError: division by zero"


async def test_a_run_that_is_cancelled_from_outside_is_interrupted(engine: Any) -> None:
    env = {**engine.env, "RINGFENCE_HEARTBEAT_SECONDS": "1"}
    async with Storage.from_env(env) as storage:
        ids: list[str] = []

        async def work() -> None:
            async with storage.run(app="a", user="u") as run:
                ids.append(run.id)
                await change_run(storage.state, run.id, Cancel("enough"), storage.clock)
                await asyncio.sleep(30)

        with pytest.raises(RunCancelled):
            await work()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert (await storage.state.get(ids[0])).status is RunStatus.CANCELLED


async def test_a_second_runner_is_refused_and_the_first_goes_on(engine: Any) -> None:
    """A message that a queue delivers twice must not end the run that it began."""
    async with Storage.from_env(engine.env) as storage, Storage.from_env(engine.env) as other:
        async with storage.run("twice", "u", run_id="once-1") as run:
            for second in (storage, other):
                with pytest.raises(RunExists, match="another runner started it"):
                    async with second.run("twice", "u", run_id="once-1"):
                        pytest.fail("entered")
            assert (await storage.state.get("once-1")) == run.record
            await run.progress(50)
        ended = await storage.state.get("once-1")
        assert (ended.status, ended.error) == (RunStatus.COMPLETED, None)
        with pytest.raises(RunExists, match="COMPLETED"):
            async with other.run("twice", "u", run_id="once-1"):
                pytest.fail("entered")
        assert await storage.state.get("once-1") == ended


async def test_runners_that_race_for_a_run_are_one(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage, Storage.from_env(engine.env) as other:
        entered: list[str] = []

        async def work(which: Storage, name: str) -> None:
            async with which.run("race", "u", run_id="race-1") as run:
                entered.append(name)
                await run.progress(10)
                await asyncio.sleep(0.2)

        work_at_once = (work(other if i % 2 else storage, f"{i}") for i in range(6))
        told = await asyncio.gather(*work_at_once, return_exceptions=True)
        assert len(entered) == 1
        assert sum(isinstance(answer, RunExists) for answer in told) == 5
        record = await storage.state.get("race-1")
        assert (record.status, record.error) == (RunStatus.COMPLETED, None)


async def test_a_run_that_was_created_before_is_taken_up(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        async with storage.run("ahead", "u") as run:
            template = run.record
        ahead = replace(
            template, id="ahead-1", status=RunStatus.PENDING, version=1, progress=0,
            started_at=None, heartbeat_at=None, completed_at=None, expires_at=None,
            updated_at=template.created_at,
        )  # fmt: skip
        await storage.state.create(ahead)
        async with storage.run("ahead", "u", run_id="ahead-1") as run:
            assert run.record.status is RunStatus.RUNNING
        assert (await storage.state.get("ahead-1")).status is RunStatus.COMPLETED


async def test_a_run_id_is_taken_once(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        async with storage.run(app="a", user="u", run_id="mine/1"):
            pass
        with pytest.raises(RunExists):
            async with storage.run(app="other", user="u", run_id="mine/1"):
                pytest.fail("entered")


async def test_a_workspace_says_what_its_mode_reaches(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        workspace = await storage.open(Scope("a", "u", mode=AccessMode.READ_APP))
        assert [area.value for area in workspace.areas] == ["meta", "app"]
        with pytest.raises(UsageError, match="does not reach the area user"):
            _ = workspace.user


async def test_neighbours_are_refused_by_the_engine(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        mine = await storage.open(Scope("app1", "user", "run1"))
        theirs = await storage.open(Scope("app10", "user", "run1"))
        await theirs.app.put_async("canary", b"theirs")
        (credential,) = await storage.vend(Scope("app1", "user", "run1"))
        outside = storage.provider.open(theirs.grants[0], lambda: _lease(credential))
        with pytest.raises(PermissionDeniedError):
            await outside.get_async("canary")
        assert mine.grants != theirs.grants


def _lease(credential: Any) -> Any:
    from ringfence.providers.base import Lease

    return Lease(credential, credential.expires_at)


async def test_the_layout_is_written_once_and_binds_everybody(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        meta = storage.provider.open_bucket(BucketRole.META)
        body = bytes(await (await meta.get_async(LAYOUT_KEY)).bytes_async())
        assert json.loads(body) == {"v": 1, "id_case": "folded"}
    with pytest.raises(LayoutMismatch, match="RINGFENCE_ID_CASE=folded"):
        async with Storage.from_env({**engine.env, "RINGFENCE_ID_CASE": "exact"}):
            pytest.fail("opened")


WRONG = {
    "bucket": ({"META_BUCKET": "no-such-bucket"}, BucketMissing, "META_BUCKET"),
    "key": ({"AWS_ACCESS_KEY_ID": "AKIANOSUCHKEY0000000"}, Exception, "AWS_ACCESS_KEY_ID"),
    "secret": ({"AWS_SECRET_ACCESS_KEY": "x" * 40}, Exception, "AWS_SECRET_ACCESS_KEY"),
    "endpoint": ({"AWS_ENDPOINT": "http://127.0.0.1:1"}, StorageUnreachable, "127.0.0.1:1"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_wrong_is_said_in_words(engine: Any, name: str) -> None:
    changes, kind, words = WRONG[name]
    with pytest.raises(kind, match=words) as caught:
        async with Storage.from_env({**engine.env, **changes}):
            pytest.fail("opened")
    assert "Debug source" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


async def test_a_role_that_cannot_be_assumed_fails_the_run_before_it_starts(engine: Any) -> None:
    env = {**engine.env, "RUNTIME_ROLE_ARN": "arn:aws:iam::111122223333:role/NoSuchRole"}
    async with Storage.from_env(env) as storage:
        with pytest.raises(IssueRefused, match="RUNTIME_ROLE_ARN"):
            async with storage.run(app="unfenced", user="u"):
                pytest.fail("entered")
        record = (await storage.state.list("unfenced")).records[0]
        assert record.status is RunStatus.FAILED
        assert "RUNTIME_ROLE_ARN" in (record.error or "")


async def test_without_a_role_stores_open_and_vending_refuses(engine: Any) -> None:
    env = {name: value for name, value in engine.env.items() if name != "RUNTIME_ROLE_ARN"}
    async with Storage.from_env(env) as storage:
        await storage.provider.open_bucket(BucketRole.CONTENT).put_async("probe", b"")
        with pytest.raises(GrantNotEnforceable, match="RUNTIME_ROLE_ARN"):
            await storage.vend(Scope("a", "u"))


async def test_ids_that_need_several_credentials_work_all_the_same(engine: Any) -> None:
    """Four 250-byte ids do not fit one session policy: the workspace hides that."""
    long = Scope("a" * 250, "u" * 250, "r" * 250)
    async with Storage.from_env(engine.env) as storage:
        assert len(await storage.vend(long)) > 1
        workspace = await storage.open(long)
        for store in (workspace.app, workspace.user, workspace.tmp):
            await store.put_async("k", b"v")
            assert bytes(await (await store.get_async("k")).bytes_async()) == b"v"
            await store.delete_async("k")
        await workspace.logs.put_async("k", b"v")


async def test_large_objects_go_in_parts_and_can_be_given_up(engine: Any) -> None:
    async with Storage.from_env(engine.env) as storage:
        workspace = await storage.open(Scope("a", "u", "r"))
        body = bytes(range(256)) * 4096 * 12
        await workspace.app.put_async("large", body, chunk_size=5 << 20)
        assert bytes(await (await workspace.app.get_async("large")).bytes_async()) == body
        assert (await obstore.head_async(workspace.app, "large"))["size"] == len(body)
