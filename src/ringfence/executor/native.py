"""Several credentials in one environment: the first in the cloud's own names, the others by area.

Shared by ``ringfence run`` and ``ringfence creds``, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ringfence.providers.base import Credential
from ringfence.scope import Area


def by_area(
    credentials: Sequence[Credential], names: Sequence[Mapping[str, str]]
) -> dict[str, str]:
    """The variables of all credentials, ``names[i]`` being those of the one numbered ``i``.

    The first's are plain. Each area of another one has its own behind its name, such as
    ``RINGFENCE_LOGS_AWS_SESSION_TOKEN``: the credential's parts all, and of the rest what differs
    from the first's.
    """
    first, *others = names
    return dict(first) | {
        _of_area(grant.area, name): value
        for named, credential in zip(others, credentials[1:], strict=True)
        for grant in credential.grants
        for name, value in named.items()
        if value != first.get(name) or _is_part(credential, value)
    }


def _is_part(credential: Credential, value: str) -> bool:
    # R2's keys that are signed locally share their id, and a key without its id is none.
    return any(part.reveal() == value for part in credential.fields.values())


def _of_area(area: Area, name: str) -> str:
    """A name of the cloud's own, behind the area's; one that has the area in it already stays."""
    own = f"RINGFENCE_{area.name}_"
    return name if name.startswith(own) else f"{own}{name}"
