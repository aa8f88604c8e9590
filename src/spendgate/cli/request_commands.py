"""`spendgate budget request|requests|approve|deny`: more budget, asked for and decided."""

from collections.abc import Callable
from typing import Annotated

import typer

from spendgate.adapters.budget_codec import usd_text
from spendgate.adapters.budget_requests import (
    LASTS,
    BudgetRequest,
    BudgetRequests,
    RequestStatus,
    request_json,
)
from spendgate.bootstrap import build_admin, utc_now
from spendgate.cli.console import print_json, print_records, say
from spendgate.cli.options import Home, Json, Ledger, opened_ledger, settings_from, system_user
from spendgate.config import Settings

RequestId = Annotated[str, typer.Argument(metavar="ID", help="The request's id.")]
By = Annotated[str | None, typer.Option(help="Who; default this system's user.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept with the request.")]


def add_to(group: typer.Typer) -> None:
    """Add the commands to the group of budgets."""
    group.command("request")(request)
    group.command("requests")(requests)
    group.command("approve")(approve)
    group.command("deny")(deny)


def request(
    budget_id: Annotated[str, typer.Argument(metavar="BUDGET", help="The budget's id.")],
    amount: Annotated[str, typer.Option(metavar="USD", help="What is needed beyond the limit.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    lasting: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long, such as 24h or 7d.")
    ] = LASTS,
    request_id: Annotated[
        str | None, typer.Option("--id", help="Names the request; the same again changes nothing.")
    ] = None,
    by: By = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Ask for more budget; somebody approves or denies it."""
    row: dict[str, object] = {"budget_id": budget_id, "amount_usd": amount, "reason": reason}
    row |= {"lasts": lasting, "request_id": request_id}
    settings = settings_from(home, ledger)
    with opened_ledger(settings) as opened:
        desk = BudgetRequests(build_admin(settings, opened), utc_now)
        made = desk.ask(row, by or system_user())
    _tell(made, as_json)


def requests(
    status: Annotated[RequestStatus | None, typer.Option(help="Only those of this status.")] = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """List what was asked for, and what became of it."""
    settings = settings_from(home, ledger)
    with opened_ledger(settings) as opened:
        found = BudgetRequests(build_admin(settings, opened), utc_now).listed(status)
    shown = [request_json(one) for one in found]
    if as_json:
        print_json(shown)
    else:
        print_records(shown, numbers=("amount_usd",))


def approve(
    request_id: RequestId,
    reason: Why = "",
    by: By = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Approve a request: the budget is raised from now on, for as long as was asked."""
    _decide(BudgetRequests.approve, request_id, reason, by, settings_from(home, ledger), as_json)


def deny(
    request_id: RequestId,
    reason: Why = "",
    by: By = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Deny a request; nothing else changes."""
    _decide(BudgetRequests.deny, request_id, reason, by, settings_from(home, ledger), as_json)


def _decide(
    verb: Callable[[BudgetRequests, str, str, str], BudgetRequest],
    request_id: str,
    reason: str,
    by: str | None,
    settings: Settings,
    as_json: bool,
) -> None:
    with opened_ledger(settings) as opened:
        desk = BudgetRequests(build_admin(settings, opened), utc_now)
        decided = verb(desk, request_id, by or system_user(), reason)
    _tell(decided, as_json)


def _tell(request: BudgetRequest, as_json: bool) -> None:
    if as_json:
        print_json(request_json(request))
        return
    what = f"{usd_text(request.amount_nano)} USD more for budget {request.budget_id!r}"
    until = "" if request.expires_at is None else f" until {request.expires_at.isoformat()}"
    said = "" if request.decided_by is None else f" by {request.decided_by}"
    say(f"request {request.request_id}: {what}: {request.status.value}{said}{until}")
