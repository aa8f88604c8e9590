"""`spendgate verify --workspace`: turn "to be verified" into "verified", and keep the report."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from spendgate.bootstrap import utc_now
from spendgate.cli.console import note, print_table, say
from spendgate.cli.options import Ledger
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
from spendgate.domain.money import MoneyError, parse_usd
from spendgate.errors import HostError

FAILED = 1


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("verify")(verify)


def verify(
    workspace: InWorkspace = False,
    target: OfTarget = Target.DEV,
    catalog: Catalog = "main",
    schema: Schema = "spendgate",
    service_principal: ServicePrincipal = None,
    credentials_scope: CredentialsScope = CREDENTIALS_SCOPE,
    warehouse_id: WarehouseId = None,
    ledger: Ledger = None,
    model: Annotated[str, typer.Option(help="A cheap model.")] = "databricks-gpt-oss-20b",
    caching_model: Annotated[
        str, typer.Option(help="A Claude model.")
    ] = "databricks-claude-haiku-4-5",
    max_usd: Annotated[
        str, typer.Option(metavar="USD", help="Refuse to start above this ceiling.")
    ] = "0.25",
    out: Annotated[
        Path | None, typer.Option("--out", dir_okay=False, help="Default docs/verified-DATE.md.")
    ] = None,
) -> None:
    """Run every step of "to verify on a workspace" once; some make a tiny paid call.

    Writes a dated report. Exits 1 if a step fails.
    """
    if not workspace:
        raise typer.BadParameter("say --workspace: some steps make paid calls there")
    # Slow to load, and no other command needs them.
    from spendgate.cli.verify_run import opened_site, report_text, run_step  # noqa: PLC0415
    from spendgate.cli.verify_steps import STEPS, Status  # noqa: PLC0415

    ceiling = sum((step.ceiling_usd for step in STEPS), Decimal(0))
    try:
        most = parse_usd(max_usd)
    except MoneyError as error:
        raise typer.BadParameter(str(error), param_hint="--max-usd") from None
    if parse_usd(ceiling) > most:
        raise HostError(f"the steps may cost {ceiling} USD in all, above --max-usd {max_usd}")
    note(f"{len(STEPS)} steps; paid calls of {ceiling} USD at most, less than a tenth as a rule")
    choices = Choices(
        target, catalog, schema, service_principal, credentials_scope, warehouse_id, ledger
    )
    at = utc_now()
    with opened_site(choices, ceiling, model, caching_model) as site:
        outcomes = [run_step(step, site) for step in STEPS]
        text = report_text(outcomes, site.names, at)
    folder = Path("docs")
    path = out or (folder if folder.is_dir() else Path()) / f"verified-{at:%Y-%m-%d}.md"
    path.write_text(text, "utf-8")
    rows = [(str(one.step.number), one.status, one.step.name, one.answer) for one in outcomes]
    print_table(("#", "status", "what", "answer"), rows)
    say(f"{sum((one.cost_usd for one in outcomes), Decimal(0))} USD; kept in {path}")
    failed = [one for one in outcomes if one.status is Status.FAILED]
    for one in failed:
        note(f"step {one.step.number} failed: {one.step.name}: {one.answer}")
    if failed:
        raise typer.Exit(FAILED)
