"""`spendgate doctor`: is everything here that calls, jobs and tables need?"""

from typing import Annotated

import typer

from spendgate.cli.checks import Status, run_checks
from spendgate.cli.console import print_json, print_table, say
from spendgate.cli.host_check import check_host
from spendgate.cli.host_commands import Budgets, Upstream
from spendgate.cli.options import Home, Json, Ledger, settings_from
from spendgate.cli.workspace_names import CREDENTIALS_SCOPE, Choices, Target
from spendgate.cli.workspace_options import (
    Catalog,
    CredentialsScope,
    InWorkspace,
    OfTarget,
    Schema,
    ServicePrincipal,
    WarehouseId,
)

FAILED = 1


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("doctor")(doctor)


def doctor(
    home: Home = None,
    ledger: Ledger = None,
    upstream: Upstream = None,
    budgets: Budgets = None,
    host: Annotated[
        str | None, typer.Option(metavar="URL", help="Also ask a running host how it is.")
    ] = None,
    workspace: InWorkspace = False,
    target: OfTarget = Target.DEV,
    catalog: Catalog = "main",
    schema: Schema = "spendgate",
    service_principal: ServicePrincipal = None,
    credentials_scope: CredentialsScope = CREDENTIALS_SCOPE,
    warehouse_id: WarehouseId = None,
    as_json: Json = False,
) -> None:
    """Check this installation, or with --workspace what the bundle needs; exits 1 if one fails.

    Each line says what to do. Nothing is changed, but a ledger that is empty or of an
    earlier version gets its tables, as by every command that opens it.
    """
    if workspace:
        from spendgate.cli.workspace_checks import run_workspace_checks  # noqa: PLC0415 - slow

        choices = Choices(
            target, catalog, schema, service_principal, credentials_scope, warehouse_id, ledger
        )
        found = run_workspace_checks(choices)
    else:
        settings = settings_from(home, ledger, upstream_url=upstream, budgets_file=budgets)
        found = run_checks(settings)
        if host is not None:
            found.append(check_host(host, settings))
    if as_json:
        print_json(
            [
                {
                    "check": one.name,
                    "status": one.status.value,
                    "detail": one.detail,
                    "way_out": one.way_out,
                    "figures": dict(one.figures),
                }
                for one in found
            ]
        )
    else:
        rows = [(one.status.value, one.name, one.detail, one.way_out) for one in found]
        print_table(("status", "check", "detail", "way out"), rows)
        counted = [sum(one.status is status for one in found) for status in Status]
        say(", ".join(f"{count} {status}" for count, status in zip(counted, Status, strict=True)))
    if any(one.status is Status.FAIL for one in found):
        raise typer.Exit(FAILED)
