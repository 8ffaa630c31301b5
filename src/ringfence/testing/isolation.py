"""The isolation matrix: attacks the fence from inside a session, whatever the cloud, and reports.

Every mode, area and operation, at the scope's own places and at every neighbour's. What is to
happen is computed from the grants (:func:`ringfence.scope.grants`) and never from a policy, so the
same probes hold for every provider. Three things are checked:

* the answer: what is not granted meets the engine's own refusal (HTTP 403, and its code for
  "access denied"; 404, 400, a time-out or a broken connection are *not* refusals), and what is
  granted works;
* what came back: no byte of a canary that was planted in another's place, no key of another's in
  a listing;
* what lies there afterwards, seen with the owner's keys: nothing of another's is new, overwritten
  or gone, its uploads have the parts they had, and no canary was copied into an own place.

A provider's author writes two small classes, one for the tenant and one for the owner, and calls::

    from ringfence.testing.isolation import attack, neighbours_of, probes

    class MyClient:                                   # a Client: one fenced credential, one SDK
        name = "azure-storage-blob"
        operations = frozenset(Operation) - {Operation.LIST_V1, Operation.LIST_V1_LEVEL}
        def attempt(self, probe, ground): ...         # -> Answer(outcome, said, body, keys)

    class MyOwner: ...                                # an Owner: the installation's own keys

    @pytest.mark.parametrize("mode", AccessMode)
    def test_matrix(mode, provider, owner):
        scope = Scope("app1", "user", "run1", mode)
        for credential in provider.issue(grants(scope, case), session="matrix"):
            held = credential.grants                  # all, or a part where the cloud splits
            wanted = probes(scope, neighbours_of(scope), case, held=held)
            attack(MyClient(credential), owner, wanted, held).check()

* ``attempt`` maps its cloud's answer strictly. What it raises counts as a failure, never as a
  refusal. It must send the key as it is: SDKs that normalise paths hide what an attacker would
  send, so the first client of a cloud is a raw one.
* Where a cloud holds the prefix but not the permissions inside it (R2's API has no write-only),
  pass the areas whose :class:`~ringfence.providers.base.Enforcement` is coarser as ``coarse``: own
  places may then answer either way, all else stays strict.
* Where the engine ignores case, set the installation to folded ids. A key that no id encodes to,
  but that differs from an own one in case only, is then nobody's: ``harmless``.
* Not probed, since clouds answer differently and harmlessly: reading a missing key in an own place
  (AWS says 403 without ``s3:ListBucket``, 404 with it).
* Give each attack ids of its own where buckets are shared: other work at the same places shows up
  as changes. Planted objects and uploads are removed at the end; what was there already is kept.

Run ``attack`` against test installations: a broken fence lets the probes do what they try.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from ringfence.layout import IdCase
from ringfence.scope import Area, Grants, Permission, Scope, grants
from ringfence.testing._isolation_ground import Field
from ringfence.testing._isolation_judge import Judge, Violation
from ringfence.testing._isolation_model import (
    COPIES,
    LISTINGS,
    NEEDS,
    UPLOADS,
    Answer,
    Client,
    Expected,
    Ground,
    Operation,
    Outcome,
    Owner,
    Place,
    Probe,
    Upload,
)
from ringfence.testing._isolation_probes import Neighbour, Plan, areas, may, neighbours_of

__all__ = [
    "COPIES",
    "LISTINGS",
    "NEEDS",
    "UPLOADS",
    "Answer",
    "Client",
    "Expected",
    "Ground",
    "Neighbour",
    "Operation",
    "Outcome",
    "Owner",
    "Place",
    "Probe",
    "Report",
    "Upload",
    "Violation",
    "areas",
    "attack",
    "may",
    "neighbours_of",
    "probes",
]

DEFAULT_WORKERS: Final = 8
MOST_ROWS: Final = 60


def probes(
    scope: Scope,
    neighbours: Iterable[Neighbour],
    id_case: IdCase,
    *,
    held: Grants | None = None,
    coarse: frozenset[Area] = frozenset(),
    thorough: bool = False,
) -> Iterator[Probe]:
    """Every probe of one credential, each pair of operation and place once.

    Args:
        neighbours: whose places to try; :func:`neighbours_of` knows the likely ones.
        id_case: how the installation encodes ids.
        held: what the credential covers, by default all that the scope is granted.
        coarse: areas inside whose own prefix the cloud cannot tell the permissions apart.
        thorough: every operation at every neighbour's place, not at the nearest ones only.
    """
    held = grants(scope, id_case) if held is None else held
    return Plan(scope, tuple(neighbours), id_case, held, coarse, thorough).probes()


@dataclass(frozen=True, slots=True)
class Report:
    """What an attack found. ``skipped`` counts the probes whose operation the client lacks."""

    client: str
    counts: Mapping[Expected, int]
    skipped: int
    violations: tuple[Violation, ...]

    @property
    def probes(self) -> int:
        """How many were tried."""
        return sum(self.counts.values())

    def check(self) -> None:
        """Raises AssertionError with the table, if there are violations."""
        if self.violations:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {expected}" for expected, count in self.counts.items())
        head = f"{self.client}: {self.probes} probes ({counts}), {self.skipped} skipped"
        bad = Counter(violation.what for violation in self.violations)
        found = ", ".join(f"{count} {what}" for what, count in bad.most_common()) or "no violation"
        return "\n".join((f"{head}: {found}", *self._rows()))

    def _rows(self) -> Iterator[str]:
        shown = self.violations[:MOST_ROWS]
        rows = [(v.what, str(v.probe or ""), v.found) for v in shown]
        widths = [max(map(len, column), default=0) for column in zip(*rows, strict=True)]
        for row in rows:
            yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        if len(self.violations) > MOST_ROWS:
            yield f"... and {len(self.violations) - MOST_ROWS} more"


def attack(
    client: Client,
    owner: Owner,
    wanted: Iterable[Probe],
    held: Grants,
    *,
    workers: int = DEFAULT_WORKERS,
) -> Report:
    """Lays the ground, tries every probe, and looks at what is there afterwards. Blocking.

    Args:
        client: the fenced tenant.
        owner: the installation itself, to plant canaries and to look at the truth.
        wanted: the probes, of one credential.
        held: what that credential covers.
        workers: threads that try probes at the same time.

    Raises:
        Exception: whatever the owner raises: without its ground an attack says nothing.
    """
    every = tuple(wanted)
    usable = (probe for probe in every if probe.operation in client.operations)
    # First those that read, then those that write, then those that delete: what got through of a
    # later kind would hide what one of an earlier kind did.
    tried = tuple(sorted(usable, key=_wave))
    with ThreadPoolExecutor(workers, thread_name_prefix="isolation") as pool:
        field = Field(owner)
        try:
            field.lay(tried, pool)
            judge = Judge(held, field)
            answers: list[Answer] = []
            for _, wave in groupby(tried, key=_wave):
                answers += pool.map(lambda p: _attempt(client, p, field.ground(p)), wave)
            violations = [
                violation
                for probe, answer in zip(tried, answers, strict=True)
                for violation in judge.answer(probe, answer)
            ]
            violations += judge.aftermath(tried, pool)
        finally:
            field.clear(tried)
    counts = Counter(probe.expected for probe in tried)
    return Report(client.name, counts, len(every) - len(tried), tuple(violations))


def _wave(probe: Probe) -> int:
    needed = NEEDS[probe.operation]
    return 2 if needed is Permission.DELETE else 1 if needed is Permission.WRITE else 0


def _attempt(client: Client, probe: Probe, ground: Ground) -> Answer:
    try:
        return client.attempt(probe, ground)
    except Exception as error:  # noqa: BLE001 - a client's SDK may raise anything
        return Answer(Outcome.FAILED, f"{type(error).__name__}: {error}"[:200])
