"""The installations of every cloud's own tests, side by side."""

from __future__ import annotations

from tests.azure.conftest import azurite, front, keyed, shared_front
from tests.express.conftest import aws, express
from tests.gcp.conftest import backend, gcs
from tests.isolation.conftest import installation
from tests.r2.conftest import by_api, local, r2_engine

__all__ = [
    "aws",
    "azurite",
    "backend",
    "by_api",
    "express",
    "front",
    "gcs",
    "installation",
    "keyed",
    "local",
    "r2_engine",
    "shared_front",
]
