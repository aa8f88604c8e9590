"""`spendgate job NAME`: run a job on this machine over the tables of a home."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated

import typer

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import utc_now
from spendgate.cli.console import print_json, print_table, progress
from spendgate.cli.options import Home, Json, Ledger, opened_ledger, parse_instant, settings_from
from spendgate.config import Settings
from spendgate.jobs import drain, maintain

Report = Mapping[str, object]


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("job")(run_job)


def run_job(
    name: Annotated[str, typer.Argument(help="drain, aggregate or maintain.")],
    as_of: Annotated[
        str | None, typer.Option(metavar="TIME", help="Run as of then; default now.")
    ] = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Run a job once and report what it changed; running it twice changes nothing more."""
    job = JOBS.get(name)
    if job is None:
        raise typer.BadParameter(f"there is no job {name!r}; there are: {', '.join(JOBS)}")
    at = utc_now() if as_of is None else parse_instant(as_of)
    settings = settings_from(home, ledger)
    with opened_ledger(settings) as opened, progress(f"{name} is running"):
        report = job(settings, opened, at)
    if as_json:
        print_json(report)
    else:
        print_table(("what", "result"), list(report.items()))


def _drain(settings: Settings, ledger: StoredLedger, _: datetime) -> Report:
    return drain.run(ledger, settings)


def _aggregate(settings: Settings, ledger: StoredLedger, at: datetime) -> Report:
    from spendgate.jobs.aggregate import run_local  # noqa: PLC0415 - slow to load

    return run_local(settings, ledger.policies.policy(), ledger.balances(), at)


def _maintain(settings: Settings, ledger: StoredLedger, at: datetime) -> Report:
    return maintain.run(ledger, settings, at)


JOBS: Mapping[str, Callable[[Settings, StoredLedger, datetime], Report]] = {
    "drain": _drain,
    "aggregate": _aggregate,
    "maintain": _maintain,
}
