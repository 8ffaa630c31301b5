"""Reads the names of the three buckets, and which of them are S3 Express One Zone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ringfence.config import shapes
from ringfence.config.model import Buckets
from ringfence.config.reader import TRUE
from ringfence.config.variables import ProviderName
from ringfence.layout import BucketRole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ringfence.config.reader import Reader

_GENERIC: Final[Mapping[BucketRole, str]] = {
    BucketRole.META: "META_BUCKET",
    BucketRole.CONTENT: "CONTENT_BUCKET",
    BucketRole.LOG: "LOG_BUCKET",
}
# A cloud's own names come first; the generic ones are their fallbacks in the table.
_OWN: Final[Mapping[ProviderName, Mapping[BucketRole, str]]] = {
    ProviderName.AZURE: {
        BucketRole.META: "AZURE_META_CONTAINER",
        BucketRole.CONTENT: "AZURE_CONTENT_CONTAINER",
        BucketRole.LOG: "AZURE_LOG_CONTAINER",
    },
    ProviderName.GCP: {
        BucketRole.META: "GCP_META_BUCKET",
        BucketRole.CONTENT: "GCP_CONTENT_BUCKET",
        BucketRole.LOG: "GCP_LOG_BUCKET",
    },
}
_FLAGS: Final[Mapping[BucketRole, str]] = {
    BucketRole.META: "META_BUCKET_EXPRESS_ZONE",
    BucketRole.CONTENT: "CONTENT_BUCKET_EXPRESS_ZONE",
    BucketRole.LOG: "LOGS_BUCKET_EXPRESS_ZONE",
}
_PURPOSES: Final[Mapping[BucketRole, str]] = {
    BucketRole.META: "app metadata and execution state",
    BucketRole.CONTENT: "user content and workflow data",
    BucketRole.LOG: "execution logs",
}

_EXPRESS_SHAPE: Final = "an S3 Express name, base--zone--x-s3, such as meta--usw2-az1--x-s3"


def read_buckets(reader: Reader, provider: ProviderName) -> tuple[Buckets, frozenset[BucketRole]]:
    """The three names, and the roles whose bucket is S3 Express."""
    variables = _OWN.get(provider, _GENERIC)
    names = {role: _name(reader, provider, variables[role], role) for role in BucketRole}
    _check_distinct(reader, variables, names)
    if provider is ProviderName.AWS:
        express = frozenset(role for role in BucketRole if _is_express(reader, role, names[role]))
        _note_zones(reader, [names[role] for role in BucketRole if role in express])
    else:
        express = frozenset()
        _refuse_express(reader)
    meta, content, log = (reader.holder(variables[role]) for role in BucketRole)
    buckets = Buckets(*names.values(), variables=(meta, content, log))
    return buckets, express


def check_shared_names(reader: Reader) -> None:
    """Reports what is wrong with the names whichever provider is meant, when none could be read.

    A role for which a cloud's own variable is set is left alone, since that may be the cloud.
    """
    own = {role: [reader.env.get(each[role], "") for each in _OWN.values()] for role in BucketRole}
    names = {
        role: "" if any(map(str.strip, own[role])) else _shared_name(reader, role)
        for role in BucketRole
    }
    _check_distinct(reader, _GENERIC, names)


def _shared_name(reader: Reader, role: BucketRole) -> str:
    variable = _GENERIC[role]
    name = reader.required(variable, f"the name of the bucket for {_PURPOSES[role]}")
    # Told by R2's rule, since what that takes is good on nearly every cloud.
    wrong = shapes.bucket(ProviderName.R2, name)
    if name and wrong and all(shapes.bucket(provider, name) for provider in ProviderName):
        reader.problem(variable, wrong.expected, wrong.hint)
    return name


def _name(reader: Reader, provider: ProviderName, variable: str, role: BucketRole) -> str:
    kind = "container" if provider is ProviderName.AZURE else "bucket"
    expected = f"the name of the {kind} for {_PURPOSES[role]}"
    name = reader.required(variable, expected, _other_clouds_hint(reader, provider, role))
    if not name:
        return name
    # An Express name is judged with its flag, below.
    is_express = provider is ProviderName.AWS and name.endswith(shapes.EXPRESS_END)
    wrong = None if is_express else shapes.bucket(provider, name)
    if wrong:
        reader.problem(reader.holder(variable), wrong.expected, wrong.hint)
    return name


def _other_clouds_hint(reader: Reader, provider: ProviderName, role: BucketRole) -> str | None:
    for other, variables in _OWN.items():
        if other is not provider and reader.env.get(variables[role], "").strip():
            name = variables[role]
            return f"{name} is set, which is read with STORAGE_PROVIDER={other}."
    return None


def _check_distinct(
    reader: Reader, variables: Mapping[BucketRole, str], names: Mapping[BucketRole, str]
) -> None:
    """Refuses one bucket for two roles.

    In meta and content an app's prefix is the same, ``apps/{app}/``, so sharing opens metadata to
    executions. Logs would not collide by prefix, but several fences (R2's credential, Express's
    session, a bucket's life cycle) end at the bucket, so they get their own as well.
    """
    first: dict[str, BucketRole] = {}
    for role, name in names.items():
        if name and name in first:
            other = reader.holder(variables[first[name]])
            reader.problem(
                reader.holder(variables[role]),
                f"another name than {other} has",
                "The fences between apps, state and logs need a bucket for each.",
            )
        first.setdefault(name, role)


def _is_express(reader: Reader, role: BucketRole, name: str) -> bool:
    flag = reader.boolean(_FLAGS[role])
    if not name:
        return flag
    zone = shapes.express_zone(name)
    if flag and zone is None:
        hint = f"For a standard bucket set {_FLAGS[role]}=false."
        reader.problem(_GENERIC[role], f"{_EXPRESS_SHAPE}, since {_FLAGS[role]} is true", hint)
    elif not flag and zone is not None:
        hint = f"{_GENERIC[role]} has the name of an S3 Express bucket."
        reader.missing(_FLAGS[role], "true", hint)
    elif zone is None and name.endswith(shapes.EXPRESS_END):
        hint = "S3 reserves names with --x-s3 for S3 Express."
        reader.problem(_GENERIC[role], f"a standard bucket's name, or {_EXPRESS_SHAPE}", hint)
    return flag


def _note_zones(reader: Reader, names: list[str]) -> None:
    zones = sorted({zone for name in names if (zone := shapes.express_zone(name))})
    if len(zones) > 1:
        text = f"the S3 Express buckets lie in several zones ({', '.join(zones)}); one is faster."
        reader.note("META_BUCKET_EXPRESS_ZONE", text)
    region = reader.text("AWS_REGION")
    for zone in zones:
        if region and shapes.zone_is_elsewhere(zone, region):
            reader.note("AWS_REGION", f"the S3 Express zone {zone} belongs to another region.")


def _refuse_express(reader: Reader) -> None:
    for flag in _FLAGS.values():
        if reader.env.get(flag, "").strip().lower() in TRUE:
            reader.problem(flag, "false", "S3 Express is there with STORAGE_PROVIDER=aws only.")
