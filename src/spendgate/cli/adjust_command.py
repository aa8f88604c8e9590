"""`spendgate adjust`: audited corrections of what was spent."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer

from spendgate.adapters.policy_fields import LIMIT_NANO_MAX
from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import new_request_id, utc_now
from spendgate.cli.console import print_json, print_records, say
from spendgate.cli.options import (
    Home,
    Json,
    Ledger,
    opened_ledger,
    parse_scope,
    parse_start,
    settings_from,
    system_user,
)
from spendgate.domain.adjustment import (
    Adjusted,
    Adjustment,
    Booking,
    NotAdjusted,
    Repricing,
    Transfer,
)
from spendgate.domain.budget import Claim
from spendgate.domain.hold import EventKind
from spendgate.domain.money import MoneyError, format_usd, parse_usd
from spendgate.domain.scope import Scope
from spendgate.gateway.adjusting import (
    NO_MODEL,
    adjustment,
    booking,
    claim_of_budget,
    claims_of_facts,
    claims_of_payer,
    claims_to_show,
    not_adjusted,
    transfer,
)
from spendgate.gateway.operation import stored_hold_id
from spendgate.gateway.reply import budget_object

FORMS = (
    "say what to adjust: --credit USD or --charge USD with --scope or --budget, "
    "or --hold ID with --to SCOPE or --cost-usd USD"
)
MONEY = ("limit_usd", "spent_usd", "held_usd", "remaining_usd")


Credit = Annotated[str | None, typer.Option(metavar="USD", help="Take off what was spent.")]
Charge = Annotated[str | None, typer.Option(metavar="USD", help="Add to what was spent.")]
Payer = Annotated[
    str | None,
    typer.Option(help="Whose: agent:triage-bot or org:acme,user:ann; all budgets that cover it."),
]
BudgetId = Annotated[
    str | None, typer.Option(metavar="ID", help="This budget alone; with --scope if it has a *.")
]
When = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="When it was spent: a time, or 2h, 3d ago. Default now."),
]
Model = Annotated[str | None, typer.Option(help="The model it was spent on, if it is one.")]
External = Annotated[
    bool, typer.Option("--external", help="The charge is spend that happened elsewhere.")
]
HoldId = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="A call's hold (spend_events.hold_id, or hold_id of /api/holds)."
    ),
]
To = Annotated[
    str | None, typer.Option(metavar="SCOPE", help="Who pays for the hold's call instead.")
]
Cost = Annotated[str | None, typer.Option(metavar="USD", help="What the hold's call did cost.")]
By = Annotated[str | None, typer.Option(help="Who adjusts; default this system's user.")]
Name = Annotated[
    str | None,
    typer.Option("--id", help="Names the adjustment; the same again changes nothing."),
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The flags of one adjustment; what wasn't given is None."""

    credit: str | None
    charge: str | None
    budget: str | None
    scope: str | None
    at: str | None
    model: str | None
    external: bool
    hold: str | None
    to: str | None
    cost_usd: str | None

    def said(self) -> dict[str, object]:
        """Return what was given: the same again is the same adjustment."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}


@dataclass(frozen=True, slots=True)
class _Change:
    """What moves, and the budgets that it moves on."""

    change: Booking | Repricing | Transfer
    claims: tuple[Claim, ...]


def add_to(program: typer.Typer) -> None:
    """Add the command to the program."""
    program.command("adjust")(adjust)


def adjust(
    reason: Annotated[str, typer.Option(help="Why; kept with the entry.")],
    credit: Credit = None,
    charge: Charge = None,
    scope: Payer = None,
    budget: BudgetId = None,
    at: When = None,
    model: Model = None,
    external: External = False,
    hold: HoldId = None,
    to: To = None,
    cost_usd: Cost = None,
    by: By = None,
    adjustment_id: Name = None,
    home: Home = None,
    ledger: Ledger = None,
    as_json: Json = False,
) -> None:
    """Correct what was spent: a credit, a charge, who pays for a call, or what it did cost.

    Nothing is rewritten: entries with who and why are added to the journal and reach the tables.
    They count in the window of the call, or of --at, and never take a balance below zero.
    """
    if hold is not None:
        hold = stored_hold_id(hold) or hold  # /api/holds spells it with a dot
    asked = _Asked(credit, charge, budget, scope, at, model, external, hold, to, cost_usd)
    _check_form(asked)
    actor = by if by is not None else system_user()
    name = adjustment_id or f"adjust-{new_request_id()}"
    now = utc_now()
    with opened_ledger(settings_from(home, ledger)) as opened:
        made = _change(opened, asked, now)
        one = adjustment(name, made.change, asked.said(), actor=actor, reason=reason, at=now)
        (outcome,) = opened.adjust([one])
        if isinstance(outcome, NotAdjusted):
            raise not_adjusted(outcome, one.hold_id)
        shown = claims_to_show(opened.policies.policy(), made.claims, now)
        budgets = [budget_object(position) for position in opened.positions(shown)]
    if as_json:
        print_json(_as_json(one, outcome, budgets))
    else:
        say(_sentence(asked, outcome))
        print_records(budgets, numbers=MONEY)


def _check_form(asked: _Asked) -> None:
    if asked.credit is not None and asked.charge is not None:
        raise typer.BadParameter("give --credit or --charge, not both")
    if asked.to is not None and asked.cost_usd is not None:
        raise typer.BadParameter("give --to or --cost-usd, not both")
    is_hold = asked.hold is not None
    forms = [asked.credit, asked.charge, asked.to, asked.cost_usd]
    if sum(one is not None for one in forms) != 1 or is_hold != bool(asked.to or asked.cost_usd):
        raise typer.BadParameter(FORMS)
    if is_hold:
        others = (asked.budget, asked.scope, asked.at, asked.model, asked.external or None)
        if any(one is not None for one in others):
            message = "a hold's adjustment is about its own budgets, window and model: leave out "
            raise typer.BadParameter(message + "--budget, --scope, --at, --model, --external")
    elif asked.scope is None and asked.budget is None:
        raise typer.BadParameter("say whose with --scope or --budget", param_hint="--scope")
    if asked.external and asked.charge is None:
        raise typer.BadParameter("--external goes with --charge", param_hint="--external")


def _change(ledger: StoredLedger, asked: _Asked, now: datetime) -> _Change:
    if asked.hold is None:
        return _booked(ledger, asked, now)
    policy = ledger.policies.policy()
    known = ledger.hold_record(asked.hold)
    claims = () if known is None else claims_of_facts(policy, known.facts)
    if asked.cost_usd is not None:
        return _Change(Repricing(asked.hold, _amount(asked.cost_usd, "--cost-usd", 0)), claims)
    to = parse_scope(asked.to or "", "--to")
    if known is None:  # nothing to build on; the ledger says so
        return _Change(Repricing(asked.hold, 0), ())
    change, new = transfer(policy, asked.hold, known, to)
    others = tuple(one for one in claims if one.keys[0] not in change.keys)
    return _Change(change, (*others, *new))


def _booked(ledger: StoredLedger, asked: _Asked, now: datetime) -> _Change:
    policy = ledger.policies.policy()
    at = now if asked.at is None else parse_start(asked.at, now, "--at")
    if at > now:
        raise typer.BadParameter(f"{at.isoformat()} is yet to come", param_hint="--at")
    payer = None if asked.scope is None else parse_scope(asked.scope, "--scope")
    if asked.budget is not None:
        claim, payer = claim_of_budget(policy, asked.budget, payer, at)
        claims = (claim,)
    else:
        payer = payer or Scope()
        claims = claims_of_payer(policy, payer, at)
    amount = _amount(asked.charge or asked.credit or "", "--charge" if asked.charge else "--credit")
    kind = EventKind.EXTERNAL if asked.external else EventKind.CORRECTED
    model = asked.model or NO_MODEL
    signed = amount if asked.charge is not None else -amount
    return _Change(booking(claims, payer, signed, at, model=model, kind=kind), claims)


def _amount(text: str, flag: str, least: int = 1) -> int:
    try:
        nano = parse_usd(text)
    except MoneyError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None
    if not least <= nano <= LIMIT_NANO_MAX:
        what = "must be more than 0" if nano < least else "is more than a ledger holds"
        raise typer.BadParameter(f"{text} {what}", param_hint=flag)
    return nano


def _as_json(
    one: Adjustment, outcome: Adjusted, budgets: list[dict[str, object]]
) -> dict[str, object]:
    kind = one.change.kind if isinstance(one.change, Booking) else EventKind.CORRECTED
    return {
        "adjustment_id": outcome.adjustment_id,
        "hold_id": outcome.hold_id,
        "kind": kind.value,
        "amount_usd": format_usd(outcome.amount_nano),
        "moved": outcome.moved,
        "adjusted_by": one.actor,
        "reason": one.reason,
        "budgets": budgets,
    }


def _sentence(asked: _Asked, outcome: Adjusted) -> str:
    amount = f"{format_usd(abs(outcome.amount_nano))} USD"
    if asked.to is not None:
        what = f"{amount} of {outcome.hold_id} moved to {asked.to}"
    else:
        verb = "added to" if outcome.amount_nano >= 0 else "taken off"
        what = f"{amount} {verb} what was spent"
    done = "" if outcome.moved else "; it was made before, nothing moved again"
    return f"{what} ({outcome.adjustment_id}){done}"
