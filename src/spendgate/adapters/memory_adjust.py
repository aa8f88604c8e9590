"""Adjustments in the in-memory specification."""

from dataclasses import replace

from spendgate.adapters.memory_store import JournalEntry, MemoryHold, MemoryState
from spendgate.domain.adjustment import (
    Adjusted,
    Adjustment,
    AdjustmentOutcome,
    AdjustmentPlan,
    AdjustmentProblem,
    HoldRecord,
    NotAdjusted,
    below_zero,
    plan_adjustment,
    repeated_adjustment,
)
from spendgate.domain.budget import BalanceKey
from spendgate.domain.event import SpendEvent
from spendgate.domain.hold import HoldAmounts
from spendgate.gateway.ports import EventBatch


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
    if (found := below_zero(plan, own, spent)) is not None:
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
    hold_id = adjustment.hold_id
    hold = state.holds.get(hold_id)
    if hold is None:
        facts = plan.entries[0].facts
        reserved = plan.reserved_nano
        hold = MemoryHold(adjustment.fingerprint, reserved, own, facts, adjustment.at)
    for number, entry in enumerate(plan.entries, start=hold.events + 1):
        keys = own if entry.keys is None else entry.keys
        state.move(keys, entry.delta_nano, 0, adjustment.at)
        event = SpendEvent(
            f"{hold_id}:{number}",
            hold_id,
            entry.kind,
            entry.at,
            entry.facts,
            entry.charge,
            hold.amount_nano,
            entry.delta_nano,
        )
        state.journal.append(JournalEntry(event, keys))
        if plan.is_past:
            _mark_delivered(state, event)
    hold = replace(
        hold,
        state=plan.state,
        charged_nano=plan.charged_nano,
        events=hold.events + len(plan.entries),
    )
    last = plan.entries[-1]
    if last.keys is not None:
        hold = replace(hold, keys=last.keys, facts=last.facts)
    state.holds[hold_id] = hold


def _mark_delivered(state: MemoryState, event: SpendEvent) -> None:
    """Count an event as part of a batch before the first; a replay comes before anything else."""
    first = state.batches[0].events if state.batches else ()
    state.batches[:1] = [EventBatch(0, (*first, event), ())]
    state.delivered.add(0)
