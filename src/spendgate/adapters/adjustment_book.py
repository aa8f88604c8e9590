"""Adjustments applied to rows that a store has read under its locks, and what is to be written.

Reading, locking and writing is the store's; what an adjustment moves, the domain says.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from spendgate.adapters.event_codec import decode_facts, encode_charge, encode_facts, to_micros
from spendgate.domain.adjustment import (
    Adjusted,
    Adjustment,
    AdjustmentOutcome,
    AdjustmentPlan,
    AdjustmentProblem,
    Booking,
    HoldRecord,
    NotAdjusted,
    Replay,
    Transfer,
    below_zero,
    plan_adjustment,
    repeated_adjustment,
)
from spendgate.domain.budget import BalanceKey
from spendgate.domain.hold import HoldAmounts, HoldState

DELIVERED_BATCH = 0
"""The batch of entries that the sink had before this ledger was; real ones start with 1."""


class AdjustmentRow(NamedTuple):
    """One row of `adjustment`."""

    adjustment_id: str
    fingerprint: str
    hold_id: str
    amount: int


class JournalRow(NamedTuple):
    """One row of the journal but for its balances, which each store writes its own way."""

    event_id: str
    hold_id: str
    kind: str
    delta: int
    reserved: int
    facts: str
    charge: str
    recorded_at: int
    batch: int | None


@dataclass(slots=True)
class BookedHold:
    """A hold as it was read, then as it will be written."""

    fingerprint: str
    state: str
    amount: int
    charged: int
    keys: tuple[BalanceKey, ...]
    facts: str
    events: int
    expires_at: int


@dataclass(slots=True)
class AdjustmentBook:
    """What was read, kept up to date from one adjustment to the next."""

    known: dict[str, AdjustmentRow]
    holds: dict[str, BookedHold]
    spent: dict[BalanceKey, int]
    moved: dict[BalanceKey, int] = field(default_factory=dict[BalanceKey, int])
    entries: dict[BalanceKey, int] = field(default_factory=dict[BalanceKey, int])
    changed: set[str] = field(default_factory=set[str])
    journal: list[tuple[JournalRow, tuple[BalanceKey, ...]]] = field(
        default_factory=list[tuple[JournalRow, tuple[BalanceKey, ...]]]
    )
    made: list[AdjustmentRow] = field(default_factory=list[AdjustmentRow])
    has_past: bool = False

    def apply(self, adjustment: Adjustment) -> AdjustmentOutcome:
        """Book one adjustment, or say why not; nothing of it is left then."""
        known = self.known.get(adjustment.adjustment_id)
        if known is not None:
            return repeated_adjustment(adjustment, known.fingerprint, known.hold_id, known.amount)
        hold = self.holds.get(adjustment.hold_id)
        plan = plan_adjustment(adjustment, None if hold is None else _record(hold))
        if isinstance(plan, NotAdjusted):
            return plan
        own = () if hold is None else hold.keys
        if (found := below_zero(plan, own, self.spent)) is not None:
            return NotAdjusted(adjustment.adjustment_id, AdjustmentProblem.BELOW_ZERO, found)
        for key, delta in plan.deltas(own).items():
            self.spent[key] = self.spent.get(key, 0) + delta
            self.moved[key] = self.moved.get(key, 0) + delta
        self._write(adjustment, plan, hold)
        return Adjusted(adjustment.adjustment_id, adjustment.hold_id, plan.amount_nano, moved=True)

    def _write(self, adjustment: Adjustment, plan: AdjustmentPlan, hold: BookedHold | None) -> None:
        hold_id, at = adjustment.hold_id, to_micros(adjustment.at)
        own = () if hold is None else hold.keys
        if hold is None:
            reserved = plan.reserved_nano
            hold = self.holds[hold_id] = BookedHold(
                adjustment.fingerprint, plan.state, reserved, 0, own, "", 0, at
            )
        for entry in plan.entries:
            hold.events += 1
            keys = own if entry.keys is None else entry.keys
            row = JournalRow(
                f"{hold_id}:{hold.events}",
                hold_id,
                entry.kind.value,
                entry.delta_nano,
                hold.amount,
                encode_facts(entry.facts),
                encode_charge(entry.charge),
                to_micros(entry.at),
                DELIVERED_BATCH if plan.is_past else None,
            )
            self.journal.append((row, keys))
            for key in keys:
                self.entries[key] = self.entries.get(key, 0) + 1
        hold.state, hold.charged = plan.state.value, plan.charged_nano
        last = plan.entries[-1]
        if last.keys is not None:
            hold.keys, hold.facts = last.keys, encode_facts(last.facts)
        self.changed.add(hold_id)
        self.has_past |= plan.is_past
        row = AdjustmentRow(
            adjustment.adjustment_id, adjustment.fingerprint, hold_id, plan.amount_nano
        )
        self.known[row.adjustment_id] = row
        if not plan.is_past:
            self.made.append(row)


def hold_record(state: str, amount: int, charged: int, facts: str) -> HoldRecord:
    """Return a hold as the domain sees it."""
    return HoldRecord(HoldAmounts(HoldState(state), amount, charged), decode_facts(facts))


def keys_of(
    adjustments: Iterable[Adjustment], of_holds: Iterable[BalanceKey]
) -> Sequence[BalanceKey]:
    """Return every balance that some adjustments may move, each once and in one order."""
    keys = set(of_holds)
    for adjustment in adjustments:
        change = adjustment.change
        if isinstance(change, Booking | Transfer):
            keys.update(change.keys)
        elif isinstance(change, Replay):
            keys.update(key for past in change.events for key in past.keys)
    return sorted(keys)


def _record(hold: BookedHold) -> HoldRecord:
    return hold_record(hold.state, hold.amount, hold.charged, hold.facts)
