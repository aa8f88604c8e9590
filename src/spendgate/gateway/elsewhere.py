"""Spend that another meter tells of: booked once, on every budget that covers its payer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from spendgate.domain.adjustment import EXTERNAL_USAGE, AdjustmentProblem, NotAdjusted
from spendgate.domain.budget import Policy
from spendgate.domain.event import Charge
from spendgate.domain.hold import EventKind
from spendgate.domain.scope import Scope
from spendgate.domain.usage import TokenUsage
from spendgate.errors import AlreadyThereError
from spendgate.gateway.adjusting import (
    NO_MODEL,
    adjustment,
    booking,
    claims_of_payer,
    not_adjusted,
)
from spendgate.gateway.ports import Ledger


@dataclass(frozen=True, slots=True)
class SpendElsewhere:
    """One thing that was paid for elsewhere, as its meter says."""

    adjustment_id: str
    payer: Scope
    cost_nano: int
    occurred_at: datetime
    said: Mapping[str, object]
    """What tells a repeat from something else under the same id; plain JSON."""

    meter: str
    reason: str
    model: str = NO_MODEL
    provider: str = ""
    usage: TokenUsage | None = None


@dataclass(frozen=True, slots=True)
class BookedElsewhere:
    """What is booked under an id; `is_new` is False where it was before."""

    adjustment_id: str
    amount_nano: int
    budget_ids: tuple[str, ...]
    is_new: bool


def book_elsewhere(
    ledger: Ledger, policy: Policy, spend: SpendElsewhere, now: datetime
) -> BookedElsewhere:
    """Charge every budget that covers the payer at that time, or none; a repeat moves nothing.

    Raises:
        InvalidRequestError: if no budget covers the payer.
        AlreadyThereError: if the id was used for something else.
        LedgerUnavailableError: if the ledger can't answer; nothing was booked.
    """
    # A repeat is told what was booked, also when those budgets are gone by now.
    known = ledger.hold_record(spend.adjustment_id)
    claims = claims_of_payer(policy, spend.payer, spend.occurred_at) if known is None else ()
    charge = Charge(spend.usage, spend.cost_nano, usage_source=EXTERNAL_USAGE)
    change = booking(
        claims,
        spend.payer,
        spend.cost_nano,
        spend.occurred_at,
        model=spend.model,
        upstream=spend.provider,
        charge=charge,
        kind=EventKind.EXTERNAL,
    )
    made = adjustment(
        spend.adjustment_id, change, spend.said, actor=spend.meter, reason=spend.reason, at=now
    )
    (outcome,) = ledger.adjust([made])
    if isinstance(outcome, NotAdjusted):
        refused = not_adjusted(outcome, made.hold_id)
        if outcome.problem is AdjustmentProblem.CONFLICT:
            raise AlreadyThereError(str(refused))
        raise refused
    budget_ids = change.facts.budget_ids if known is None else known.facts.budget_ids
    return BookedElsewhere(
        outcome.adjustment_id, outcome.amount_nano, budget_ids, is_new=outcome.moved
    )
