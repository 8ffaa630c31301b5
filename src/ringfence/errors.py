"""Every error of Ringfence, in one tree.

::

    RingfenceError                     exit code 1: the work failed
    ├── ConfigError                    2: settings are wrong; carries every problem at once
    ├── UsageError                     2: a call or a command line cannot be meant
    │   ├── InvalidId                  an app, user or run id that cannot be encoded
    │   └── RunNotFound                no run of that id
    ├── MissingExtra                   2: a provider or store whose package is not installed
    ├── LayoutMismatch                 2: the buckets were written with another layout
    ├── BucketMissing                  2: a configured bucket does not exist
    ├── RegionMismatch                 2: a bucket, or its endpoint, is in another region
    ├── StateConflict                  1: a run changed under the caller, or is terminal
    │   ├── RunExists                  2: the run id is taken
    │   └── RunCancelled               the run was cancelled while it ran here
    ├── EngineError                    1: the embedded engine could not start or stop
    ├── Refused                        3: something said no, and meant it
    │   ├── AccessDenied               storage refused the request (a real 403)
    │   ├── IssueRefused               a credential could not be had with these permissions
    │   ├── GrantNotEnforceable        this provider cannot fence what was asked for
    │   ├── ConfinementRefused         this system cannot confine a command as required
    │   └── CredentialExpired          the token's life is over, or a clock is off
    └── StorageUnreachable             4: no answer, or only failures, from an endpoint

A message is a sentence for a person: what happened, which variable or permission it hangs on.
``hint`` is the next step. Neither ever contains a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from ringfence.state.record import RunRecord

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4


class RingfenceError(Exception):
    """The root. ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the settings. ``found`` is already redacted."""

    variable: str
    found: str | None
    expected: str
    hint: str | None = None

    def __str__(self) -> str:
        found = "is not set" if self.found is None else f"is {self.found}"
        sentence = f"{self.variable} {found}: expected {self.expected}."
        return f"{sentence} {self.hint}" if self.hint else sentence


class ConfigError(RingfenceError):
    """The settings are wrong. ``problems`` has all of them, in the order of the documentation."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"The configuration has {count}:\n{lines}")


class UsageError(RingfenceError):
    """A call or a command line that cannot be meant."""

    exit_code = EXIT_USAGE


class InvalidId(UsageError, ValueError):
    """An id that is empty, too long, or not text."""


class RunNotFound(UsageError, LookupError):
    """No run of that id is in the state store."""


class MissingExtra(RingfenceError, ImportError):
    """A part of Ringfence whose package is not installed; the message names the extra."""

    exit_code = EXIT_USAGE


class LayoutMismatch(RingfenceError):
    """The buckets were written with another layout than this process is set to."""

    exit_code = EXIT_USAGE


class BucketMissing(RingfenceError):
    """A configured bucket does not exist."""

    exit_code = EXIT_USAGE


class RegionMismatch(RingfenceError):
    """A bucket lies in another region than the one configured."""

    exit_code = EXIT_USAGE


class StateConflict(RingfenceError):
    """A run's record changed under the caller, or its state does not allow the change.

    ``record`` is the run as it stands: who lost a race need not read it again.
    """

    def __init__(self, message: str, *, record: RunRecord, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.record = record


class RunExists(StateConflict):
    """The run id is taken: by a run with other content, or it has a runner already, or has ended.

    Nothing was done.
    """

    exit_code = EXIT_USAGE


class RunCancelled(StateConflict):
    """The run was ended from outside while it ran here."""


class EngineError(RingfenceError):
    """The embedded engine could not be started, found or stopped."""


class Refused(RingfenceError):
    """Something said no, and meant it: trying again changes nothing."""

    exit_code = EXIT_REFUSED


class AccessDenied(Refused, PermissionError):
    """Storage refused a request: a real 403 from the engine."""


class IssueRefused(Refused):
    """The provider would not issue a credential; the message names what is missing."""


class GrantNotEnforceable(Refused):
    """This provider, as configured, cannot fence what was asked for. Nothing was issued."""


class ConfinementRefused(Refused):
    """This system cannot confine a command as far as was required. Nothing was started."""


class CredentialExpired(Refused):
    """A credential's life is over, or the two clocks differ too much for its signature."""


class StorageUnreachable(RingfenceError, ConnectionError):
    """No answer from an endpoint, or none but failures, within the time allowed."""

    exit_code = EXIT_UNREACHABLE
