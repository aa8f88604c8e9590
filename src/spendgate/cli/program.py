"""The program: all commands put together, and errors as one clear line."""

from collections.abc import Sequence

import typer

from spendgate.cli import (
    adjust_command,
    budget_commands,
    budget_import,
    dashboard_commands,
    demo_command,
    doctor_command,
    explain_command,
    host_commands,
    job_command,
    price_commands,
    prove_command,
    replay_command,
    request_commands,
    scope_commands,
    spend_commands,
    sql_command,
    token_commands,
    trace_command,
    verify_command,
)
from spendgate.errors import SpendgateError

FAILED = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits 0 when done, 1 when it failed, 2 on wrong usage."""
    try:
        make_program()(args=arguments, prog_name="spendgate")
    except SpendgateError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(FAILED) from None


def make_program() -> typer.Typer:
    """Put the commands together."""
    program = typer.Typer(
        name="spendgate",
        help="Hard LLM budgets: money is reserved before the call.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # boxes would break an error into several lines
    )
    host_commands.add_to(program)
    budgets = budget_commands.make_group()
    budget_import.add_to(budgets)
    explain_command.add_to(budgets)
    request_commands.add_to(budgets)
    program.add_typer(budgets, name="budget")
    scope_commands.add_to(program)
    program.add_typer(price_commands.make_group(), name="price")
    program.add_typer(token_commands.make_group(), name="token")
    spend_commands.add_to(program)
    adjust_command.add_to(program)
    job_command.add_to(program)
    sql_command.add_to(program)
    program.add_typer(dashboard_commands.make_group(), name="dashboard")
    demo_command.add_to(program)
    prove_command.add_to(program)
    trace_command.add_to(program)
    replay_command.add_to(program)
    doctor_command.add_to(program)
    verify_command.add_to(program)
    return program
