"""``ringfence grants``: what a scope may touch, and how exactly that is enforced."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringfence.cli._common import (
    App,
    AsJson,
    EnvFiles,
    Mode,
    RunId,
    User,
    console,
    print_json,
    printable,
    scope_of,
    settings,
)

if TYPE_CHECKING:
    from rich.table import Table

    from ringfence.config import Buckets
    from ringfence.providers.base import PolicyDocument
    from ringfence.scope import Grants


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("grants")(grants)


def grants(
    app: App,
    user: User,
    mode: Mode = "invoke_write",
    run: RunId = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add the native policies and how exact they are.")
    ] = False,
    env_files: EnvFiles = None,
    as_json: AsJson = False,
) -> None:
    """Show what an app's and a user's execution may touch. Asks nothing of the network."""
    from ringfence._registry import open_provider
    from ringfence.scope import grants as grants_of
    from ringfence.storage import utc_now

    configured = settings(env_files)
    granted = grants_of(scope_of(app, user, mode, run), configured.id_case)
    documents = open_provider(configured, utc_now).plan(granted) if explain else ()
    refused = _refused_by_strict(documents) if configured.strict else None
    if as_json:
        print_json(_as_json(granted, configured.buckets, documents, refused))
        return
    console().print(grants_table(granted, configured.buckets))
    for number, document in enumerate(documents, 1):
        areas = ", ".join(grant.area for grant in document.grants)
        typer.echo(f"\nCredential {number} of {len(documents)}, for {areas}: {document.language}")
        typer.echo(json.dumps(json.loads(document.text), indent=2))
        for enforced in document.enforcement:
            typer.echo(f"{enforced.area}: {enforced.coarser or 'enforced exactly'}")
    if refused:
        typer.echo(f"\n{refused}")


def _refused_by_strict(documents: tuple[PolicyDocument, ...]) -> str | None:
    """Why no credential would be issued for these documents under RINGFENCE_STRICT, if so."""
    from ringfence.errors import GrantNotEnforceable
    from ringfence.vending import refuse_coarse

    try:
        refuse_coarse(documents)
    except GrantNotEnforceable:
        areas = [e.area.value for d in documents for e in d.enforcement if not e.exact]
        return (
            "RINGFENCE_STRICT is set: no credential is issued for this scope, since "
            f"{', '.join(areas)} would not be enforced exactly."
        )
    return None


def grants_table(granted: Grants, buckets: Buckets) -> Table:
    """A table of grants for a person."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("AREA", "BUCKET", "PREFIX", "PERMISSIONS"):
        table.add_column(name, overflow="fold")
    for grant in granted:
        table.add_row(
            grant.area.value,
            buckets.of(grant.bucket),
            Text(printable(grant.prefix)),
            _ordered(grant.permissions),
        )
    return table


def _ordered(permissions: frozenset[Any]) -> str:
    from ringfence.scope import Permission

    return " ".join(permission.value for permission in Permission if permission in permissions)


def _as_json(
    granted: Grants,
    buckets: Buckets,
    documents: tuple[PolicyDocument, ...],
    refused: str | None,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "grants": [
            {
                "area": grant.area.value,
                "bucket": buckets.of(grant.bucket),
                "prefix": grant.prefix,
                "permissions": _ordered(grant.permissions).split(),
            }
            for grant in granted
        ]
    }
    if documents:
        row["credentials"] = [
            {
                "areas": [grant.area.value for grant in document.grants],
                "language": document.language,
                "characters": len(document.text),
                "policy": json.loads(document.text),
                "enforcement": {
                    enforced.area.value: enforced.coarser or "exact"
                    for enforced in document.enforcement
                },
            }
            for document in documents
        ]
        row["refused"] = refused
    return row
