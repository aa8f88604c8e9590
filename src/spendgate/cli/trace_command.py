"""`spendgate trace`: replay recorded traffic through the served model."""

from pathlib import Path
from typing import Annotated

import typer

from spendgate.cli.console import print_json
from spendgate.cli.options import Json

FAILED = 1


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("trace")(trace)


def trace(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens.",
        ),
    ],
    home: Annotated[
        Path, typer.Option(help="Folder for all that it makes; an earlier trace's is deleted.")
    ] = Path(".spendgate/trace"),
    upstream: Annotated[
        str | None, typer.Option(help="A model server that runs already; else the simulator.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="One model for all calls; else a mix of the simulator's.")
    ] = None,
    budgets: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Policy file; else one of its own."),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.001, help="Seconds of the trace in one second.")
    ] = 60.0,
    limit: Annotated[
        int | None, typer.Option(min=1, help="The first calls of the file alone.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=512, help="Calls in flight at most.")] = 64,
    as_json: Json = False,
) -> None:
    """Replay a trace, aggregate it, and compare the sums of bill, ledger and tables."""
    from spendgate.demo.replay import ReplayPlan  # noqa: PLC0415 - slow to load
    from spendgate.demo.screen import open_console  # noqa: PLC0415 - slow to load
    from spendgate.demo.trace_run import (  # noqa: PLC0415 - slow to load
        TracePlan,
        report_object,
        run_trace,
        show_trace,
    )

    replaying = ReplayPlan(speed=speed, concurrency=concurrency, model=model)
    plan = TracePlan(file, home, limit, upstream, budgets, replaying)
    console = open_console(to_stderr=as_json)
    report = run_trace(plan, console)
    if as_json:
        print_json(report_object(report))
    else:
        show_trace(report, console)
    if not report.holds:
        raise typer.Exit(FAILED)
