"""The story for programs: one document, without secrets."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

from ringfence.demo import parts
from ringfence.demo.attempt import Probe
from ringfence.scope import Permission
from ringfence.state.record import RunRecord


def document(seen: Sequence[parts.Part]) -> dict[str, Any]:
    """Everything that was seen. A story that broke off lacks its later parts."""
    whole: dict[str, Any] = {}
    for part in seen:
        whole |= _part(part)
    return whole


@singledispatch
def _part(_: object) -> dict[str, Any]:
    return {}


@_part.register
def _(part: parts.EngineReady) -> dict[str, Any]:
    buckets = part.buckets
    engine = {
        "version": part.version,
        "endpoint": part.endpoint,
        "folder": str(part.folder),
        "env_file": str(part.env_file),
        "buckets": {"meta": buckets.meta, "content": buckets.content, "log": buckets.log},
        "started": part.started,
    }
    return {"engine": engine}


@_part.register
def _(part: parts.Seeded) -> dict[str, Any]:
    rows = [
        {"app": seed.app.id, "url": seed.url, "rows": seed.rows, "bytes": seed.size}
        for seed in part.seeds
    ]
    return {"data": rows}


@_part.register
def _(part: parts.Granted) -> dict[str, Any]:
    scope = part.scope
    rows = [
        {
            "area": grant.area.value,
            "bucket": part.buckets.of(grant.bucket),
            "prefix": grant.prefix,
            "permissions": [p.value for p in Permission if p in grant.permissions],
        }
        for grant in part.grants
    ]
    whose = {"app": scope.app_id, "user": scope.user_id, "mode": scope.mode.value}
    return {"scope": whose, "grants": rows}


@_part.register
def _(part: parts.Ran) -> dict[str, Any]:
    return {"runs": [_record(run.record) for run in part.runs]}


def _record(record: RunRecord) -> dict[str, Any]:
    times = {
        name: moment and moment.isoformat()
        for name, moment in (("started_at", record.started_at), ("ended_at", record.completed_at))
    }
    return {
        "run": record.id,
        "app": record.app_id,
        "user": record.user_id,
        "mode": record.mode.value,
        "status": record.status.value,
        "exit_code": record.exit_code,
        "error": record.error,
        **times,
    }


@_part.register
def _(part: parts.Computed) -> dict[str, Any]:
    return {"report": {"url": part.url, "content": dict(part.report)}}


@_part.register
def _(part: parts.LogRead) -> dict[str, Any]:
    entries = [entry.to_json() for entry in part.entries]
    return {"log": {"run": part.record.id, "url": part.url, "entries": entries}}


@_part.register
def _(part: parts.Attacked) -> dict[str, Any]:
    attack = {
        "run": _record(part.record),
        "attempts": [_probe(probe) for probe in part.probes],
        "objects_outside": part.others,
        "harmed": list(part.harmed),
        "not_confined": list(part.missing),
    }
    return {"attack": attack}


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        "group": probe.attempt.group,
        "attempt": probe.attempt.label,
        "operation": probe.attempt.operation,
        "kind": probe.attempt.kind.value,
        "status": probe.answer.status,
        "code": probe.answer.code,
        "outcome": probe.outcome.value,
    }


@_part.register
def _(part: parts.Places) -> dict[str, Any]:
    return {
        "places": dict(part.places),
        "commands": list(part.commands),
        "running": part.running,
        "in_the_way": list(part.in_the_way),
    }


@_part.register
def _(part: parts.Verdict) -> dict[str, Any]:
    verdict = {
        "held": not part.breached,
        "exit_code": part.exit_code,
        "sentence": part.sentence,
        "refused": part.refused,
        "not_hidden": part.not_hidden,
        "failures": [{"text": f.text, "breach": f.breach} for f in part.failures],
    }
    return {"verdict": verdict}
