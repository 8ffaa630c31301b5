"""Who and what is in the demo. Apps and users are neighbours on purpose, by name and by place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.errors import UsageError


@dataclass(frozen=True, slots=True)
class App:
    """An app and the file of ``examples/data`` that it gets."""

    id: str
    source: str
    city: str


@dataclass(frozen=True, slots=True)
class User:
    """A user, and the year that the report is to be about."""

    id: str
    year: str


WEATHER: Final = App("weather", "seattle.csv", "Seattle")
WEATHER2: Final = App("weather2", "new-york.csv", "New York")
APPS: Final = (WEATHER, WEATHER2)

ADA: Final = User("auth0|ada", "2014")
GRACE: Final = User("grace@example.org", "2015")
USERS: Final = (ADA, GRACE)

JOB: Final = "weather_report.py"
ABOUT: Final = "about.json"
"""What the demo writes about each app into its place in the meta bucket."""


def report_key(user: User) -> str:
    """Where, in a user's place, the example job stores its report."""
    return f"reports/{user.year}.json"


def examples() -> Path:
    """The folder of the examples: in the package where it is installed, else in the checkout.

    Raises:
        UsageError: it is in neither.
    """
    package = Path(__file__).parent
    for folder in (package / "_examples", package.parents[2] / "examples"):
        if (folder / JOB).is_file():
            return folder
    raise UsageError(
        "The examples are not installed with this copy of Ringfence.",
        hint="Install it from a wheel, or run it from a checkout of the repository.",
    )
