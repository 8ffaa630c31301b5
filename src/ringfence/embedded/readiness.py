"""Whether the engine really answers, whether its doors are closed, and its buckets."""

from __future__ import annotations

import http.client
import time
from typing import Final

from ringfence.embedded import doorlist, process
from ringfence.embedded.client import Client, send
from ringfence.embedded.configfiles import MASTER_ARN, ROLE_ARN
from ringfence.embedded.keys import Keys
from ringfence.embedded.listening import listening
from ringfence.embedded.model import BUCKETS, Port, Ports
from ringfence.embedded.statedir import POLL_SECONDS, StateDir
from ringfence.errors import EngineError
from ringfence.layout import EXECUTION_PREFIX, BucketRole

_NO_ANSWER: Final = (OSError, http.client.HTTPException)
_NOTHING: Final = (
    '{"Version":"2012-10-17","Statement":'
    '[{"Effect":"Deny","Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}'
)
_PROBE: Final = f"{EXECUTION_PREFIX}engine-probe"
"""Where no execution may look."""
_DEFECT: Final = "This is a defect; please report it with the version of SeaweedFS."
_EXISTS: Final = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


class NotReady(Exception):
    """It died, or did not answer in time. The message says which."""


class DoorOpen(EngineError):
    """Somebody without keys could get in."""


class PortTaken(EngineError):
    """Another program took a port between the look at it and its use."""


def wait(state: StateDir, keys: Keys, ports: Ports, deadline: float) -> None:
    """Waits until a signed request and ``AssumeRole`` are answered.

    Raises:
        NotReady: the engine died, or the time is over.
        EngineError: it answers, but as somebody else.
    """
    while process.is_alive(state):
        if _accepts(ports[Port.S3]) and answers(keys, ports):
            return
        if time.monotonic() > deadline:
            raise NotReady("it did not answer in time")
        time.sleep(POLL_SECONDS)
    raise NotReady("its process has ended")


def _accepts(port: int) -> bool:
    """Whether anything answers: a plain question, which costs no import."""
    try:
        send(port, "GET", "/healthz", timeout=1.0)
    except _NO_ANSWER:
        return False
    return True


def answers(keys: Keys, ports: Ports) -> bool:
    """Whether signed requests to S3 and to STS are answered, and as the master of this engine.

    Raises:
        EngineError: the engine knows the key as another principal than the role trusts.
    """
    client = Client(ports[Port.S3], keys.master)
    try:
        caller = client.caller()
        if caller is None:
            return False
        if caller != MASTER_ARN:
            raise EngineError(
                f"The engine knows its master as {caller}, and the role trusts {MASTER_ARN}.",
                hint="Is this version of SeaweedFS another than the one that is pinned?",
            )
        return client.assume(ROLE_ARN, _NOTHING).status == 200
    except _NO_ANSWER:
        return False


def make_buckets(keys: Keys, ports: Ports, deadline: float) -> None:
    """Makes the buckets that are missing, and sees that the master's key opens each.

    Raises:
        NotReady: the engine stopped answering.
        EngineError: one cannot be made or opened.
    """
    master = Client(ports[Port.S3], keys.master)
    setup = Client(ports[Port.S3], keys.setup)
    try:
        for bucket in BUCKETS.values():
            if master.has(bucket).status != 200:
                _make_bucket(setup, bucket)
                _wait_for_bucket(master, bucket, deadline)
    except _NO_ANSWER as error:
        raise NotReady(f"it stopped answering ({type(error).__name__})") from error


def _make_bucket(setup: Client, bucket: str) -> None:
    answer = setup.create(bucket)
    if answer.status != 200 and answer.code not in _EXISTS:
        raise EngineError(f"The engine would not make the bucket {bucket} ({answer.code}).")


def _wait_for_bucket(master: Client, bucket: str, deadline: float) -> None:
    while (answer := master.has(bucket)).status != 200:
        if time.monotonic() > deadline:
            raise EngineError(f"The engine does not open the bucket {bucket} ({answer.code}).")
        time.sleep(POLL_SECONDS)


def require_objects(keys: Keys, ports: Ports, deadline: float) -> None:
    """Stores an object and reads it back: the part that keeps them is the last to be ready.

    Raises:
        NotReady: that did not work in time, or the engine stopped answering.
    """
    client = Client(ports[Port.S3], keys.master)
    try:
        while not client.keeps(BUCKETS[BucketRole.META], _PROBE):
            if time.monotonic() > deadline:
                raise NotReady("it did not store an object in time")
            time.sleep(POLL_SECONDS)
    except _NO_ANSWER as error:
        raise NotReady(f"it stopped answering ({type(error).__name__})") from error


def require_closed(state: StateDir, ports: Ports) -> None:
    """Tries every door, and looks for doors that nobody knows.

    Raises:
        DoorOpen: one is open. The engine must not go on.
        NotReady: it does not listen where it should.
    """
    known = tuple(doorlist.expected(state, ports))
    for door in known:
        if not doorlist.is_closed(door):
            raise DoorOpen(
                f"The engine's {door.name} ({door.address}) answers without keys, so the fence "
                "has a way round; the engine was stopped.",
                hint=_DEFECT,
            )
    pid = process.pid_of(state)
    found = listening(pid) if pid is not None else None
    if found is None:  # this system does not tell
        return
    addresses = {door.address for door in known}
    if found - addresses:
        unknown = ", ".join(sorted(found - addresses))
        raise DoorOpen(
            f"The engine listens where it should not ({unknown}); it was stopped.", hint=_DEFECT
        )
    if addresses - found:
        raise NotReady(f"it does not listen on {', '.join(sorted(addresses - found))}")
