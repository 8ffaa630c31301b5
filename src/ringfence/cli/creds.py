"""``ringfence creds``: fenced credentials for use elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ringfence.cli._common import (
    App,
    EnvFiles,
    Mode,
    RunId,
    User,
    one_of,
    print_json,
    say,
    scope_of,
    with_storage,
)
from ringfence.errors import UsageError

if TYPE_CHECKING:
    from ringfence.providers.base import Credential, Provider
    from ringfence.storage import Storage
    from ringfence.vending import Credentials

FORMATS = ("env", "json", "credential-process", "storage-options", "duckdb")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("creds")(creds)


def creds(
    app: App,
    user: User,
    mode: Mode = "invoke_write",
    run: RunId = None,
    form: Annotated[
        str, typer.Option("--format", help=f"One of: {', '.join(FORMATS)}.", metavar="F")
    ] = "env",
    area: Annotated[
        str | None,
        typer.Option(help="Where there are several credentials, the one for this area."),
    ] = None,
    env_files: EnvFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print temporary credentials, fenced to an app and a user. They are secrets: mind the screen.

    env is for `eval`, credential-process for a profile in an AWS configuration file,
    storage-options for Polars, delta-rs and kin, duckdb is a CREATE SECRET statement.
    """
    form = one_of("--format", form, FORMATS)
    chosen = "json" if as_json else form
    scope = scope_of(app, user, mode, run)

    async def work(storage: Storage) -> tuple[Provider, Credentials]:
        return storage.provider, await storage.vend(scope)

    provider, credentials = with_storage(env_files, work)
    if sys.stdout.isatty():
        say("ringfence: these are secrets until they expire.")
    if chosen == "json":
        print_json([_json(provider, credential) for credential in credentials])
        return
    credential = _pick(credentials, area)
    if chosen == "env":
        _print_env(provider, credential)
    else:
        from ringfence.providers.base import Form

        typer.echo(provider.export(credential, Form(chosen)))


def _pick(credentials: Credentials, area: str | None) -> Credential:
    if area is not None:
        for credential in credentials:
            if area in {grant.area.value for grant in credential.grants}:
                return credential
        raise UsageError(f"No credential of this scope covers the area {area!r}.")
    if len(credentials) > 1:
        areas = ["+".join(g.area.value for g in c.grants) for c in credentials]
        raise UsageError(
            f"This scope needs {len(credentials)} credentials: {', '.join(areas)}.",
            hint="Say which with --area, or use --format json.",
        )
    return credentials[0]


def _json(provider: Provider, credential: Credential) -> dict[str, Any]:
    return {
        "areas": [grant.area.value for grant in credential.grants],
        "urls": {grant.area.value: provider.url(grant) for grant in credential.grants},
        "expires_at": credential.expires_at.isoformat(),
        "environment": provider.environment(credential),
        "enforcement": {
            enforced.area.value: enforced.coarser or "exact" for enforced in credential.enforcement
        },
    }


def _print_env(provider: Provider, credential: Credential) -> None:
    from shlex import quote

    for name, value in provider.environment(credential).items():
        typer.echo(f"export {name}={quote(value)}")
