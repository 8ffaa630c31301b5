"""The layout of an installation, recorded once in its meta bucket.

Ids are encoded by ``RINGFENCE_ID_CASE``. Two processes that encode differently would open different
prefixes for one id, or worse one prefix for two, so the choice is written down by the first and
every other must agree.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ringfence.config import ProviderName, Settings
from ringfence.errors import ConfigError, LayoutMismatch, Problem, StorageUnreachable
from ringfence.layout import LAYOUT_KEY, LAYOUT_VERSION, BucketRole
from ringfence.providers._obstore import translate
from ringfence.providers.naming import AZURE, GCS, R2, S3

if TYPE_CHECKING:
    from obstore.store import ObjectStore

OPEN_SECONDS: Final = 15.0
"""For the small requests of opening, retries included. An endpoint that is there answers sooner."""


async def check_layout(meta: ObjectStore, settings: Settings) -> None:
    """Agrees with the recorded layout, or records this one where there is none.

    Raises:
        LayoutMismatch: the buckets were written with another layout.
        ConfigError: the endpoint is none of S3.
        BucketMissing, AccessDenied, StorageUnreachable: the meta bucket cannot be read or written.
    """
    import asyncio

    try:
        async with asyncio.timeout(OPEN_SECONDS):
            recorded = await _recorded_or_made(meta, settings)
    except TimeoutError:
        endpoint = getattr(settings.cloud, "endpoint", None) or "storage"
        raise StorageUnreachable(
            f"{settings.buckets.named(BucketRole.META)}: {endpoint} did not answer within "
            f"{OPEN_SECONDS:g} s.",
            hint=f"Check {_endpoint_variable(settings)} and the network, and that the engine runs.",
        ) from None
    if recorded is not None:
        _agree(recorded, settings)


def _endpoint_variable(settings: Settings) -> str:
    names = {ProviderName.AZURE: AZURE, ProviderName.GCP: GCS, ProviderName.R2: R2}
    return names.get(settings.provider, S3).endpoint


async def _recorded_or_made(meta: ObjectStore, settings: Settings) -> dict[str, Any] | None:
    """The recorded layout, or None where this process has just recorded its own."""
    from obstore.exceptions import AlreadyExistsError

    recorded = await _recorded(meta, settings)
    if recorded is None:
        body = json.dumps({"v": LAYOUT_VERSION, "id_case": settings.id_case.value}).encode()
        try:
            await meta.put_async(LAYOUT_KEY, body, mode="create")
        except AlreadyExistsError:
            recorded = await _recorded(meta, settings)
        except Exception as error:  # noqa: BLE001 - obstore's errors have no common root
            raise _translated(error, settings) from None
    return recorded


async def _recorded(meta: ObjectStore, settings: Settings) -> dict[str, Any] | None:
    try:
        body = await (await meta.get_async(LAYOUT_KEY)).bytes_async()
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
            raise _translated(error, settings) from None
        return None
    except Exception as error:  # noqa: BLE001 - obstore's errors have no common root
        raise _translated(error, settings) from None
    if bytes(body).lstrip().startswith(b"<"):
        raise _no_s3(settings)
    try:
        recorded = json.loads(bytes(body))
    except ValueError:
        recorded = None
    if not isinstance(recorded, dict):
        raise LayoutMismatch(
            f"{settings.buckets.meta}/{LAYOUT_KEY} is not a layout that Ringfence wrote.",
            hint="Restore it from a backup; do not delete it while runs are kept there.",
        )
    return recorded


def _no_s3(settings: Settings) -> ConfigError:
    """No store answers every request with a page: a console, a portal or a proxy does."""
    endpoint = getattr(settings.cloud, "endpoint", None)
    found = (
        endpoint and f"{endpoint}, which answers with a page of HTML or XML and not as storage does"
    )
    hint = "A console and the store of the same engine often have two ports."
    expected = "the address of the object store itself"
    return ConfigError((Problem(_endpoint_variable(settings), found, expected, hint),))


def _agree(recorded: dict[str, Any], settings: Settings) -> None:
    where = f"{settings.buckets.meta}/{LAYOUT_KEY}"
    version, id_case = recorded.get("v"), recorded.get("id_case")
    if version != LAYOUT_VERSION:
        raise LayoutMismatch(
            f"{where} says layout {version}; this version of Ringfence knows {LAYOUT_VERSION}.",
            hint="Use the version of Ringfence that wrote it, or a newer one.",
        )
    if id_case != settings.id_case.value:
        raise LayoutMismatch(
            f"RINGFENCE_ID_CASE is {settings.id_case.value!r}, but these buckets were written "
            f"with {id_case!r} ({where}).",
            hint=f"Set RINGFENCE_ID_CASE={id_case}: another choice would look in other places.",
        )


def _translated(error: Exception, settings: Settings) -> Exception:
    return translate(error, what="read the layout", bucket=settings.buckets.named(BucketRole.META))
