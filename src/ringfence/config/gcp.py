"""Google Cloud Storage: its settings, and reading them.

``GOOGLE_APPLICATION_CREDENTIALS_JSON`` comes raw or in base64, and is checked for its fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ringfence.config.endpoints import read_endpoint
from ringfence.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringfence.config.reader import Reader

NAME: Final = "GOOGLE_APPLICATION_CREDENTIALS_JSON"

# What google-auth's loader asks of each type of credentials file.
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "service_account": ("project_id", "private_key", "client_email", "token_uri"),
    "authorized_user": ("client_id", "client_secret", "refresh_token"),
    "external_account": ("audience", "subject_token_type", "token_url", "credential_source"),
    "external_account_authorized_user": (
        "client_id",
        "client_secret",
        "refresh_token",
        "token_url",
    ),
    "impersonated_service_account": ("service_account_impersonation_url", "source_credentials"),
}
# Keeps the nesting far below what the JSON parser can recurse.
_MOST_BRACKETS: Final = 200
_TTL: Final = "RINGFENCE_CREDENTIAL_TTL"
_EXPECTED: Final = "the JSON of a Google credentials file, raw or in base64"


@dataclass(frozen=True, slots=True)
class GcpSettings:
    """Google Cloud Storage. Without ``service_account_json``, application default credentials.

    ``service_account_json`` is JSON text, whatever form it came in, with the fields that its
    ``type`` needs. ``endpoint`` and ``sts_endpoint`` are URLs without a path, Google's own where
    they are None.
    """

    project_id: str | None = None
    service_account_json: Secret | None = None
    endpoint: str | None = None
    sts_endpoint: str | None = None


class _NotCredentials(ValueError):
    """Never quotes the value."""

    def __init__(self, expected: str, hint: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


def read_gcp(reader: Reader) -> GcpSettings:
    """The settings of STORAGE_PROVIDER=gcp."""
    project = reader.text("GCS_PROJECT_ID")
    pattern = r"(?:[a-z0-9.-]{3,60}:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{6,19}"
    if project and not re.fullmatch(pattern, project):
        reader.problem("GCS_PROJECT_ID", "a project's id, such as my-project-123")
    credentials, its_project = _read_credentials(reader)
    endpoint = read_endpoint(reader, "GCS_ENDPOINT")
    sts = read_endpoint(reader, "GCS_STS_ENDPOINT")
    if reader.env.get(_TTL):
        reader.note(_TTL, "Google decides how long a token lives: an hour at most.")
    return GcpSettings(
        project or its_project,
        credentials,
        endpoint.url if endpoint else None,
        sts.url if sts else None,
    )


def _read_credentials(reader: Reader) -> tuple[Secret | None, str | None]:
    """The credentials as JSON text, and the project that they name."""
    value = reader.text(NAME)
    if value is None:
        return None, None
    try:
        fields = _parse(value)
        _check(fields)
    except _NotCredentials as wrong:
        reader.problem(NAME, wrong.expected, wrong.hint)
        return None, None
    import json

    # Of an external account this is the project that pays.
    project = fields.get("project_id") or fields.get("quota_project_id")
    return Secret(json.dumps(fields)), project if isinstance(project, str) else None


def _parse(value: str) -> dict[str, object]:
    import json

    # Some editors begin a file with a byte order mark, and pasting keeps it.
    value = value.removeprefix("\ufeff").strip()
    text = value if value.startswith("{") else _decoded(value)
    if text.count("{") + text.count("[") > _MOST_BRACKETS:
        raise _NotCredentials(_EXPECTED, "It has more brackets than any credentials file.")
    try:
        # Not strict, since some tools turn the key's \n into line breaks on the way.
        fields = json.loads(text, strict=False)
    except ValueError as error:
        place = getattr(error, "pos", None)
        where = None if place is None else f"It cannot be read from character {place:,} on."
        raise _NotCredentials(_EXPECTED, where) from None
    if not isinstance(fields, dict):
        raise _NotCredentials(_EXPECTED, "It is JSON, but not an object.")
    return fields


def _decoded(value: str) -> str:
    import base64

    if value.startswith(("/", "./", "~")) or value.endswith(".json"):
        hint = "That looks like a path; the content of the file is wanted."
        raise _NotCredentials(_EXPECTED, hint)
    packed = "".join(value.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        data = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
        return data.decode("utf-8-sig").strip()
    except ValueError:
        hint = "It is neither an object, which begins with {, nor base64."
        raise _NotCredentials(_EXPECTED, hint) from None


def _check(fields: Mapping[str, object]) -> None:
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        expected = f"credentials with a type among {', '.join(_FIELDS)}"
        raise _NotCredentials(expected)
    absent = [name for name in _FIELDS[kind] if not fields.get(name)]
    if absent:
        hint = f"Missing: {', '.join(absent)}."
        raise _NotCredentials(f"credentials with every field that {kind} has", hint)
    if kind == "service_account":
        _check_service_account(fields)


def _check_service_account(fields: Mapping[str, object]) -> None:
    texts = [name for name in _FIELDS["service_account"] if not isinstance(fields[name], str)]
    if texts:
        raise _NotCredentials("credentials whose fields are text", f"Not so: {', '.join(texts)}.")
    key = str(fields["private_key"])
    if "-----BEGIN" not in key or "PRIVATE KEY-----" not in key:
        raise _NotCredentials("credentials whose private_key is a PEM private key")
    if "\\n" in key:
        hint = "Its line breaks are escaped twice: in the JSON they are \\n, not \\\\n."
        raise _NotCredentials("credentials whose private_key has line breaks", hint)
