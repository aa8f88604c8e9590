"""`spendgate spend show` and `spendgate audit`: what was spent, and whether the books agree."""

from datetime import datetime
from typing import Annotated

import typer

from spendgate.adapters.standing import standing
from spendgate.bootstrap import utc_now
from spendgate.cli.console import print_json, print_records, say
from spendgate.cli.host_commands import Budgets
from spendgate.cli.options import (
    Home,
    Json,
    Ledger,
    opened_ledger,
    parse_start,
    settings_from,
)
from spendgate.cli.restoring import print_restored, restored
from spendgate.config import Settings
from spendgate.errors import InvalidRequestError

FAILED = 1
MONEY = ("limit_usd", "spent_usd", "held_usd", "remaining_usd", "requests", "cost_usd", "output")


def add_to(program: typer.Typer) -> None:
    """Add the commands to the program."""
    group = typer.Typer(help="Show what was spent.", no_args_is_help=True)
    group.command("show")(show_spend)
    program.add_typer(group, name="spend")
    program.command("audit")(audit)


def show_spend(
    by: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Sum the Delta events, by agent,model …")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="With --by: a date, or 24h, 7d …")
    ] = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Show each budget's limit, spent, held and remaining; with --by, sums of the events."""
    settings = settings_from(home, ledger)
    if since is not None and by is None:
        raise typer.BadParameter("--since needs --by, such as --by day", param_hint="--since")
    if by is None:
        with opened_ledger(settings) as opened:
            records = standing(opened, utc_now())
    else:
        names = list(dict.fromkeys(by.split(",")))
        start = None if since is None else parse_start(since, utc_now(), "--since")
        records = _sums(settings, names, start)
    if as_json:
        print_json(records)
    else:
        print_records(records, numbers=MONEY)


def audit(
    restore: Annotated[
        bool, typer.Option("--restore", help="Rebuild a lost embedded ledger from the tables.")
    ] = False,
    unflushed_usd: Annotated[
        str | None,
        typer.Option(metavar="USD", help="With --restore: the most that was spent or held unseen."),
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="With --restore: a budget that is gone; repeatable."),
    ] = None,
    budgets: Budgets = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Recount the journal and compare every balance; exits 1 if anything differs.

    With --restore, first rebuild a ledger whose disk is gone from the home's tables. Stop the hosts
    before it; what can't be known is cut from every limit until its windows are over.
    """
    settings = settings_from(home, ledger, budgets_file=budgets)
    told: dict[str, object] = {}
    if restore:
        told = restored(settings, unflushed_usd, forget or [])
    elif unflushed_usd is not None or forget:
        raise typer.BadParameter("--unflushed-usd and --forget go with --restore")
    with opened_ledger(settings) as opened:
        report = opened.audit()
    if as_json:
        print_json(
            {
                "problems": list(report.problems),
                "balances_checked": report.balances_checked,
                "events": report.events,
                "holds_open": report.holds_open,
            }
            | told
        )
    else:
        if restore:
            print_restored(told)
        for problem in report.problems:
            say(problem)
        say(
            f"{len(report.problems)} problems in {report.balances_checked} balances, "
            f"{report.events} events, {report.holds_open} open holds"
        )
    if report.problems:
        raise typer.Exit(FAILED)


def _sums(settings: Settings, names: list[str], since: datetime | None) -> list[dict[str, object]]:
    from spendgate.adapters.spend_sums import spend_sums  # noqa: PLC0415 - slow to load

    try:
        return spend_sums(settings.delta_folder, names, since)
    except InvalidRequestError as error:
        if error.field != "by":
            raise
        raise typer.BadParameter(str(error), param_hint="--by") from None
