"""One attempt of the hostile job, what there is to attack, and what an answer means."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ringfence.config import Buckets
from ringfence.demo.cast import ADA, WEATHER
from ringfence.layout import IdCase
from ringfence.scope import AccessMode, Area, Scope, grants


class Kind(StrEnum):
    """Whose answer counts."""

    OWN = "own"
    """The engine's, and it must be yes: otherwise a dead engine would look like a fence."""
    STORAGE = "storage"
    """The engine's, and it must be a 403 of its own."""
    PORT = "port"
    """Another port or socket of the engine: 401, 403, or TLS that wants a certificate."""
    PROCESS = "process"
    """The kernel's, about another process: no permission, or no such process."""
    HIDDEN = "hidden"
    """The kernel's, about what was hidden: no permission, or no such file. Where a system has no
    means to hide a socket, the 403 or 404 of what listens there."""


class Outcome(StrEnum):
    """What came of an attempt."""

    WORKED = "worked"
    REFUSED = "refused"
    GOT_THROUGH = "GOT THROUGH"
    """The fence is broken."""
    NOT_HIDDEN = "not hidden"
    """It got through to what this operating system has no means to hide."""
    UNCLEAR = "unclear"
    """Neither yes nor a refusal: an error, a time-out, no answer."""

    @property
    def expected(self) -> bool:
        """Whether the demo may go well with it."""
        return self in {Outcome.WORKED, Outcome.REFUSED, Outcome.NOT_HIDDEN}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of the hostile job. ``call`` is what it is sent, as JSON."""

    group: str
    label: str
    operation: str
    kind: Kind
    call: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said: an HTTP status where there was one, and its own error code."""

    status: int | None
    code: str

    def __str__(self) -> str:
        return self.code if self.status is None else f"{self.status} {self.code}"


NO_ANSWER: Final = Answer(None, "no answer")


@dataclass(frozen=True, slots=True)
class Probe:
    """An attempt and what came of it."""

    attempt: Attempt
    answer: Answer
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What there is to attack, and from where."""

    buckets: Buckets
    id_case: IdCase
    role_arn: str
    run_id: str
    """The hostile job's own run."""
    neighbour_run: str
    """A run of the same app for the other user."""
    neighbour_log: str
    """The key of a stored part of that run's log."""
    doors: Mapping[str, str]
    """The engine's ports and sockets besides S3's: name to ``host:port`` or path."""
    hidden_doors: Mapping[str, str]
    """Sockets of the engine in a folder that executions must not reach."""
    files: Mapping[str, Path]
    """Files that hold keys, by what they are."""
    runner: int
    """The process that runs the executions and has the installation's keys in memory."""


def judge(attempt: Attempt, answer: Answer, *, hiding: bool) -> Outcome:
    """What an answer means. A refusal is the other side's own no, never "some error".

    Args:
        hiding: whether this system could hide files from the hostile job.
    """
    yes = answer.code == "OK" if answer.status is None else 200 <= answer.status < 300
    match attempt.kind:
        case Kind.OWN:
            return Outcome.WORKED if yes else Outcome.UNCLEAR
        case Kind.STORAGE:
            no = answer.status == 403
        case Kind.PORT:
            no = answer.status in {401, 403} or answer.code == NEEDS_CERTIFICATE
        case Kind.PROCESS:
            no = answer.code in _KERNEL_REFUSALS
        case Kind.HIDDEN:
            no = answer.code in _KERNEL_REFUSALS or answer.status in {403, 404}
            if yes and not hiding:
                return Outcome.NOT_HIDDEN
    if no:
        return Outcome.REFUSED
    return Outcome.GOT_THROUGH if yes else Outcome.UNCLEAR


NEEDS_CERTIFICATE: Final = "TLS certificate required"
_KERNEL_REFUSALS: Final = frozenset({"EACCES", "EPERM", "ENOENT"})


def as_argument(attempts: Sequence[Attempt]) -> str:
    """A plan as the hostile job's argument."""
    return json.dumps([attempt.call for attempt in attempts])


@dataclass(frozen=True, slots=True)
class Place:
    """An area of some scope: where objects lie, in the words of an S3 call."""

    bucket: str
    prefix: str

    def at(self, name: str) -> dict[str, str]:
        """One object."""
        return {"Bucket": self.bucket, "Key": f"{self.prefix}{name}"}

    def listing(self) -> dict[str, str]:
        """All of it."""
        return {"Bucket": self.bucket, "Prefix": self.prefix}


def place(target: Target, area: Area, *, app: str = WEATHER.id, user: str = ADA.id) -> Place:
    """Where an area of a scope lies; by default of the hostile job's own."""
    mode = AccessMode.EDIT_APP if area is Area.META else AccessMode.INVOKE_WRITE
    granted = grants(Scope(app, user, target.run_id, mode), target.id_case)
    grant = next(grant for grant in granted if grant.area is area)
    return Place(target.buckets.of(grant.bucket), grant.prefix)


@dataclass(frozen=True, slots=True)
class Group:
    """Attempts of one kind on one thing."""

    name: str
    kind: Kind = Kind.STORAGE

    def s3(self, label: str, operation: str, **parameters: Any) -> Attempt:
        """A call of S3 with the execution's own credentials."""
        return self._sdk(label, operation, "sdk", "s3", parameters)

    def sts(self, label: str, operation: str, **parameters: Any) -> Attempt:
        """A call of STS with the execution's own credentials."""
        return self._sdk(label, operation, "sdk", "sts", parameters)

    def unsigned(self, label: str, operation: str, **parameters: Any) -> Attempt:
        """A call of S3 without credentials."""
        return self._sdk(label, operation, "unsigned", "s3", parameters)

    def other(self, label: str, operation: str, way: str, **parameters: Any) -> Attempt:
        """Anything but a call of the SDK."""
        return Attempt(self.name, label, operation, self.kind, {"way": way, **parameters})

    def _sdk(
        self, label: str, operation: str, way: str, service: str, parameters: Mapping[str, Any]
    ) -> Attempt:
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        call = {"way": way, "service": service, "method": method, **parameters}
        return Attempt(self.name, label, operation, self.kind, call)
