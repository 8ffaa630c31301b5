"""The story, part by part: real work in two apps for two users, then an attack on the fence."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from ringfence.config import Settings, load_environment
from ringfence.demo import siege, work
from ringfence.demo.attempt import Outcome
from ringfence.demo.cast import ADA, GRACE, WEATHER
from ringfence.demo.house import House
from ringfence.demo.look import places
from ringfence.demo.parts import (
    Attacked,
    Failure,
    Part,
    Ran,
    Verdict,
    Working,
)
from ringfence.state.record import RunRecord
from ringfence.storage import Storage


async def play(house: House) -> AsyncGenerator[Part, None]:
    """Plays the story on a running engine and yields what was seen. The verdict comes last.

    Args:
        house: the engine, and where its keys are.

    Raises:
        RingfenceError: the story cannot go on; that is no verdict on the fence.
        Interrupted: the user wants it to end.
    """
    seen: list[Part] = []
    async for part in _scenes(house):
        seen.append(part)
        yield part
    yield verdict(seen)


async def _scenes(house: House) -> AsyncGenerator[Part, None]:
    yield house.ready
    # Its own variables and no others: neither the user's .env nor their AWS account has a say.
    environment = load_environment([house.ready.env_file], {})
    async with Storage(Settings.from_env(environment)) as storage:
        yield Working("Putting the data into the two apps")
        yield await work.seed(storage)
        runs = work.new_runs(storage)
        yield work.granted(storage, WEATHER, ADA, runs[WEATHER, ADA])
        yield Working("Running the same job for two apps and two users")
        ran = await work.run_examples(storage, runs, house.hidden)
        yield ran
        if ran.failures:
            return
        yield await work.read_report(storage, WEATHER, ADA)
        yield await work.read_logs(storage, _run_of(ran, ADA.id))
        yield Working("Attacking the fence")
        yield await siege.attack(storage, _run_of(ran, GRACE.id), house)
        yield places(storage, house, ran)


def _run_of(ran: Ran, user: str) -> RunRecord:
    return next(run.record for run in ran.runs if run.app is WEATHER and run.user.id == user)


def verdict(seen: Sequence[Part]) -> Verdict:
    """What all the parts come to. A story that broke off did not go well."""
    failures = [failure for part in seen for failure in getattr(part, "failures", ())]
    attacks = [part for part in seen if isinstance(part, Attacked) and part.probes]
    if not attacks and not failures:
        failures.append(Failure("The story broke off before the fence was attacked."))
    return Verdict(
        refused=sum(part.count(Outcome.REFUSED) for part in attacks),
        not_hidden=sum(part.count(Outcome.NOT_HIDDEN) for part in attacks),
        failures=tuple(failures),
    )
