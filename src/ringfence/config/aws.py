"""AWS, and every engine that speaks S3 and STS: the settings, and reading them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ringfence.config import shapes
from ringfence.config.endpoints import PATH_STYLE, check_subdomains, read_endpoint
from ringfence.config.environment import FROM_ENVIRONMENT, source_of

if TYPE_CHECKING:
    from ringfence.config.reader import Reader
    from ringfence.layout import BucketRole
    from ringfence.secret import Secret

_ID: Final = "AWS_ACCESS_KEY_ID"
_SECRET: Final = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a variable's name
_TOKEN: Final = "AWS_SESSION_TOKEN"  # noqa: S105 - a variable's name

# IAM's unique id prefixes: AKIA is a long-term access key, ASIA a temporary one.
_KEY_ID_SHAPE: Final = r"(?:AKIA|ASIA)[A-Z0-9]{16}"


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """AWS itself (``endpoint`` is None), or any engine that speaks S3 and STS.

    ``sts_endpoint`` is None for the regional endpoint of AWS. Without ``access_key_id`` the SDK's
    default chain finds the credentials; with it, ``secret_access_key`` is there too.
    """

    region: str = "us-east-1"
    endpoint: str | None = None
    sts_endpoint: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    use_path_style: bool = False
    runtime_role_arn: str | None = None
    express: frozenset[BucketRole] = frozenset()
    express_shared: bool = False
    express_access_points: bool = False


def read_aws(reader: Reader, express: frozenset[BucketRole]) -> AwsSettings:
    """The settings of STORAGE_PROVIDER=aws."""
    endpoint = read_endpoint(reader, "AWS_ENDPOINT")
    # A wrong AWS_ENDPOINT is an endpoint still, so the rules of AWS itself say nothing more.
    on_aws = endpoint.is_aws if endpoint else not reader.is_bad("AWS_ENDPOINT")
    access_key_id, secret, token = _read_keys(reader, on_aws=on_aws)
    return AwsSettings(
        region=_read_region(reader, on_aws=on_aws),
        endpoint=endpoint.url if endpoint else None,
        sts_endpoint=_read_sts_endpoint(reader, endpoint),
        access_key_id=access_key_id,
        secret_access_key=secret,
        session_token=token,
        use_path_style=_read_path_style(reader, endpoint, express),
        runtime_role_arn=_read_role(reader, on_aws=on_aws),
        express=express,
        express_shared=reader.boolean("RINGFENCE_EXPRESS_SHARED"),
        express_access_points=reader.boolean("RINGFENCE_EXPRESS_ACCESS_POINTS"),
    )


def _read_region(reader: Reader, *, on_aws: bool) -> str:
    value = reader.text("AWS_REGION")
    if value is None:
        return ""
    wrong = shapes.region(value, on_aws=on_aws)
    if wrong:
        reader.problem(reader.holder("AWS_REGION"), wrong.expected, wrong.hint)
    return value


def _read_sts_endpoint(reader: Reader, endpoint: shapes.Endpoint | None) -> str | None:
    if reader.holder("AWS_STS_ENDPOINT") == "AWS_STS_ENDPOINT":
        own = read_endpoint(reader, "AWS_STS_ENDPOINT")
        return own.url if own else None
    # An S3 endpoint of AWS's own (a VPC endpoint, say) answers no STS; the region's does.
    return None if endpoint is None or endpoint.is_aws else endpoint.url


def _read_keys(reader: Reader, *, on_aws: bool) -> tuple[str | None, Secret | None, Secret | None]:
    access_key_id = reader.text(_ID)
    secret, token = reader.secret(_SECRET), reader.secret(_TOKEN)
    neither = "Set both, or neither to use the SDK's default chain."
    if access_key_id and not secret:
        reader.missing(_SECRET, f"the secret of {_ID}", neither)
    if secret and not access_key_id:
        reader.missing(_ID, f"the key that {_SECRET} belongs to", neither)
    if token and not access_key_id and not secret:
        hint = f"Set {_ID} and {_SECRET} too, or remove it to use the SDK's default chain."
        reader.problem(_TOKEN, "no session token without its keys", hint)
    if access_key_id and secret:
        _check_pair(reader, access_key_id, secret)
    if access_key_id and on_aws and access_key_id.startswith("ASIA") and not token:
        reader.missing(_TOKEN, f"the session token of {_ID}, which is a temporary key")
    if access_key_id:
        _check_sources(reader, has_token=token is not None)
    return access_key_id, secret, token


def _check_pair(reader: Reader, access_key_id: str, secret: Secret) -> None:
    if re.fullmatch(_KEY_ID_SHAPE, secret.reveal()):
        reader.problem(_SECRET, "a secret, and this is an access key's id", "Are they swapped?")
    # The id stands in the signature's scope, between slashes and before a comma.
    elif not re.fullmatch(r"[^/,=+]{1,128}", access_key_id):
        reader.problem(_ID, "an access key's id, without / , = or +", "Are id and secret swapped?")


def _check_sources(reader: Reader, *, has_token: bool) -> None:
    key, secret, token = (source_of(reader.env, name) for name in (_ID, _SECRET, _TOKEN))
    if has_token and token != key:
        hint = f"It comes from {_from(token)}, {_ID} from {_from(key)}."
        reader.problem(_TOKEN, f"a token from the same place as {_ID}", hint)
    elif secret is not None and secret != key:
        text = f"comes from {_from(secret)}, {_ID} from {_from(key)}; do they belong together?"
        reader.note(_SECRET, text)


def _from(source: str | None) -> str:
    return "the environment" if source in {FROM_ENVIRONMENT, None} else f"{source}"


def _read_path_style(
    reader: Reader, endpoint: shapes.Endpoint | None, express: frozenset[BucketRole]
) -> bool:
    path_style = reader.boolean(PATH_STYLE)
    if express and path_style:
        reader.problem(PATH_STYLE, "false", "S3 Express buckets have no path-style URLs.")
    if express and endpoint is not None and endpoint.is_address:
        hint = "An IP address needs path-style URLs, and S3 Express buckets have none."
        reader.problem("AWS_ENDPOINT", "a host's name, with S3 Express", hint)
    elif not path_style:
        check_subdomains(reader, endpoint)
        _check_dots(reader, endpoint)
    return path_style


def _check_dots(reader: Reader, endpoint: shapes.Endpoint | None) -> None:
    if reader.is_bad(PATH_STYLE) or (endpoint is not None and endpoint.scheme != "https"):
        return
    for name in ("META_BUCKET", "CONTENT_BUCKET", "LOG_BUCKET"):
        if not reader.is_bad(name) and "." in (reader.text(name) or ""):
            hint = "A certificate does not cover a name with dots: set AWS_USE_PATH_STYLE=true."
            reader.problem(name, "a name without dots, or path-style URLs", hint)


def _read_role(reader: Reader, *, on_aws: bool) -> str | None:
    value = reader.text("RUNTIME_ROLE_ARN")
    if value is None:
        reader.note("RUNTIME_ROLE_ARN", "not set; without it nothing fenced can be vended on aws.")
        return None
    wrong = shapes.role_arn(value, on_aws=on_aws)
    if wrong:
        reader.problem("RUNTIME_ROLE_ARN", wrong.expected, wrong.hint)
    return value
