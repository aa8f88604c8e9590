"""`spendgate job NAME`: run a job on this machine over the tables of a home."""

from pathlib import Path
from typing import Annotated

import typer

from spendgate.bootstrap import utc_now
from spendgate.cli.console import print_json, print_table, progress
from spendgate.cli.options import Home, Json, Ledger, parse_instant, settings_from
from spendgate.jobs.job_list import JOBS, run_named, unheeded_choices
from spendgate.jobs.job_run import JobRun


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("job")(run_job)


def run_job(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(JOBS)}.")],
    as_of: Annotated[
        str | None, typer.Option(metavar="TIME", help="Run as of then; default now.")
    ] = None,
    home: Home = None,
    ledger: Ledger = None,
    budgets: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The policy file, where a job needs it.")
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make all again from events.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="First instant that is looked at.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="First instant after what is looked at.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Folder or file of an export.")
    ] = None,
    bill: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A simulator's bill (`simulate --bill FILE`): reconcile against it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a job once and report what it changed; running it twice changes nothing more.

    Exit status 1 if the report names problems.
    """
    if name not in JOBS:
        raise typer.BadParameter(f"there is no job {name!r}; there are: {', '.join(JOBS)}")
    run = JobRun(
        settings_from(home, ledger, budgets_file=budgets),
        utc_now() if as_of is None else parse_instant(as_of, "--as-of"),
        rebuild=rebuild,
        since=None if since is None else parse_instant(since, "--since"),
        until=None if until is None else parse_instant(until, "--until"),
        out=out,
        bill=bill,
    )
    if unheeded := unheeded_choices(name, run):
        raise typer.BadParameter(f"{name} takes no {', '.join(unheeded)}")
    with progress(f"{name} is running"):
        report = run_named(name, run)
    if as_json:
        print_json(report)
    else:
        print_table(("what", "result"), list(report.items()))
    if report.get("problems"):
        raise typer.Exit(1)
