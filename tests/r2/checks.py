"""What the doubles check. Each can be switched off, to show that a test notices."""

from __future__ import annotations

from enum import StrEnum


class Check(StrEnum):
    """A check, named for what it is about."""

    # The request.
    SIGNATURE = "the signature"
    SIGNED_HEADERS = "that every x-amz- header is signed"
    DATE = "the date of the signature"
    PAYLOAD = "the digest of the body"
    URL_LIFE = "the life of a presigned URL"
    UNKNOWN = "that nothing unknown is asked for"
    DOTS = "that no key has dot segments"
    # The session token.
    TOKEN_SIGNATURE = "the signature of the token"
    ISSUER = "the token's issuer"
    SUBJECT = "the token's subject"
    AUDIENCE = "the token's audience"
    EXPIRY = "the token's expiry"
    # What the session may do.
    BUCKET = "the bucket"
    OPERATION = "the operation"
    PATH = "the path of the object"
    LIST_PREFIX = "the prefix of a listing"
    COPY_SOURCE = "the source of a copy"
    DELETE_KEYS = "each key of a bulk delete"
    # The upload.
    PART_SIZES = "the sizes of an upload's parts"
    # The API.
    BEARER = "the bearer's token"
    PERMISSION = "the permission of the bearer's token"
    ACCOUNT = "the account"
    PARENT = "the parent key"
    PARENT_RIGHTS = "that a credential has no more than its parent"
    TTL = "the life that is asked for"
    PREFIXES = "the prefixes that are asked for"


NONE_OFF: frozenset[Check] = frozenset()
