"""What a child finds in its environment: a short list of harmless names, and what it was given."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from ringfence.errors import UsageError

INHERITED: Final = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PWD",
        "TMPDIR",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TZDIR",
        "TERM",
        "COLORTERM",
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "FORCE_COLOR",
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "PYTHONPATH",
        "PYTHONUTF8",
        "PYTHONDONTWRITEBYTECODE",
        "NODE_ENV",
        "NODE_PATH",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "NODE_EXTRA_CA_CERTS",
    }
)
"""Names a child inherits, besides ``LC_*``. No proxies: their URLs may hold passwords."""

LONG_SECRET: Final = 8
"""From this length on, a secret is looked for inside values; a shorter one must be all of one."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def child_environment(
    base: Mapping[str, str],
    *,
    fenced: Mapping[str, str],
    passed: Sequence[str] = (),
    secrets: Collection[str] = (),
    is_configuration: Callable[[str], bool],
) -> dict[str, str]:
    """The environment of an execution's command.

    ``base`` is this process's environment, of which the harmless names are kept; ``passed`` are
    the caller's additions, ``NAME`` (its value in ``base``) or ``NAME=VALUE``; ``fenced`` are the
    execution's own credentials and names, which win. ``secrets`` are the installation's: whatever
    holds one is not inherited, and not passed. ``PYTHONUNBUFFERED`` is 1 unless passed, so that
    output is seen when it is written.

    Raises:
        UsageError: a passed variable is unset, misnamed, part of the configuration, or holds one
            of the secrets.
    """
    wanted = [secret for secret in secrets if secret]
    result = {"PYTHONUNBUFFERED": "1"} | {
        name: value
        for name, value in base.items()
        if _is_inherited(name) and not is_configuration(name) and not _holds(value, wanted)
    }
    for item in passed:
        name, value = _read_passed(item, base, is_configuration)
        _check_passed(name, value, wanted)
        result[name] = value
    return result | dict(fenced)


def credential_places(base: Mapping[str, str]) -> tuple[Path, ...]:
    """Where the clouds' SDKs look for this user's own credentials, to be hidden from a command.

    The child keeps ``HOME``, so what lies in it is only out of reach when it is hidden. Paths that
    do not exist are named as well.
    """
    named = [base[name] for name in _CREDENTIAL_FILES if base.get(name)]
    home = base.get("HOME")
    below_home = [f"{home}/{place}" for place in _CREDENTIAL_FOLDERS] if home else []
    return tuple(Path(place) for place in (*named, *below_home, "/var/run/secrets"))


_CREDENTIAL_FILES: Final = (
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
_CREDENTIAL_FOLDERS: Final = (".aws", ".azure", ".config/gcloud", ".boto", ".mc")


def _is_inherited(name: str) -> bool:
    return name in INHERITED or name.startswith("LC_")


def _holds(value: str, secrets: Sequence[str]) -> bool:
    return any(
        secret in value if len(secret) >= LONG_SECRET else secret == value for secret in secrets
    )


def _read_passed(
    item: str, base: Mapping[str, str], is_configuration: Callable[[str], bool]
) -> tuple[str, str]:
    name, given, value = item.partition("=")
    if not _NAME.fullmatch(name):
        # Not quoted: a value written by mistake in the name's place may be a secret.
        raise UsageError(
            "A variable to pass on has no name that a shell would accept.",
            hint="Write --env NAME or --env NAME=VALUE.",
        )
    if is_configuration(name):
        # Set or not: advice to set one would only lead here again.
        raise UsageError(
            f"{name} belongs to the installation's configuration and is not passed to a command.",
            hint="The command has its own fenced credentials in the usual variables.",
        )
    if given:
        return name, value
    if name not in base:
        raise UsageError(
            f"{name} is to be passed on, but is not set here.",
            hint=f"Set it, or write --env {name}=VALUE.",
        )
    return name, base[name]


def _check_passed(name: str, value: str, secrets: Sequence[str]) -> None:
    if _holds(value, secrets):
        raise UsageError(
            f"The value for {name} holds one of the installation's secrets and is not passed on.",
            hint="The command has its own fenced credentials in the usual variables.",
        )
    if "\0" in value:
        raise UsageError(f"The value for {name} holds a NUL, which no environment can carry.")
