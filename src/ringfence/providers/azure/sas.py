"""From grants to directory SAS: what each one says, and its signature by Microsoft's own SDK.

A directory SAS (``sr=d``) opens one directory with everything below it, and nothing beside it: the
service signs the first ``sdd`` segments of a request's path again and compares (Blob Storage REST
API, *Create a service SAS*, "Specify the directory depth"). Pure: no network.

Letters
    ``r`` reads, ``l`` lists, ``d`` deletes. To write is ``c`` and ``w``: ``c`` creates, ``w`` also
    replaces, and before version 2026-04-06 blocks (``Put Block``) need ``w``. Never given: ``a``
    (append blobs), ``x`` and ``y`` (versions for good), ``t`` (tags), ``m`` (move, which
    writes elsewhere), ``e``, ``o`` and ``p`` (POSIX rights and owners), ``i`` (immutability).
Path
    Without the last slash: the SDK takes it from the depth but not from the signed path, and the
    service signs the path without it.
Time
    No start (``st``): it would be this machine's clock against the service's. The end is in whole
    seconds, rounded down.
Protocol
    https only, unless the endpoint itself is http, which an emulator's is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ringfence.errors import GrantNotEnforceable
from ringfence.layout import BucketRole
from ringfence.providers.azure.store import AzureAddress
from ringfence.providers.base import Enforcement, Method, PolicyDocument
from ringfence.scope import Grant, Permission, Permissions

if TYPE_CHECKING:
    from azure.storage.filedatalake import UserDelegationKey

Containers = Callable[[BucketRole], str]
"""The container's name for its role."""

_LETTERS: Final = (
    (Permission.READ, "r"),
    (Permission.WRITE, "cw"),
    (Permission.DELETE, "d"),
    (Permission.LIST, "l"),
)
"""In the order in which the service wants them: ``racwdxyltmeop``."""

_FOR_METHOD: Final[dict[Method, str]] = {"GET": "r", "HEAD": "r", "PUT": "cw", "DELETE": "d"}

_CONTAINER: Final = re.compile(r"(?=.{3,63}\Z)[a-z0-9](?:-?[a-z0-9])*")
_PREFIX: Final = re.compile(r"(?:(?!\.{1,2}/)[A-Za-z0-9_.@:+=,%-]+(?<!\.)/)+")
"""Whole segments of encoded ids. A directory's name that ends in a dot loses it on Azure."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What a SAS is signed with: the account's key, or one that stands for a principal.

    ``ends`` is when a user delegation key ends; no SAS outlives it. An account's key has no end.
    """

    value: str | UserDelegationKey = field(repr=False)
    ends: datetime | None = None


@dataclass(frozen=True, slots=True)
class DirectorySas:
    """What one SAS says, before it has a time and a signature."""

    grant: Grant
    container: str
    directory: str
    letters: str
    protocol: str

    @property
    def depth(self) -> int:
        """How many segments of a path are signed: ``sdd``."""
        return self.directory.count("/") + 1


def letters_of(permissions: Permissions) -> str:
    """The permissions in the letters of a SAS, in the order that the service wants."""
    return "".join(letters for each, letters in _LETTERS if each in permissions)


def protocol_of(endpoint: str) -> str:
    """https alone, but for an endpoint that has none."""
    return "https,http" if urlsplit(endpoint).scheme == "http" else "https"


def directory_sas(grant: Grant, containers: Containers, endpoint: str) -> DirectorySas:
    """What the SAS of a grant says.

    Raises:
        GrantNotEnforceable: container or prefix cannot stand in a SAS.
    """
    container = containers(grant.bucket)
    if not _CONTAINER.fullmatch(container):
        raise GrantNotEnforceable(
            f"The {grant.bucket} container's name {container!r} cannot stand in a SAS.",
            hint="A container's name is 3 to 63 lower-case letters, digits and single hyphens.",
        )
    if not _PREFIX.fullmatch(grant.prefix):
        raise GrantNotEnforceable(
            f"The prefix {grant.prefix!r} cannot stand in a SAS.",
            hint="Prefixes are made of encoded ids, each followed by a slash.",
        )
    return DirectorySas(
        grant,
        container,
        grant.prefix.removesuffix("/"),
        letters_of(grant.permissions),
        protocol_of(endpoint),
    )


def document(
    sas: DirectorySas, account: str, life: timedelta, *, delegated: bool, names_shared: bool
) -> PolicyDocument:
    """What :meth:`ringfence.providers.base.Provider.plan` shows of a SAS: its fields, in words."""
    said = {
        "resource": f"/blob/{account}/{sas.container}/{sas.directory}",
        "sr": "d",
        "sdd": sas.depth,
        "sp": sas.letters,
        "spr": sas.protocol,
        "seconds": int(life.total_seconds()),
        "signed by": "user delegation key" if delegated else "account key",
    }
    text = json.dumps(said, separators=(",", ":"))
    held = (enforcement(sas.grant, names_shared=names_shared),)
    return PolicyDocument((sas.grant,), "Azure directory SAS", text, held)


def enforcement(grant: Grant, *, names_shared: bool) -> Enforcement:
    """How exactly a SAS holds its grant, on an account that was tried.

    Args:
        names_shared: whether ``RINGFENCE_AZURE_NAMES_SHARED`` let one listing go untried.
    """
    if not names_shared or Permission.LIST not in grant.permissions:
        return Enforcement(grant.area)
    return Enforcement(
        grant.area,
        f"the account may also list the names of objects in directories beside {grant.prefix} "
        f"that begin with {grant.prefix.removesuffix('/')}, as RINGFENCE_AZURE_NAMES_SHARED "
        "accepts; it opens none of them",
    )


def mint(sas: DirectorySas, account: str, key: SigningKey, ends: datetime) -> str:
    """The SAS as a query string, signed until ``ends``, in whole seconds."""
    from azure.storage.filedatalake import generate_directory_sas  # 0.3 s, for who issues

    return generate_directory_sas(
        account,
        sas.container,
        sas.directory,
        key.value,
        permission=sas.letters,
        expiry=ends,
        protocol=sas.protocol,
    )


def mint_url(
    address: AzureAddress, blob: str, method: Method, key: SigningKey, ends: datetime
) -> str:
    """A URL for one method on one blob: a SAS of the blob, ``sr=b``."""
    from azure.storage.blob import generate_blob_sas  # see above

    token = generate_blob_sas(
        address.account,
        address.bucket,
        blob,
        account_key=key.value if isinstance(key.value, str) else None,
        user_delegation_key=None if isinstance(key.value, str) else key.value,
        permission=_FOR_METHOD[method],
        expiry=ends,
        protocol=protocol_of(address.endpoint),
    )
    return f"{address.url_of(blob)}?{token}"
