"""The hostile part: one execution under its fence, trying everything in the plan."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ringfence.config import AwsSettings
from ringfence.demo.attacks import plan
from ringfence.demo.attempt import (
    NO_ANSWER,
    Answer,
    Attempt,
    Probe,
    Target,
    as_argument,
    judge,
    place,
)
from ringfence.demo.cast import ADA, WEATHER
from ringfence.demo.house import House
from ringfence.demo.parts import Attacked
from ringfence.demo.work import execute, log_of, stored_log, trouble
from ringfence.executor.run_command import Outcome
from ringfence.layout import BucketRole, encode_id, open_run_key, run_record_key
from ringfence.logs import LogEntry
from ringfence.providers._obstore import translating
from ringfence.scope import Area
from ringfence.state.record import RunRecord
from ringfence.storage import Storage, new_run_id

HOSTILE: Final = (sys.executable, "-P", "-m", "ringfence.demo.hostile")

Objects = Mapping[str, tuple[object, ...]]
"""URL to what would change if the object did."""


async def attack(storage: Storage, neighbour: RunRecord, house: House) -> Attacked:
    """Runs the hostile job and looks at what is left of everyone else's objects.

    Args:
        storage: the installation that is attacked.
        neighbour: a run of the same app for the other user, whose log is reached for.
        house: the engine's doors and key files.
    """
    target = await _target(storage, neighbour, house)
    attempts = plan(target)
    before = await _others(storage, target)
    command = (*HOSTILE, as_argument(attempts))
    outcome = await execute(storage, command, WEATHER, ADA, hide=house.hidden, run_id=target.run_id)
    after = await _others(storage, target)
    entries = await log_of(storage, outcome.record)
    confinement = outcome.ending.confinement
    return Attacked(
        record=outcome.record,
        app=WEATHER,
        user=ADA,
        probes=tuple(_probes(attempts, entries, outcome)),
        others=len(before),
        harmed=sorted(url for url in {*before, *after} if before.get(url) != after.get(url)),
        missing=confinement.sentences() if confinement else (),
        trouble=await trouble(storage, outcome),
    )


async def _target(storage: Storage, neighbour: RunRecord, house: House) -> Target:
    cloud = storage.settings.cloud
    role = cloud.runtime_role_arn if isinstance(cloud, AwsSettings) else None
    return Target(
        buckets=storage.settings.buckets,
        id_case=storage.settings.id_case,
        role_arn=role or "",
        run_id=new_run_id(storage.clock()),
        neighbour_run=neighbour.id,
        neighbour_log=await stored_log(storage, neighbour),
        doors=house.doors,
        hidden_doors=house.hidden_doors,
        files=house.key_files,
        runner=os.getpid(),
    )


def _probes(
    attempts: Sequence[Attempt], entries: Iterable[LogEntry], outcome: Outcome
) -> Iterable[Probe]:
    confinement = outcome.ending.confinement
    hiding = confinement is not None and confinement.own_files
    answers = dict(map(_answer, filter(None, map(_row, entries))))
    for index, attempt in enumerate(attempts):
        answer = answers.get(index, NO_ANSWER)
        yield Probe(attempt, answer, judge(attempt, answer, hiding=hiding))


def _row(entry: LogEntry) -> dict[str, Any] | None:
    if entry.stream != "stdout" or not entry.text.startswith('{"attempt"'):
        return None
    row: dict[str, Any] = json.loads(entry.text)
    return row


def _answer(row: Mapping[str, Any]) -> tuple[int, Answer]:
    return row["attempt"], Answer(row["status"], row["code"])


async def _others(storage: Storage, target: Target) -> Objects:
    """Every object in the three buckets that the hostile run may not write, seen from outside."""
    run = encode_id(target.run_id, target.id_case)
    found: dict[str, tuple[object, ...]] = {}
    for role, own in {
        BucketRole.CONTENT: tuple(place(target, a).prefix for a in (Area.APP, Area.USER, Area.TMP)),
        BucketRole.LOG: (place(target, Area.LOGS).prefix,),
        # Its record is written by its runner; that it cannot do so itself is one of the attempts.
        BucketRole.META: (run_record_key(run), open_run_key(run)),
    }.items():
        bucket = target.buckets.of(role)
        for path, state in await _objects(storage, role):
            if not path.startswith(own) and not path.endswith(f"-{run}"):  # its entry in a list
                found[f"s3://{bucket}/{path}"] = state
    return found


async def _objects(storage: Storage, role: BucketRole) -> list[tuple[str, tuple[object, ...]]]:
    bucket = storage.settings.buckets.of(role)
    with translating("list the bucket", f"{role.value.upper()}_BUCKET {bucket}"):
        return [
            (meta["path"], (meta["size"], meta["e_tag"], meta["last_modified"]))
            async for batch in storage.provider.open_bucket(role).list()
            for meta in batch
        ]
