"""`spendgate prove`: many gates under fire, and a reckoning from the provider's bill."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

FAILED = 1


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("prove")(prove)


def prove(
    home: Annotated[
        Path, typer.Option(help="Folder for all that it makes; an earlier run's is deleted.")
    ] = Path(".spendgate/prove"),
    store: Annotated[str, typer.Option(help="sqlite, postgres (its own server) or both.")] = "both",
    ledger: Annotated[
        str | None,
        typer.Option(help="URL of an empty database of yours; it is used and not crashed."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=5, max=86_400, help="How long faults last.")] = 25.0,
    processes: Annotated[int, typer.Option(min=1, max=32, help="Gates on one ledger.")] = 3,
    clients: Annotated[int, typer.Option(min=1, max=64, help="Clients per gate.")] = 8,
    seed: Annotated[int, typer.Option(help="What clients and faults are drawn from.")] = 1,
    gate: Annotated[
        str | None,
        typer.Option(help="Command that starts spendgate, to try the proof on a broken one."),
    ] = None,
) -> None:
    """Kill and stop gates and a database under traffic, and prove that no budget was overspent."""
    from spendgate.demo.screen import open_console  # noqa: PLC0415 - slow to load
    from spendgate.prove.run import ProvePlan, Store, run_prove  # noqa: PLC0415 - as above

    if store not in set(Store):
        raise typer.BadParameter(f"{store!r} is not one of {', '.join(Store)}")
    plan = ProvePlan(home, Store(store), ledger, seconds, processes, clients, seed)
    if gate is not None:
        plan = ProvePlan(
            home, Store(store), ledger, seconds, processes, clients, seed, shlex.split(gate)
        )
    if not run_prove(plan, open_console()):
        raise typer.Exit(FAILED)
