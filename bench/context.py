"""What a bench is given: the engine to measure on, and how much to measure."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from bench.measure import Rounds
from ringfence.config import AwsSettings, Buckets, Settings, load_environment

if TYPE_CHECKING:
    from ringfence.providers.base import Credential

QUICK_SHARE: Final = 16
"""Quick runs do this much less in a round."""

RINGFENCE: Final = str(Path(sys.executable).with_name("ringfence"))
"""The command beside this Python."""


class NotMeasurable(Exception):
    """A bench cannot run here: the message says what is missing."""


@dataclass(frozen=True)
class Context:
    """One run of the benches. ``env_file`` names the engine's variables; ``say`` tells a person."""

    env_file: Path
    quick: bool = False
    say: Callable[[str], None] = lambda _: None

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """The variables of the engine, and no others."""
        return load_environment([self.env_file], {})

    @cached_property
    def settings(self) -> Settings:
        """The engine's settings."""
        return Settings.from_env(self.variables)

    @cached_property
    def s3(self) -> S3Engine:
        """The engine as S3 clients see it."""
        cloud = self.settings.cloud
        if not isinstance(cloud, AwsSettings) or cloud.secret_access_key is None:
            raise NotMeasurable("The benches need an S3 engine with keys: STORAGE_PROVIDER=aws.")
        return S3Engine(
            endpoint=cloud.endpoint,
            sts_endpoint=cloud.sts_endpoint,
            region=cloud.region,
            role_arn=cloud.runtime_role_arn or "",
            path_style=cloud.use_path_style,
            keys=Keys(cloud.access_key_id or "", cloud.secret_access_key.reveal()),
            buckets=self.settings.buckets,
        )

    def rounds(self, least: int, most: int) -> Rounds:
        """How many rounds; two and no warm-up in a quick run."""
        return Rounds(2, 2, warm_up=0) if self.quick else Rounds(least, most)

    def times(self, count: int) -> int:
        """How many operations in a round."""
        return max(1, count // QUICK_SHARE) if self.quick else count


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs requests, in clear: peers take plain strings. Never printed."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    @classmethod
    def of(cls, credential: Credential) -> Self:
        """The keys of a session on S3."""
        names = ("access_key_id", "secret_access_key", "token")
        return cls(*(credential.fields[name].reveal() for name in names))

    def __repr__(self) -> str:
        return "Keys(...)"


@dataclass(frozen=True, slots=True)
class S3Engine:
    """Address and master keys of an S3 engine with STS."""

    endpoint: str | None
    sts_endpoint: str | None
    region: str
    role_arn: str
    path_style: bool
    keys: Keys
    buckets: Buckets


@contextmanager
def engine(env_file: Path | None) -> Iterator[Path]:
    """The env file of a running engine: the one given, or a fresh embedded one for the while.

    Raises:
        NotMeasurable: the embedded engine did not start.
    """
    if env_file is not None:
        yield env_file.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="ringfence-bench-") as name:
        folder = Path(name)
        _ringfence("up", folder)
        try:
            yield folder / ".ringfence" / "env"
        finally:
            _ringfence("down", folder)


def _ringfence(command: str, folder: Path) -> None:
    done = subprocess.run([RINGFENCE, command], cwd=folder, capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()
        raise NotMeasurable(f"`ringfence {command}` failed: {words}")
