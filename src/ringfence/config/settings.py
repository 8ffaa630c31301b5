"""``Settings``: everything the environment says, checked and typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self, TypedDict, TypeVar

from ringfence.config.buckets import check_shared_names, read_buckets
from ringfence.config.clouds import read_cloud
from ringfence.config.environment import (
    FROM_DEFAULT,
    Frozen,
    process_environment,
    source_of,
)
from ringfence.config.model import Buckets, StateBackend
from ringfence.config.names import is_unknown_setting, meant_by, near_misses
from ringfence.config.reader import Reader, applies, one_of
from ringfence.config.state import read_state
from ringfence.config.variables import BY_NAME, ORDER, VARIABLES, ProviderName
from ringfence.errors import ConfigError, Problem
from ringfence.layout import IdCase
from ringfence.secret import Secret

if TYPE_CHECKING:
    from ringfence.config.clouds import CloudSettings

_PROVIDER: Final = "STORAGE_PROVIDER"
_ALIASES: Final = {"s3": "aws", "minio": "aws", "blob": "azure", "gcs": "gcp"}
_LEASE_IN_HEARTBEATS: Final = 3
_MISSING: Final = (None, "empty")

_Settings = TypeVar("_Settings", bound="Settings")


class Sources(Frozen):
    """Where each variable came from."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """One installation's settings. Immutable; shows no secret.

    ``state_ttl`` is how long run records are kept, None for ever. ``credential_ttl`` is the life
    asked for a credential, and ``cache_share`` the share of it for which it is served from the
    cache. Of ``database_url`` and ``redis_url`` only the chosen backend's is read, and may be
    None still. ``sources`` says where each variable came from: ``environment``, the path of an
    env file, or ``default``.
    """

    provider: ProviderName
    buckets: Buckets
    cloud: CloudSettings
    state_backend: StateBackend = StateBackend.POSTGRES
    database_url: Secret | None = None
    redis_url: Secret | None = None
    state_ttl: timedelta | None = timedelta(days=30)
    id_case: IdCase = IdCase.EXACT
    strict: bool = False
    credential_ttl: timedelta = timedelta(hours=1)
    cache_share: float = 0.5
    heartbeat: timedelta = timedelta(seconds=10)
    sources: Mapping[str, str] = field(
        default_factory=lambda: Sources({}), compare=False, repr=False
    )

    @property
    def lease(self) -> timedelta:
        """How long after its last heartbeat a run counts as alive: three heartbeats."""
        return _LEASE_IN_HEARTBEATS * self.heartbeat

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Reads settings from a mapping, by default the process's environment. Pure otherwise.

        Env files are read by :func:`load_environment`, whose result goes in here.

        Raises:
            ConfigError: with everything that is wrong, in the order of the documentation.
        """
        reader = Reader(process_environment() if env is None else env)
        settings = read(cls, reader)
        problems = problems_of(reader)
        if settings is None or problems:
            raise ConfigError(problems)
        return settings


def read(cls: type[_Settings], reader: Reader) -> _Settings | None:
    """Reads everything. Where a problem was reported, what it returns is not to be used."""
    reader.provider = provider = read_provider(reader)
    state = read_state(reader)
    own = _read_own(reader)
    _refuse_unknown(reader)
    if provider is None:
        _check_shared(reader)
        return None
    buckets, express = read_buckets(reader, provider)
    return cls(
        provider,
        buckets,
        read_cloud(reader, provider, express),
        state_backend=state.backend,
        database_url=state.database_url,
        redis_url=state.redis_url,
        state_ttl=state.ttl,
        sources=_sources(reader.env, provider),
        **own,
    )


def read_provider(reader: Reader) -> ProviderName | None:
    """The provider that STORAGE_PROVIDER names, or None where it names none."""
    value = reader.text(_PROVIDER)
    name = value.lower() if value else ""
    if name == "minio" and not reader.text("AWS_ENDPOINT"):
        reader.missing("AWS_ENDPOINT", "the URL of MinIO, since STORAGE_PROVIDER is minio")
    try:
        return ProviderName(_ALIASES.get(name, name))
    except ValueError:
        if value is not None:
            reader.problem(_PROVIDER, one_of(ProviderName), "S3-compatible engines are aws.")
        return None


def _check_shared(reader: Reader) -> None:
    """What every provider has in common, and booleans, so that one slip hides no others."""
    check_shared_names(reader)
    for variable in VARIABLES:
        if variable.default in {"true", "false"}:
            reader.boolean(variable.name)


class _Own(TypedDict):
    id_case: IdCase
    strict: bool
    credential_ttl: timedelta
    cache_share: float
    heartbeat: timedelta


def _read_own(reader: Reader) -> _Own:
    ttl = reader.whole("RINGFENCE_CREDENTIAL_TTL", 900, 43_200, "seconds")
    heartbeat = reader.whole("RINGFENCE_HEARTBEAT_SECONDS", 1, 300, "seconds")
    return {
        "id_case": reader.choice("RINGFENCE_ID_CASE", IdCase, {}) or IdCase.EXACT,
        "strict": reader.boolean("RINGFENCE_STRICT"),
        "credential_ttl": timedelta(seconds=ttl),
        "cache_share": reader.share("RINGFENCE_CREDENTIAL_CACHE_SHARE", 0.1, 0.9),
        "heartbeat": timedelta(seconds=heartbeat),
    }


def _refuse_unknown(reader: Reader) -> None:
    """A mistyped setting of ours would leave a fence looser than it was meant, so it is refused."""
    for name in sorted(filter(is_unknown_setting, reader.env)):
        meant = meant_by(name, ORDER)
        hint = f"Did you mean {meant}?" if meant else "`ringfence config --all` lists them."
        problem = Problem(
            ascii(name)[1:-1], "no setting of Ringfence", "a name that it knows", hint
        )
        reader.problems.append(problem)


def problems_of(reader: Reader) -> tuple[Problem, ...]:
    """The problems in order; what is missing gets the names that may have been meant for it."""
    problems = reader.ordered()
    if all(problem.found not in _MISSING for problem in problems):
        return problems
    slips = near_misses(reader.env)
    return tuple(_with_hint(problem, slips) for problem in problems)


def _with_hint(problem: Problem, slips: Mapping[str, str]) -> Problem:
    variable = BY_NAME.get(problem.variable)
    if variable is None or problem.found not in _MISSING:
        return problem
    names = (variable.name, variable.fallback)
    hints = [
        f"{slip} is set. Did you mean {meant}?" for slip, meant in slips.items() if meant in names
    ]
    if not hints:
        return problem
    hint = " ".join([*hints, problem.hint or ""]).strip()
    return Problem(problem.variable, problem.found, problem.expected, hint)


def _sources(env: Mapping[str, str], provider: ProviderName) -> Sources:
    return Sources(
        {
            variable.name: source_of(env, variable.name) or FROM_DEFAULT
            for variable in VARIABLES
            if applies(variable, provider)
        }
    )
