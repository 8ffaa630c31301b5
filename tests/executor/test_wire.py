"""What goes to the launcher arrives there."""

from __future__ import annotations

import os
import socket

from hypothesis import given
from hypothesis import strategies as st

from ringfence.executor._launch import wire

texts = st.binary(max_size=30).map(lambda data: data.replace(b"\0", b""))
names = texts.map(lambda data: data.replace(b"=", b"")).filter(bool)


@given(
    level=st.integers(0, 3),
    required=st.booleans(),
    cwd=texts,
    hide=st.lists(texts, max_size=3),
    environment=st.dictionaries(names, texts, max_size=3),
    command=st.lists(texts, min_size=1, max_size=3),
)
def test_a_plan_arrives_as_it_was(
    *,
    level: int,
    required: bool,
    cwd: bytes,
    hide: list[bytes],
    environment: dict[bytes, bytes],
    command: list[bytes],
) -> None:
    plan = wire.Plan(
        level=level,
        required=required,
        parent=os.getpid(),
        cwd=cwd,
        hide=hide,
        environment=environment,
        command=command,
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(wire.pack(plan))
        received = wire.receive_plan(theirs.fileno())
    assert received is not None
    assert {name: getattr(received, name) for name in wire.Plan.__slots__} == {
        name: getattr(plan, name) for name in wire.Plan.__slots__
    }


def test_an_engine_that_goes_away_sends_no_plan() -> None:
    for part in (b"", b"\0\0", b"\0\0\0\xffhalf"):
        ours, theirs = socket.socketpair()
        with theirs:
            with ours:
                ours.sendall(part)
            assert wire.receive_plan(theirs.fileno()) is None
