"""`spendgate pause|resume SCOPE`: stop a scope at once, and let it go on."""

from typing import Annotated

import typer

from spendgate.bootstrap import utc_now
from spendgate.cli.budget_commands import SEEN_AT_ONCE
from spendgate.cli.console import print_json, print_table, say
from spendgate.cli.options import (
    Home,
    Json,
    Ledger,
    opened_ledger,
    parse_rule_scope,
    parse_scope,
    settings_from,
    system_user,
)
from spendgate.errors import PolicyError


def add_to(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.command("pause")(pause)
    program.command("resume")(resume)


def pause(
    scope: Annotated[
        str | None,
        typer.Argument(help="Such as agent:triage-bot; without one, what is paused is listed."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; shown to operators.")] = "paused by an operator",
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Refuse every call of a scope from now on; calls in flight finish."""
    settings = settings_from(home, ledger)
    if scope is None:
        with opened_ledger(settings) as opened:
            pauses = opened.policies.pauses()
        rows = [(one.scope, one.reason, one.paused_at.isoformat()) for one in pauses]
        columns = ("scope", "reason", "paused_at")
        if as_json:
            print_json([dict(zip(columns, row, strict=True)) for row in rows])
        else:
            print_table(columns, rows)
        return
    stopped = parse_rule_scope(scope, "SCOPE")
    with opened_ledger(settings, may_create=True) as opened:
        opened.policies.by(system_user(), reason).pause(stopped, reason, utc_now())
    say(f"{stopped.text} is paused ({reason}); {SEEN_AT_ONCE}; `spendgate resume` lifts it")


def resume(
    scope: Annotated[str, typer.Argument(help="As it was paused.")],
    home: Home = None,
    ledger: Ledger = None,
) -> None:
    """Lift a pause."""
    freed = parse_scope(scope, "SCOPE")
    with opened_ledger(settings_from(home, ledger)) as opened:
        was_paused = opened.policies.by(system_user()).resume(freed)
        others = [one.scope for one in opened.policies.pauses()]
    if not was_paused:
        known = f"; paused are: {', '.join(others)}" if others else "; nothing is"
        raise PolicyError(f"{freed.text} isn't paused{known}")
    say(f"{freed.text} goes on; {SEEN_AT_ONCE}")
