"""A workspace: a scope's areas, opened. Each is a plain obstore store rooted at its prefix."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Self

from ringfence.errors import UsageError
from ringfence.scope import Area, Grant, Grants, Scope

if TYPE_CHECKING:
    from obstore.store import ObjectStore

    from ringfence.vending import Credentials


def to_area(name: Area | str) -> Area:
    """The area of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return Area(name)
    except ValueError:
        raise UsageError(f"{name!r} is no area.", hint=f"Areas: {', '.join(Area)}.") from None


class Workspace:
    """A scope's areas. Stores are opened when first asked for and renew their credentials.

    ``await workspace`` has the credentials issued now, so that a refusal shows here and not at the
    first object.
    """

    def __init__(
        self,
        scope: Scope,
        grants: Grants,
        opener: Callable[[Grant], ObjectStore],
        vend: Callable[[], Awaitable[Credentials]],
    ) -> None:
        self.scope = scope
        self.grants = grants
        self._opener = opener
        self._vend = vend
        self._stores: dict[Area, ObjectStore] = {}

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self._vend().__await__()
        return self

    def __repr__(self) -> str:
        areas = ", ".join(grant.area for grant in self.grants)
        return f"<Workspace {self.scope.app_id!r} {self.scope.user_id!r}: {areas}>"

    def grant(self, area: Area) -> Grant:
        """What the scope may do in an area.

        Raises:
            UsageError: the scope's mode does not reach that area.
        """
        for grant in self.grants:
            if grant.area is area:
                return grant
        reach = ", ".join(grant.area for grant in self.grants)
        raise UsageError(
            f"The access mode {self.scope.mode} does not reach the area {area!s}.",
            hint=f"It reaches: {reach}.",
        )

    def store(self, area: Area) -> ObjectStore:
        """The store of an area. See :meth:`grant` for what it raises."""
        if area not in self._stores:
            self._stores[area] = self._opener(self.grant(area))
        return self._stores[area]

    @property
    def areas(self) -> Mapping[Area, Grant]:
        """The areas within reach."""
        return {grant.area: grant for grant in self.grants}

    @property
    def app(self) -> ObjectStore:
        """The app's own place, shared by its users."""
        return self.store(Area.APP)

    @property
    def user(self) -> ObjectStore:
        """What this user keeps in this app."""
        return self.store(Area.USER)

    @property
    def tmp(self) -> ObjectStore:
        """Scratch space of this user in this app."""
        return self.store(Area.TMP)

    @property
    def logs(self) -> ObjectStore:
        """The run's logs: write-only for an execution."""
        return self.store(Area.LOGS)

    @property
    def meta(self) -> ObjectStore:
        """The app's metadata, which no execution is granted."""
        return self.store(Area.META)
