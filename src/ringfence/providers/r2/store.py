"""What a store on R2 is opened with, on the engine's side and inside an execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ringfence.providers.base import Address, CredentialSource
from ringfence.providers.s3.store import address_from, leased, open_s3

if TYPE_CHECKING:
    from obstore.store import S3Store

REGION: Final = "auto"
"""R2's one region; ``us-east-1`` and an empty one mean the same (R2, *S3 API compatibility*)."""

MAX_RETRIES: Final = 12
"""R2 takes one write a second of a key and answers 429 to others (R2, *Error codes*, 10058). A run
writes its record more often as it starts and ends; with the few retries that other engines need,
all of them would be over within that second."""


def open_elsewhere(address: Address, prefix: str, lease: CredentialSource) -> S3Store:
    """A store on what :meth:`ringfence.providers.base.Provider.address` said, in any process."""
    return open_s3(address_from(address), prefix, leased(lease), max_retries=MAX_RETRIES)
