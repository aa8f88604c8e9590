"""Adjustments in the in-memory specification."""

from dataclasses import replace

from spendgate.adapters.memory_store import JournalEntry, MemoryHold, MemoryState
from spendgate.domain.adjustment import (
    Adjusted,
    Adjustment,
    AdjustmentOutcome,
    AdjustmentPlan,
    AdjustmentProblem,
    Booking,
    HoldRecord,
    NotAdjusted,
    Transfer,
    below_zero,
    plan_adjustment,
    repeated_adjustment,
)
from spendgate.domain.budget import BalanceKey
from spendgate.domain.event import SpendEvent
from spendgate.domain.hold import HoldAmounts


def adjust(state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
    """Book one adjustment: hold, balances and journal move together."""
    adjustment_id = adjustment.adjustment_id
    if (known := state.adjustments.get(adjustment_id)) is not None:
        first, made = known
        return repeated_adjustment(adjustment, first.fingerprint, made.hold_id, made.amount_nano)
    hold = state.holds.get(adjustment.hold_id)
    plan = plan_adjustment(adjustment, None if hold is None else record_of(hold))
    if isinstance(plan, NotAdjusted):
        return plan
    own = () if hold is None else hold.keys
    spent = {key: balance.spent_nano for key, balance in state.balances.items()}
    if (found := below_zero(plan.deltas(own), spent)) is not None:
        return NotAdjusted(adjustment_id, AdjustmentProblem.BELOW_ZERO, found)
    _book(state, adjustment, plan, own)
    made = Adjusted(adjustment_id, adjustment.hold_id, plan.amount_nano, moved=True)
    state.adjustments[adjustment_id] = adjustment, made
    return made


def record_of(hold: MemoryHold) -> HoldRecord:
    """Return a hold as the domain sees it."""
    amounts = HoldAmounts(hold.state, hold.amount_nano, hold.charged_nano)
    return HoldRecord(amounts, hold.facts)


def _book(
    state: MemoryState,
    adjustment: Adjustment,
    plan: AdjustmentPlan,
    own: tuple[BalanceKey, ...],
) -> None:
    hold_id, change = adjustment.hold_id, adjustment.change
    hold = state.holds.get(hold_id)
    if hold is None:
        facts = plan.entries[0].facts
        hold = MemoryHold(adjustment.fingerprint, 0, own, facts, adjustment.at)
    for number, entry in enumerate(plan.entries, start=hold.events + 1):
        keys = own if entry.keys is None else entry.keys
        state.move(keys, entry.delta_nano, 0)
        event = SpendEvent(
            f"{hold_id}:{number}",
            hold_id,
            plan.kind,
            adjustment.at,
            entry.facts,
            plan.charge,
            hold.amount_nano,
            entry.delta_nano,
        )
        state.journal.append(JournalEntry(event, keys))
    hold = replace(
        hold,
        state=plan.state,
        charged_nano=plan.charged_nano,
        events=hold.events + len(plan.entries),
    )
    if isinstance(change, Booking | Transfer):
        hold = replace(hold, keys=change.keys, facts=change.facts)
    state.holds[hold_id] = hold
