"""The parts of the story, as values: what was seen, and which expectation it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ringfence.config import Buckets
from ringfence.demo.attempt import Kind, Outcome, Probe
from ringfence.demo.cast import App, User
from ringfence.errors import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED
from ringfence.logs import LogEntry
from ringfence.scope import Grants, Scope
from ringfence.state.record import RunRecord, RunStatus


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that did not hold. ``breach`` is when the fence itself let something pass."""

    text: str
    breach: bool = False


NONE: Final[tuple[Failure, ...]] = ()


@dataclass(frozen=True, slots=True)
class Working:
    """What is being done now, to be shown while it lasts."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReady:
    """The embedded engine."""

    version: str
    endpoint: str
    folder: Path
    env_file: Path
    buckets: Buckets
    started: bool
    """By this demo, and not before."""
    failures: tuple[Failure, ...] = NONE


@dataclass(frozen=True, slots=True)
class Seed:
    """One file that was put into an app's place."""

    app: App
    url: str
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Seeded:
    """The data that the apps were given."""

    seeds: tuple[Seed, ...]
    failures: tuple[Failure, ...] = NONE


@dataclass(frozen=True, slots=True)
class Granted:
    """What one of the scopes may touch."""

    scope: Scope
    grants: Grants
    buckets: Buckets
    language: str
    """The cloud's own language that the grants are said in."""
    failures: tuple[Failure, ...] = NONE


@dataclass(frozen=True, slots=True)
class Finished:
    """A run of the example job."""

    app: App
    user: User
    record: RunRecord
    trouble: str | None
    """What went wrong, with the end of its output."""

    @property
    def failure(self) -> Failure | None:
        """The expectation is COMPLETED."""
        if self.record.status is RunStatus.COMPLETED and self.trouble is None:
            return None
        why = f": {self.trouble}" if self.trouble else ""
        return Failure(
            f"Run {self.record.id} of {self.app.id} for {self.user.id} is {self.record.status}{why}"
        )


@dataclass(frozen=True, slots=True)
class Ran:
    """The example job, once for each app and user."""

    runs: tuple[Finished, ...]

    @property
    def failures(self) -> tuple[Failure, ...]:
        return tuple(failure for run in self.runs if (failure := run.failure))


@dataclass(frozen=True, slots=True)
class Computed:
    """A report that a run stored, read back."""

    app: App
    user: User
    url: str
    report: Mapping[str, Any]

    @property
    def failures(self) -> tuple[Failure, ...]:
        if self.report.get("days") == 365:
            return NONE
        return (Failure(f"The report at {self.url} is not about 365 days."),)


@dataclass(frozen=True, slots=True)
class LogRead:
    """A run's log, read back from the log bucket."""

    record: RunRecord
    url: str
    entries: tuple[LogEntry, ...]

    @property
    def failures(self) -> tuple[Failure, ...]:
        streams = {entry.stream for entry in self.entries}
        missing = {"stdout", "log"} - streams
        return tuple(Failure(f"The log of run {self.record.id} has no {s}.") for s in missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """The hostile run, and what became of everything that was not its own."""

    record: RunRecord
    app: App
    user: User
    probes: tuple[Probe, ...]
    others: int
    """How many objects there were outside its fence."""
    harmed: Sequence[str]
    """Those of them that were changed, removed or added, as URLs."""
    missing: Sequence[str]
    """What the operating system could not do to confine it, in sentences."""
    trouble: str | None = None

    def count(self, *outcomes: Outcome) -> int:
        """How many attacks, the controls apart, came to this."""
        return sum(
            probe.outcome in outcomes for probe in self.probes if probe.attempt.kind is not Kind.OWN
        )

    @property
    def failures(self) -> tuple[Failure, ...]:
        found = [_failure(probe) for probe in self.probes if not probe.outcome.expected]
        found += [
            Failure(f"{url} was touched from outside its fence.", True) for url in self.harmed
        ]
        if self.record.status is not RunStatus.COMPLETED or self.trouble:
            why = f": {self.trouble}" if self.trouble else "."
            found.append(Failure(f"The hostile run {self.record.id} is {self.record.status}{why}"))
        return tuple(found)


def _failure(probe: Probe) -> Failure:
    attempt = probe.attempt
    text = f"{attempt.group}: {attempt.label} ({attempt.operation}) was answered {probe.answer}"
    return Failure(f"{text}.", probe.outcome is Outcome.GOT_THROUGH)


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything lies, and the commands to look at it."""

    places: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    running: bool
    """Whether the engine goes on, or is to be started first."""
    in_the_way: tuple[str, ...] = ()
    """Variables of the real environment that would win over the engine's own."""
    failures: tuple[Failure, ...] = NONE


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of the story."""

    refused: int
    not_hidden: int
    failures: tuple[Failure, ...] = field(default=NONE)

    @property
    def breached(self) -> bool:
        """Whether anything got through the fence."""
        return any(failure.breach for failure in self.failures)

    @property
    def exit_code(self) -> int:
        """0 where every expectation held, 3 for a broken fence, else 1."""
        if self.breached:
            return EXIT_REFUSED
        return EXIT_FAILED if self.failures else EXIT_DONE

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.breached:
            return "THE FENCE IS BROKEN: something got through."
        if self.failures:
            count = len(self.failures)
            what = "An expectation" if count == 1 else f"{count} expectations"
            return f"{what} did not hold; nothing got through the fence."
        made = self.refused + self.not_hidden
        if self.not_hidden:
            return (
                f"The store's fence held: {made} attacks, {self.refused} refused; but "
                f"{self.not_hidden} files cannot be hidden on this system."
            )
        return f"The fence held: {made} attacks, {made} refused, and everything else worked."


Part = (
    Working
    | EngineReady
    | Seeded
    | Granted
    | Ran
    | Computed
    | LogRead
    | Attacked
    | Places
    | Verdict
)
