"""The installation's own AWS keys: as configured, or as the SDK's default chain finds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from ringfence.config import process_environment
from ringfence.errors import ConfigError, MissingExtra, Problem
from ringfence.providers.aws.sts import SigningKeys
from ringfence.secret import Secret

if TYPE_CHECKING:
    from obstore.store import S3Credential


@dataclass(frozen=True, slots=True)
class StaticKeys:
    """The installation's own keys, as configured. ``repr`` shows none of the secret ones."""

    access_key: str
    secret: Secret
    session: Secret | None

    @property
    def secret_key(self) -> str:
        return self.secret.reveal()

    @property
    def token(self) -> str | None:
        return self.session.reveal() if self.session else None


def default_chain() -> Callable[[], SigningKeys]:
    """The keys of a profile, a web identity, a container or the machine's role.

    Raises:
        MissingExtra: botocore is not installed.
        ConfigError: there are none, or the profile that is named does not exist or gives none.
    """
    try:
        from botocore.exceptions import BotoCoreError  # a slow import, rarely needed
        from botocore.session import Session
    except ImportError:
        raise MissingExtra(
            "AWS needs botocore.", hint='Install it: pip install "ringfence[aws]".'
        ) from None
    try:
        credentials = Session().get_credentials()
    except BotoCoreError as error:
        raise _unusable(error) from None
    if credentials is None:
        raise _none_found()

    def keys() -> SigningKeys:
        try:
            # Refreshes by itself; botocore is thread-safe here.
            return cast("SigningKeys", credentials.get_frozen_credentials())
        except BotoCoreError as error:
            raise _unusable(error) from None

    return keys


def _none_found() -> ConfigError:
    expected = "a key, since no profile, web identity, container or machine's role gives one"
    hint = "Set it and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role."
    return ConfigError((Problem("AWS_ACCESS_KEY_ID", None, expected, hint),))


def _unusable(error: Exception) -> ConfigError:
    """botocore's reason is named by its type alone: its text may hold what a helper printed."""
    env = process_environment()
    name = next((name for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE") if env.get(name)), None)
    kind = type(error).__name__
    if name is None:
        found = f"unset, and the SDK's default chain gives no credentials ({kind})"
        hint = "Set it and AWS_SECRET_ACCESS_KEY, or correct the SDK's configuration."
        return ConfigError((Problem("AWS_ACCESS_KEY_ID", found, "a key", hint),))
    why = "which does not exist" if kind == "ProfileNotFound" else f"which gives none ({kind})"
    found, hint = f"{env[name]!r}, {why}", "Correct or unset it, or set AWS_ACCESS_KEY_ID."
    return ConfigError((Problem(name, found, "a profile with credentials", hint),))


class MasterCredentials:
    """obstore's credential provider over the installation's own keys."""

    def __init__(self, keys: Callable[[], SigningKeys]) -> None:
        self._keys = keys

    def __call__(self) -> S3Credential:
        keys = self._keys()
        # botocore renews by itself ahead of the end, so asking it often is cheap and enough.
        static = isinstance(keys, StaticKeys)
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": None if static else datetime.now(UTC) + timedelta(minutes=10),
        }
