"""Sessions end after five minutes: who renews them in time, and what is seen when nobody does."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from ringfence.layout import BucketRole
from ringfence.scope import Scope
from tests.express.installation import Express
from tests.express.local_aws import EXPRESS, LocalAws
from tests.isolation.wire import Keys

pytestmark = pytest.mark.engine

Make = Callable[..., Express]

SESSIONS: Final = 22
STEP: Final = timedelta(seconds=245)
"""obstore makes a new session four minutes after the last, by its own monotonic clock."""

RUN: Final = """
import sys
from datetime import UTC, datetime
from ringfence.config import Settings
from ringfence.scope import Scope
from ringfence.storage import Storage
import asyncio

async def main():
    async with Storage.from_env() as storage:
        async with storage.run(app=sys.argv[1], user="u", run_id=sys.argv[2]) as run:
            for line in sys.stdin:
                await run.app.put_async("heartbeat", line.encode())
                run.log.info("beat")
                print(line.strip(), flush=True)

asyncio.run(main())
"""


@pytest.fixture(scope="session")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that sets the clock of a process forward."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(source)]
    subprocess.run(command, check=True, timeout=60)
    return made


@contextmanager
def running(
    installation: Express, scope: Scope, clock: Path, offset: Path
) -> Iterator[subprocess.Popen[str]]:
    env = {
        **installation.env,
        **installation.aws.proxied(),
        "PATH": os.environ["PATH"],
        "LD_PRELOAD": str(clock),
        "CLOCK_OFFSET": str(offset),
    }
    command = [sys.executable, "-c", RUN, scope.app_id, scope.run_id or ""]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_run_of_ninety_minutes_renews_every_session(
    express: Make, scope: Scope, aws: LocalAws, clock: Path, tmp_path: Path
) -> None:
    """A real run through obstore, whose clock is set forward: no error reaches it.

    Its credentials of STS are renewed on the way too.
    """
    installation = express("meta content", access_points=True)
    offset = tmp_path / "offset"
    offset.write_bytes(bytes(8))
    sessions, roles = len(aws.zonal.created), len(aws.directory.assumed)
    with (
        offset.open("r+b") as file,
        mmap.mmap(file.fileno(), 8) as ahead,
        running(installation, scope, clock, offset) as child,
    ):
        assert child.stdin
        assert child.stdout
        try:
            for number in range(SESSIONS):
                child.stdin.write(f"{number}\n")
                child.stdin.flush()
                if child.stdout.readline() != f"{number}\n":
                    _, errors = child.communicate(timeout=30)
                    pytest.fail(f"the run ended at {number}: {errors[-2000:]}")
                aws.skew += STEP
                ahead[:] = struct.pack("q", int(aws.skew.total_seconds()) * 10**9)
            _, errors = child.communicate(timeout=60)
        finally:
            aws.skew = timedelta(0)
    assert child.returncode == 0, errors
    made = [name for name, _ in aws.zonal.created[sessions:]]
    points = {name for name in made if name.endswith("--xa-s3")}
    assert max(made.count(point) for point in points) > 20
    assert made.count(EXPRESS.meta) >= 2, "the state store's, for the heartbeats of the run"
    assert len(aws.directory.assumed) - roles >= 2


def test_a_session_that_ended_is_refused(express: Make, aws: LocalAws, scope: Scope) -> None:
    installation = express("meta content", access_points=True)
    credential = installation.credential(scope)
    wire = installation.wire(credential)
    point = str(installation.provider.address(credential.grants[0])["bucket"])
    session = wire.session(point)
    assert isinstance(session, Keys)
    at = f"/{credential.grants[0].prefix}x"
    aws.skew = timedelta(minutes=4, seconds=50)
    try:
        assert wire.by_session("PUT", point, at, b"1", session=session).status == 200
        aws.skew = timedelta(minutes=5, seconds=1)
        reply = wire.by_session("PUT", point, at, b"2", session=session)
        assert (reply.status, reply.code) == (400, "ExpiredToken")
        with aws.without("session's end"):
            assert wire.by_session("PUT", point, at, b"3", session=session).status == 200
    finally:
        aws.skew = timedelta(0)


async def test_an_inactive_bucket_is_waited_for(express: Make, tag: str, aws: LocalAws) -> None:
    """503 for a while: obstore tries again by itself."""
    import asyncio

    store = express("meta").provider.open_bucket(BucketRole.META)
    aws.zonal.inactive.add(EXPRESS.meta)
    try:
        putting = asyncio.create_task(store.put_async(f"{tag}/x", b"1"))
        await asyncio.sleep(0.3)
        assert not putting.done()
        aws.zonal.inactive.clear()
        await putting
    finally:
        aws.zonal.inactive.clear()
