"""The secrets of an installation: random, made once, readable by nobody else."""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import dataclass
from typing import Final

from ringfence.embedded.statedir import StateDir, read_private, write_private
from ringfence.errors import EngineError
from ringfence.secret import Secret

_ID_ALPHABET: Final = string.ascii_uppercase + "234567"
_SECRET_ALPHABET: Final = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A static key pair of the engine."""

    id: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class Keys:
    """``master`` is what the env file holds. ``setup`` may make the buckets and is not given out.

    ``sts_signing`` signs session tokens; a session lives on when the engine is restarted.
    """

    master: AccessKey
    setup: AccessKey
    sts_signing: Secret


def load_or_make(state: StateDir) -> Keys:
    """The keys of this installation.

    Raises:
        EngineError: the file is damaged.
    """
    text = read_private(state.keys)
    if text is None:
        text = json.dumps(_make(), indent=2) + "\n"
        write_private(state.keys, text)
    try:
        found: dict[str, str] = json.loads(text)
        return Keys(
            AccessKey(found["master_id"], Secret(found["master_secret"])),
            AccessKey(found["setup_id"], Secret(found["setup_secret"])),
            Secret(found["sts_signing"]),
        )
    except (ValueError, KeyError, TypeError):
        # The cause is not kept: a JSON error quotes the text.
        raise EngineError(
            f"{state.keys} is damaged.", hint="Remove it, and new keys are made at the next `up`."
        ) from None


def _make() -> dict[str, str]:
    return {
        "master_id": _key_id(),
        "master_secret": _random(_SECRET_ALPHABET, 40),
        "setup_id": _key_id(),
        "setup_secret": _random(_SECRET_ALPHABET, 40),
        "sts_signing": _random(_SECRET_ALPHABET, 64),
    }


def _key_id() -> str:
    return "AKIA" + _random(_ID_ALPHABET, 16)


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
