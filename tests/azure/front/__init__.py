"""A hierarchical-namespace account in front of Azurite, which has none. See ``server``."""

from tests.azure.front.model import CHECKS, Principal, Rules
from tests.azure.front.server import Front

__all__ = ["CHECKS", "Front", "Principal", "Rules"]
