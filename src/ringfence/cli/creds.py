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
        typer.Option(help="Where there are several credentials, only the one for this area."),
    ] = None,
    env_files: EnvFiles = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Print temporary credentials, fenced to an app and a user. They are secrets: mind the screen.

    env is for `eval`, credential-process for a profile in an AWS configuration file,
    storage-options for Polars, delta-rs and kin, duckdb is a CREATE SECRET statement.

    Some clouds need several credentials for one scope. env then has the first in the usual
    variables and those of the other areas by name, as `ringfence run` sets them
    (RINGFENCE_LOGS_AWS_SESSION_TOKEN); json and duckdb have all of them; the other formats hold one
    credential, which --area chooses.
    """
    form = one_of("--format", form, FORMATS)
    chosen = "json" if as_json else form
    scope = scope_of(app, user, mode, run)

    async def work(storage: Storage) -> tuple[Provider, Credentials]:
        return storage.provider, await storage.vend(scope)

    provider, credentials = with_storage(env_files, work)
    if area is not None:
        credentials = (_of_area(credentials, area),)
    if sys.stdout.isatty():
        say("ringfence: these are secrets until they expire.")
    match chosen:
        case "json":
            print_json([_json(provider, credential) for credential in credentials])
        case "env":
            _print_env(provider, credentials)
        case _:
            _print_exported(provider, credentials, chosen)


def _of_area(credentials: Credentials, area: str) -> Credential:
    from ringfence.workspace import to_area

    wanted = to_area(area)
    for credential in credentials:
        if credential.covers(wanted):
            return credential
    raise UsageError(
        f"This scope does not reach the area {area}.",
        hint=f"It reaches: {', '.join(_areas(credentials))}.",
    )


def _areas(credentials: Credentials) -> list[str]:
    return [grant.area.value for credential in credentials for grant in credential.grants]


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


def _print_env(provider: Provider, credentials: Credentials) -> None:
    from shlex import quote

    from ringfence.executor.native import by_area

    named = by_area(credentials, [provider.environment(each) for each in credentials])
    for name, value in named.items():
        typer.echo(f"export {name}={quote(value)}")


def _print_exported(provider: Provider, credentials: Credentials, chosen: str) -> None:
    from ringfence.providers.base import Form

    form = Form(chosen)
    # A secret of DuckDB's has its own scope, so several stand beside each other.
    if len(credentials) > 1 and form is not Form.DUCKDB:
        raise UsageError(
            f"{chosen} holds one credential, and this scope needs {len(credentials)}.",
            hint=f"Say which with --area, one of {', '.join(_areas(credentials))}; or use --format "
            "env, json or duckdb, which have all of them.",
        )
    # All are made before the first is printed: some clouds refuse a form.
    for text in [provider.export(credential, form) for credential in credentials]:
        typer.echo(text)
