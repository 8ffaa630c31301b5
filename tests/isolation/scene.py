"""Two tenants side by side: the one attacks, the other has something to lose."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ringfence.layout import BucketRole
from ringfence.scope import Area, Scope
from ringfence.testing.isolation import areas
from tests.isolation.installation import Installation
from tests.isolation.s3 import target
from tests.isolation.wire import Reply, Wire

OWN_BODY = b"the attacker's own"


@dataclass(frozen=True, slots=True)
class Scene:
    """``app1`` attacks ``app10``, whose objects hold ``secret`` in every bucket."""

    installation: Installation
    scope: Scope
    attacker: Wire
    victim: Wire
    secret: bytes

    @property
    def anyone(self) -> Wire:
        """Nobody in particular: no keys at all."""
        return self.attacker.holding(None)

    @property
    def content(self) -> str:
        return self.installation.buckets.content

    @property
    def own_prefix(self) -> str:
        return areas(self.scope, self.installation.case)[Area.APP].prefix

    @property
    def foreign_prefix(self) -> str:
        return areas(neighbour(self.scope), self.installation.case)[Area.APP].prefix

    @property
    def own(self) -> str:
        """The target of an object that the attacker may read and write."""
        return target(self.content, f"{self.own_prefix}object")

    @property
    def foreign(self) -> str:
        """The target of the victim's object."""
        return target(self.content, f"{self.foreign_prefix}object")

    def set_up(self) -> None:
        for at in self._victims():
            assert self.installation.master.send("PUT", at, self.secret).status == 200
        self.restore()

    def restore(self) -> None:
        """The attacker's own object, as it was."""
        assert self.installation.master.send("PUT", self.own, OWN_BODY).status == 200

    def harm(self) -> list[str]:
        """What of the victim's is not as it was, and what of it lies in the attacker's place."""
        master, found = self.installation.master, []
        for at in self._victims():
            reply = master.send("GET", at)
            if reply.body != self.secret:
                found.append(f"{at} is {reply}: {reply.body[:60]!r}")
        found += (
            f"{key} holds the victim's content"
            for key in self._keys()
            if self.secret in master.send("GET", target(self.content, key)).body
        )
        return found

    def tells(self, reply: Reply) -> bool:
        """Whether an answer gives away the victim's content."""
        return self.secret in reply.body

    def _victims(self) -> Iterable[str]:
        buckets = self.installation.buckets
        yield self.foreign
        yield target(buckets.meta, f"{self.own_prefix}object")
        yield target(buckets.log, f"runs/{self.foreign_prefix.split('/')[1]}/object")

    def _keys(self) -> Iterable[str]:
        owner = self.installation.owner
        return [k for k in owner.under(BucketRole.CONTENT, self.own_prefix) if k]

    def clear(self) -> None:
        master = self.installation.master
        for key in self._keys():
            master.send("DELETE", target(self.content, key))
        for at in self._victims():
            master.send("DELETE", at)


def neighbour(scope: Scope) -> Scope:
    return Scope(f"{scope.app_id}0", scope.user_id, scope.run_id, scope.mode)


def make_scene(installation: Installation, scope: Scope) -> Scene:
    scene = Scene(
        installation,
        scope,
        installation.fenced(scope),
        installation.fenced(neighbour(scope)),
        f"the victim's {secrets.token_hex(12)}".encode(),
    )
    scene.set_up()
    return scene


def refused(reply: Reply) -> bool:
    """The engine's own 403; HEAD has no body to say more."""
    return reply.denied or (reply.status == 403 and not reply.body)


NOT_LET_IN = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"}
"""What an engine says to who is not who they say: it never came to permissions."""


def turned_away(reply: Reply) -> bool:
    """A 403, for want of permission or of a valid signature."""
    return reply.status == 403 and (not reply.body or reply.code in NOT_LET_IN)


Attempt = tuple[str, Callable[[], Reply]]
"""What it is called, and how it is done."""


def failures(scene: Scene, attempts: Iterable[Attempt], ok: Callable[[Reply], bool]) -> list[str]:
    """The attempts whose answer is not ``ok`` or gives the victim's content away, and any harm."""
    found = []
    for name, attempt in attempts:
        reply = attempt()
        if scene.tells(reply):
            found.append(f"{name}: LEAK: {reply}")
        elif not ok(reply):
            found.append(f"{name}: {reply} {reply.body[:80]!r}")
    return found + scene.harm()


def anything_but_a_fault(reply: Reply) -> bool:
    """For attempts that engines read in their own ways: what counts is that nothing is harmed."""
    return reply.status < 500
