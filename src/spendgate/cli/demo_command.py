"""`spendgate demo`: a crowd of agents against nested budgets, and the proof."""

from pathlib import Path
from typing import Annotated

import typer

FAILED = 1


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("demo")(demo)


def demo(
    home: Annotated[
        Path, typer.Option(help="Folder for all that it makes; an earlier demo's is deleted.")
    ] = Path(".spendgate/demo"),
    agents: Annotated[int, typer.Option(min=8, max=500, help="Size of the crowd.")] = 36,
    seconds_max: Annotated[
        float, typer.Option(min=1, help="When the crowd stops at the latest.")
    ] = 120.0,
    trace: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Replay this trace instead of a crowd."),
    ] = None,
) -> None:
    """Run agents against nested budgets, and prove that bill, ledger and tables agree."""
    from spendgate.demo.run import DemoPlan, run_demo  # noqa: PLC0415 - slow to load
    from spendgate.demo.screen import open_console  # noqa: PLC0415 - slow to load
    from spendgate.demo.trace_run import TracePlan, run_trace, show_trace  # noqa: PLC0415 - as above

    console = open_console()
    if trace is None:
        holds = run_demo(DemoPlan(home, agents, seconds_max), console)
    else:
        report = run_trace(TracePlan(trace, home), console)
        show_trace(report, console)
        holds = report.holds
    if not holds:
        raise typer.Exit(FAILED)
