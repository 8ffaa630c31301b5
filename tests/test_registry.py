"""Backends by name: what the settings choose, and what is missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from obstore.store import MemoryStore

from ringfence._registry import open_provider, open_state
from ringfence.config import Settings
from ringfence.errors import ConfigError, MissingExtra
from ringfence.state.base import StateStore
from ringfence.state.postgres.store import PostgresStateStore
from ringfence.state.redis.store import RedisStateStore
from ringfence.state.s3 import S3StateStore

BASE = {"META_BUCKET": "meta", "CONTENT_BUCKET": "content", "LOG_BUCKET": "logs"}
EXPRESS = {"META_BUCKET": "meta--usw2-az1--x-s3", "META_BUCKET_EXPRESS_ZONE": "true"}


def opened(**env: str) -> StateStore:
    settings = Settings.from_env({**BASE, **env})
    return open_state(settings, MemoryStore, lambda: datetime.now(UTC))


def test_the_environment_chooses() -> None:
    assert isinstance(opened(DATABASE_URL="postgresql://u@h/d"), PostgresStateStore)
    redis = opened(EXECUTION_STATE_BACKEND="redis", REDIS_URL="redis://h:6379/0")
    assert isinstance(redis, RedisStateStore)
    assert isinstance(opened(EXECUTION_STATE_BACKEND="s3"), S3StateStore)


@pytest.mark.parametrize(("env", "ordered"), [({}, True), (EXPRESS, False)])
def test_express_lists_in_no_order(env: dict[str, str], ordered: bool) -> None:
    store: Any = opened(EXECUTION_STATE_BACKEND="s3", **env)
    assert store._ordered is ordered
    assert store._events._ordered is ordered
    assert store._marks._ordered is ordered


@pytest.mark.parametrize("backend", ["postgres", "redis"])
def test_a_missing_url_is_a_problem_with_the_settings(backend: str) -> None:
    with pytest.raises(ConfigError, match="_URL is not set"):
        opened(EXECUTION_STATE_BACKEND=backend)


@pytest.mark.parametrize("backend", ["postgres", "redis"])
def test_a_missing_package_names_its_extra(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    urls = {"DATABASE_URL": "postgresql://u@h/d", "REDIS_URL": "redis://h:6379/0"}
    with pytest.raises(MissingExtra, match=rf"ringfence\[{backend}\]"):
        opened(EXECUTION_STATE_BACKEND=backend, **urls)


GCP = {"STORAGE_PROVIDER": "gcp", "GCS_PROJECT_ID": "acme-project"}


def test_google_cloud_is_opened_and_nothing_asked_of_it() -> None:
    provider = open_provider(Settings.from_env({**BASE, **GCP}), lambda: datetime.now(UTC))
    assert provider.name == "gcp"
    provider.close()


@pytest.mark.parametrize("missing", [None, ModuleNotFoundError("google")])
def test_google_cloud_without_its_package_names_the_extra(
    missing: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(_name: str) -> None:
        if missing is not None:
            raise missing

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    with pytest.raises(MissingExtra, match=r"ringfence\[gcp\]"):
        open_provider(Settings.from_env({**BASE, **GCP}), lambda: datetime.now(UTC))
