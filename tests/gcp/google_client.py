"""Google's own client library, imported without its remark about gRPC, which nothing here uses."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ImportWarning)
    from google.api_core.exceptions import Forbidden, GoogleAPIError
    from google.cloud import storage  # type: ignore[import-untyped]
    from google.cloud.storage._signing import (  # type: ignore[import-untyped]
        generate_signed_url_v4,
    )

__all__ = ["Forbidden", "GoogleAPIError", "generate_signed_url_v4", "storage"]
