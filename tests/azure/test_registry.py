"""The provider by its settings: what it is, what it loads, and what is missing."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import pytest

from ringfence._registry import open_provider
from ringfence.config import Settings
from ringfence.errors import GrantNotEnforceable, MissingExtra
from ringfence.providers.azure.provider import AzureProvider
from ringfence.scope import Scope, grants
from ringfence.vending import Vendor
from tests.azure import golden

ENV = {
    "STORAGE_PROVIDER": "azure",
    "AZURE_STORAGE_ACCOUNT_NAME": "goldenaccount",
    "AZURE_STORAGE_ACCOUNT_KEY": golden.KEY,
    "META_BUCKET": "meta",
    "CONTENT_BUCKET": "content",
    "LOG_BUCKET": "logs",
    "RINGFENCE_CREDENTIAL_TTL": "900",
}


def now() -> datetime:
    return datetime.now(UTC)


def test_the_settings_open_it() -> None:
    provider = open_provider(Settings.from_env(ENV), now)
    assert isinstance(provider, AzureProvider)
    assert provider.name == "azure"
    assert provider._ttl == timedelta(seconds=900)
    assert provider.address(grants(Scope("a", "u"))[0]) == {
        "bucket": "content",
        "account": "goldenaccount",
        "endpoint": "https://goldenaccount.blob.core.windows.net",
    }
    provider.close()


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> Any:
        if name.startswith("azure"):
            raise ModuleNotFoundError(name)
        return find_spec(name)

    monkeypatch.setattr("importlib.util.find_spec", without)
    with pytest.raises(MissingExtra, match=r"ringfence\[azure\]"):
        open_provider(Settings.from_env(ENV), now)


PLANNED = """
import sys
from datetime import UTC, datetime
from ringfence._registry import open_provider
from ringfence.config import Settings
from ringfence.scope import Scope, grants

provider = open_provider(Settings.from_env({env!r}), lambda: datetime.now(UTC))
assert len(provider.plan(grants(Scope("a", "u")))) == 4
heavy = ("azure.storage.blob", "azure.identity", "obstore", "httpx", "cryptography")
heavy = [name for name in heavy if name in sys.modules]
sys.exit(f"loaded {{heavy}}" if heavy else 0)
"""


def test_what_is_only_shown_loads_no_sdk() -> None:
    code = PLANNED.format(env=ENV)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_strict_is_content_with_it() -> None:
    vendor = Vendor(golden.provider(delegated=False), clock=lambda: golden.NOW, strict=True)
    held = grants(Scope(*golden.IDS))
    assert len(await vendor.vend(held, session="x")) == len(held)
    vendor.close()


async def test_nothing_is_vended_where_the_fence_does_not_hold() -> None:
    def broken() -> None:
        raise GrantNotEnforceable("It does not hold.")

    provider = golden.provider(delegated=False)
    provider.__dict__["_check_fence"] = broken
    vendor = Vendor(provider, clock=lambda: golden.NOW)
    with pytest.raises(GrantNotEnforceable):
        await vendor.vend(grants(Scope(*golden.IDS)), session="x")
    vendor.close()
