"""What the front checks, by name, so that a test can switch each off and see what it was for."""

from __future__ import annotations

from enum import Enum, auto


class Check(Enum):
    """One check. Each is on unless a test of the double itself says otherwise."""

    # Of the token endpoint and of the exchange.
    SIGNATURE_OF_GRANT = auto()
    SCOPED_SOURCE = auto()
    TOKEN_TYPES = auto()
    ONE_BOUNDARY = auto()
    RULES = auto()
    FUNCTIONS = auto()
    QUOTED_OPTIONS = auto()
    KNOWN_ROLES = auto()
    # Of a request.
    KNOWN_TOKEN = auto()
    EXPIRY = auto()
    BUCKET = auto()
    PERMISSION = auto()
    CONDITION = auto()
    LIST_PREFIX = auto()
    REPLACING = auto()
    COPY_SOURCE = auto()
    COMPOSE_SOURCE = auto()
    BATCH_PARTS = auto()
    UPLOAD_PLACE = auto()
    UPLOAD_NAME = auto()
    PRECONDITION = auto()
    DOT_SEGMENTS = auto()
    ACL_HEADERS = auto()
    SIGNED_URL = auto()
    FOLDERS = auto()
