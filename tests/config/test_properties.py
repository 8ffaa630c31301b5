"""Any environment gives settings or a list of problems, and shows no secret in either."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.config import SECRET_VARIABLES, VARIABLES, Settings
from ringfence.config.report import examine, rows
from ringfence.errors import ConfigError, Problem
from tests.config.examples import FULL, LEAST

MARK = "Zq7secretZq7"
"""Stands in every secret that is generated, and nowhere else."""

NAMES = [variable.name for variable in VARIABLES]
REAL = sorted({value for example in FULL.values() for value in example.values()})
PLAIN = st.one_of(
    st.sampled_from([value for value in REAL if "secret" not in value]),
    st.sampled_from(["true", "0", "aws", "R2 ", "azure", "gcs", "minio", "redis", "s3", "''", "#"]),
    st.text(st.characters(), max_size=30),
    st.from_regex(r"https?://[a-z@:/?<>.]{0,20}"),
    st.from_regex(r"[a-z0-9.-]{1,20}--[a-z0-9-]{1,9}--x-s3"),
    st.from_regex(r"arn:(aws|minio):(iam|sts)::[0-9]{0,12}:(role|user)/\w{0,5}"),
)
AROUND = st.text(st.characters(), max_size=8)
SECRET = st.one_of(
    st.builds(lambda a, b: a + MARK + b, AROUND, AROUND),
    st.sampled_from(
        [
            f"postgresql://user:{MARK}@db/x",
            f"mysql://user:{MARK}@db/x",
            f"redis://:{MARK}@cache",
            f'{{"type":"service_account","private_key":"{MARK}"}}',
            f'{{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"{MARK}"}}',
            f'{{"type":"{MARK}"}}',
            f'{{"private_key":"{MARK}',
        ]
    ),
)
STRANGERS = st.one_of(
    st.sampled_from(["PATH", "META_BUKET", "RINGFENCE_STRCIT", "LOG_BUCKET_EXPRESS_ZONE"]),
    st.text(st.characters(), min_size=1, max_size=20),
    st.builds(lambda name, end: f"{name}{end}", st.sampled_from(NAMES), st.sampled_from("SX_1")),
)


@st.composite
def environments(draw: st.DrawFn) -> dict[str, str]:
    env = dict(draw(st.sampled_from([*FULL.values(), *LEAST.values(), {}])))
    for name in set(env) & SECRET_VARIABLES:
        env[name] = draw(SECRET)
    for name in draw(st.sets(st.sampled_from(NAMES), max_size=8)):
        env[name] = draw(SECRET if name in SECRET_VARIABLES else PLAIN)
    for name in draw(st.sets(st.sampled_from(NAMES), max_size=4)):
        env.pop(name, None)
    return env | draw(
        st.dictionaries(STRANGERS.filter(lambda n: n not in NAMES), PLAIN, max_size=3)
    )


def outcome(env: dict[str, str]) -> Settings | ConfigError:
    """What comes of an environment; any other exception fails the test."""
    try:
        return Settings.from_env(env)
    except ConfigError as error:
        return error


def problems_of(result: Settings | ConfigError) -> tuple[Problem, ...]:
    return result.problems if isinstance(result, ConfigError) else ()


@given(environments())
@settings(max_examples=300, deadline=None)
def test_settings_or_problems_and_never_a_secret(env: dict[str, str]) -> None:
    before = dict(env)
    result = outcome(env)
    assert isinstance(result, Settings) or result.problems
    assert len(set(problems_of(result))) == len(problems_of(result))
    assert MARK not in f"{result} {result!r} {problems_of(result)!r}"
    assert env == before


@given(environments())
@settings(deadline=None)
def test_what_ringfence_config_shows(env: dict[str, str]) -> None:
    found = examine(env)
    shown = rows(env, found.provider)
    assert MARK not in f"{found!r}{shown!r}"
    # Whatever a value is, a terminal and any encoding can take it.
    text = "".join([*map(str, found.problems), *(row.value or "" for row in shown)])
    assert text.isascii()
    assert text.isprintable()
    assert problems_of(outcome(env)) == found.problems


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters())))
@settings(deadline=None)
def test_any_mapping_at_all(env: dict[str, str]) -> None:
    result = outcome(env)
    assert isinstance(result, Settings) or result.problems
