"""Settings: read once from the environment, checked whole, then passed around as values.

Only :mod:`ringfence.config.environment` reads ``os.environ``. The table of variables is in
:mod:`ringfence.config.variables`; :mod:`ringfence.config.report` has what ``ringfence config``
shows. Each cloud's settings are in its own module, imported when they are asked for, since making
four clouds' classes would be a third of the time that this package takes to import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ringfence.config.environment import Environment, load_environment, process_environment
from ringfence.config.model import Buckets, StateBackend
from ringfence.config.names import is_configuration_variable
from ringfence.config.revealed import secret_values
from ringfence.config.settings import Settings
from ringfence.config.variables import SECRET_VARIABLES, VARIABLES, ProviderName, Variable

if TYPE_CHECKING:
    from ringfence.config.aws import AwsSettings
    from ringfence.config.azure import AzureSettings
    from ringfence.config.gcp import GcpSettings
    from ringfence.config.r2 import R2Mint, R2Settings

__all__ = [
    "SECRET_VARIABLES",
    "VARIABLES",
    "AwsSettings",
    "AzureSettings",
    "Buckets",
    "Environment",
    "GcpSettings",
    "ProviderName",
    "R2Mint",
    "R2Settings",
    "Settings",
    "StateBackend",
    "Variable",
    "is_configuration_variable",
    "load_environment",
    "process_environment",
    "secret_values",
]

_CLOUDS: Final = {
    "AwsSettings": "aws",
    "AzureSettings": "azure",
    "GcpSettings": "gcp",
    "R2Mint": "r2",
    "R2Settings": "r2",
}


def __getattr__(name: str) -> Any:
    if name not in _CLOUDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_CLOUDS[name]}"), name)
