"""Names of variables: which must never reach a child process, and which were meant by a typo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ringfence.config.variables import BY_NAME, ORDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OWN: Final = "RINGFENCE_"

# What a run's child finds in its environment (and a nested `ringfence` inherits): no settings.
_CHILD_NAMES: Final = frozenset(
    {"RINGFENCE_RUN_ID", "RINGFENCE_WORKSPACE", "RINGFENCE_MODE", "RINGFENCE_CREDENTIALS"}
)
_CHILD_PREFIXES: Final = tuple(
    f"{OWN}{area}_" for area in ("APP", "USER", "TMP", "LOGS", "META", "CREDENTIALS")
)

# Everything by which the clouds' SDKs and tools find credentials, or the place to fetch them.
_CREDENTIAL_PREFIXES: Final = (
    OWN,
    "AWS_",
    "AZURE_",
    "ARM_",
    "GOOGLE_",
    "GCLOUD_",
    "CLOUDSDK_",
    "GCS_",
    "GCP_",
    "R2_",
    "CLOUDFLARE_",
    "CF_API_",
    "MINIO_",
    "MC_HOST_",
    "WEED_",
)
_CREDENTIAL_NAMES: Final = frozenset(
    {
        "BOTO_CONFIG",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "IMDS_ENDPOINT",
        "MSI_ENDPOINT",
        "MSI_SECRET",
        "STORAGE_EMULATOR_HOST",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGSERVICEFILE",
        "POSTGRES_PASSWORD",
        "REDIS_PASSWORD",
        "REDISCLI_AUTH",
        "VALKEYCLI_AUTH",
    }
)
# No credential, and a child needs them: trust in a private CA, and the ban on asking the machine.
_HARMLESS: Final = frozenset({"AWS_CA_BUNDLE", "AWS_EC2_METADATA_DISABLED"})

# Names that other software gives to what a variable of the table says.
_OTHER_NAMES: Final[Mapping[str, str]] = {
    "AWS_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_KEY": "AWS_SECRET_ACCESS_KEY",
    "AWS_ENDPOINT_URL": "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL_S3": "AWS_ENDPOINT",
    "AWS_S3_ENDPOINT": "AWS_ENDPOINT",
    "S3_ENDPOINT": "AWS_ENDPOINT",
    "AWS_ENDPOINT_URL_STS": "AWS_STS_ENDPOINT",
    "AWS_PATH_STYLE": "AWS_USE_PATH_STYLE",
    "AWS_S3_FORCE_PATH_STYLE": "AWS_USE_PATH_STYLE",
    "S3_FORCE_PATH_STYLE": "AWS_USE_PATH_STYLE",
    "LOG_BUCKET_EXPRESS_ZONE": "LOGS_BUCKET_EXPRESS_ZONE",
    "LOGS_BUCKET": "LOG_BUCKET",
    "AZURE_STORAGE_ACCOUNT": "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_KEY": "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_URL": "AZURE_STORAGE_ENDPOINT",
    "AZURE_META_BUCKET": "AZURE_META_CONTAINER",
    "AZURE_CONTENT_BUCKET": "AZURE_CONTENT_CONTAINER",
    "AZURE_LOG_BUCKET": "AZURE_LOG_CONTAINER",
}
# Names of other software, which are right as they are, however near they come to ours.
_FOREIGN: Final = frozenset({"GOOGLE_APPLICATION_CREDENTIALS", "DATABASE_USER", "REDIS_USER"})
# Every application has these, and longer ones of its own (DATABASE_URL_TEST).
_EVERYBODYS: Final = frozenset({"DATABASE_URL", "REDIS_URL"})

_LONGEST_NAME: Final = 60
_ALIKE: Final = 0.85
_LENGTHS_APART: Final = 2


def is_configuration_variable(name: str) -> bool:
    """Whether a variable must never be handed on to a run's child process.

    That is every setting of Ringfence, every ``RINGFENCE_*`` (the child gets its own), and
    whatever the clouds' SDKs, command-line tools and metadata services, PostgreSQL or Redis read
    credentials from, whether or not it is in use. Case is ignored, to be on the safe side.
    """
    upper = name.upper()
    if upper in _HARMLESS:
        return False
    return upper in BY_NAME or upper in _CREDENTIAL_NAMES or upper.startswith(_CREDENTIAL_PREFIXES)


def is_unknown_setting(name: str) -> bool:
    """Whether this is a ``RINGFENCE_*`` name that is neither a setting nor one of a child's."""
    upper = name.upper()
    if not upper.startswith(OWN) or name in BY_NAME or name in _CHILD_NAMES:
        return False
    # One letter away from a setting, and yet with a child's prefix.
    if name.replace("CREDENTIALS_", "CREDENTIAL_") in BY_NAME:
        return True
    return not name.startswith(_CHILD_PREFIXES)


def meant_by(name: str, candidates: Iterable[str]) -> str | None:
    """The one of ``candidates`` that ``name`` is most likely a slip for, or None."""
    upper = name.upper()
    wanted = tuple(candidates)
    bare = upper.removeprefix(OWN)
    for exact in (upper, bare, _OTHER_NAMES.get(upper), _OTHER_NAMES.get(bare)):
        if exact in wanted:
            return exact
    if upper in _FOREIGN or len(name) > _LONGEST_NAME:
        return None
    by_word = _a_word_away(upper)
    if by_word in wanted:
        return by_word
    # Needed only when something is wrong, so it costs a start nothing.
    from difflib import get_close_matches

    near = [each for each in wanted if abs(len(each) - len(upper)) <= _LENGTHS_APART]
    matches = get_close_matches(upper, near, n=1, cutoff=_ALIKE)
    return matches[0] if matches else None


def _a_word_away(name: str) -> str | None:
    """The variable that a name is without its last word, or with one more behind it.

    A beginning that several variables share says nothing, and neither does a single word.
    """
    shorter, _, last = name.rpartition("_")
    longer = [each for each in ORDER if each.startswith(f"{name}_")]
    if shorter and len(longer) == 1 and longer[0].rpartition("_")[0] == name:
        return longer[0]
    return shorter if last and shorter not in _EVERYBODYS else None


def near_misses(env: Mapping[str, str]) -> dict[str, str]:
    """Names in ``env`` that are read by nobody here, each with the unset variable it may mean.

    A variable that is set is not missing anything, so no name is taken for a slip of it.
    """
    unset = [name for name in ORDER if not env.get(name, "").strip()]
    strangers = sorted(name for name in env if _may_be_a_slip(name))
    found = ((name, meant_by(name, unset)) for name in strangers)
    return {name: meant for name, meant in found if meant is not None}


def _may_be_a_slip(name: str) -> bool:
    plain = name.isascii() and name.isidentifier()
    return plain and name not in BY_NAME and name not in _CHILD_NAMES
