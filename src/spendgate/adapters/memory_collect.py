"""Collection in the in-memory specification."""

from dataclasses import replace
from datetime import datetime, timedelta

from spendgate.adapters.memory_store import MemoryState
from spendgate.domain.budget import BalanceKey
from spendgate.domain.hold import HoldState
from spendgate.domain.retention import Collected, is_past


def collect(state: MemoryState, at: datetime, keep: timedelta) -> Collected:
    """Remove what is older than `keep` and nobody needs; return how much that was."""
    if state.touched:
        at = min(at, max(state.touched.values()))
    before = at - keep
    holds, entries = len(state.holds), len(state.journal)
    for hold_id in [one for one in state.holds if _may_go(state, one, before)]:
        _remove_hold(state, hold_id)
    unused = _unused(state)
    past = [
        key
        for key in unused
        if is_past(key.period, state.policy.budgets.get(key.budget_id), state.touched[key], at)
    ]
    for key in past:
        del state.balances[key], state.touched[key]
        state.carried.pop(key, None)
    decisions, batches = _remove_delivered(state)
    return Collected(
        holds - len(state.holds), entries - len(state.journal), len(past), decisions, batches
    )


def _may_go(state: MemoryState, hold_id: str, before: datetime) -> bool:
    hold = state.holds[hold_id]
    events = [one.event for one in state.journal if one.event.hold_id == hold_id]
    delivered = {
        event.event_id
        for batch in state.batches
        if batch.number in state.delivered
        for event in batch.events
    }
    return (
        hold.state is not HoldState.HELD
        and (len(events), sum(one.cost_nano for one in events)) == (hold.events, hold.charged_nano)
        and all(one.event_id in delivered and one.recorded_at <= before for one in events)
    )


def _remove_hold(state: MemoryState, hold_id: str) -> None:
    for entry in [one for one in state.journal if one.event.hold_id == hold_id]:
        state.collected_entries += 1
        state.collected_nano += entry.event.cost_nano
        for key in entry.keys:
            state.carried[key] = state.carried.get(key, 0) + entry.event.cost_nano
        note = entry.event.charge.note
        if note is not None:
            state.adjustments.pop(note.adjustment_id, None)
    state.journal = [one for one in state.journal if one.event.hold_id != hold_id]
    state.batches = [
        replace(batch, events=tuple(one for one in batch.events if one.hold_id != hold_id))
        for batch in state.batches
    ]
    del state.holds[hold_id]


def _unused(state: MemoryState) -> list[BalanceKey]:
    named = {key for entry in state.journal for key in entry.keys}
    named |= {key for hold in state.holds.values() for key in hold.keys}
    return [key for key in state.balances if key not in named]


def _remove_delivered(state: MemoryState) -> tuple[int, int]:
    gone = sum(len(one.decisions) for one in state.batches if one.number in state.delivered)
    state.decisions = state.decisions[gone:]
    batches = [
        replace(one, decisions=()) if one.number in state.delivered else one
        for one in state.batches
    ]
    first_used = next((n for n, one in enumerate(batches) if one.events or one.decisions), None)
    # The last one stays, because the next number is one more.
    spare = len(batches) - 1 if first_used is None else min(first_used, len(batches) - 1)
    spare = max(spare, 0)
    state.batches = batches[spare:]
    return gone, spare
