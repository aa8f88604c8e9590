"""Adjustments: audited corrections of what was spent, besides the ends of calls.

An operator, or a meter of spend that happened elsewhere, adds an entry to the journal with who and
why. Nothing is rewritten: a charge that was wrong is followed by the entry that corrects it.

* An adjustment moves all balances that it is about, or none.
* It may take a balance above its limit, because spend is a fact; it never takes one below zero,
  because that would be a raise of the limit in disguise.
* It doesn't end a hold. A call in flight can't be adjusted, and evidence that comes later for an
  expired hold still replaces its charge.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from spendgate.domain.budget import BalanceKey
from spendgate.domain.event import AdjustmentNote, CallFacts, Charge, SpendEvent
from spendgate.domain.hold import EventKind, HoldAmounts, HoldState
from spendgate.domain.money import format_usd

EXTERNAL_USAGE = "external"
"""The usage source of entries whose figures come from outside the ledger."""


class AdjustmentProblem(StrEnum):
    """Why an adjustment isn't booked."""

    UNKNOWN_HOLD = "unknown_hold"
    IN_FLIGHT = "hold_in_flight"
    UNCHANGED = "unchanged"
    BELOW_ZERO = "below_zero"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Booking:
    """Spend that no hold stands for, or a credit if the amount is negative.

    It becomes a hold of its own that has ended, under the adjustment's id, so that it can be
    corrected as a call can. `keys` are the balances that it is booked on.
    """

    amount_nano: int
    keys: tuple[BalanceKey, ...]
    facts: CallFacts
    charge: Charge
    kind: EventKind = EventKind.CORRECTED


@dataclass(frozen=True, slots=True)
class Repricing:
    """A call cost something else than it was charged."""

    hold_id: str
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """Somebody else pays for a call: its charge moves to other balances of the same time."""

    hold_id: str
    keys: tuple[BalanceKey, ...]
    facts: CallFacts


@dataclass(frozen=True, slots=True)
class PastEvent:
    """An event that the sink has, with those of its balances that are still needed."""

    event: SpendEvent
    keys: tuple[BalanceKey, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """A hold as a lost ledger had ended it, its events in order.

    They are journalled as they were and not delivered again. What was spent is a fact, so that
    nothing is checked.
    """

    hold_id: str
    state: HoldState
    events: tuple[PastEvent, ...]


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One change with who made it and why; the same id and fingerprint again change nothing."""

    adjustment_id: str
    fingerprint: str
    change: Booking | Repricing | Transfer | Replay
    actor: str
    reason: str
    at: datetime

    @property
    def hold_id(self) -> str:
        """The hold whose charge changes; a booking makes one."""
        change = self.change
        return self.adjustment_id if isinstance(change, Booking) else change.hold_id

    @property
    def note(self) -> AdjustmentNote:
        """What its events say about it."""
        return AdjustmentNote(self.adjustment_id, self.actor, self.reason)


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What an adjustment has moved; `moved` is False where it had been made before."""

    adjustment_id: str
    hold_id: str
    amount_nano: int
    """What was added to spend, or for a transfer what was moved."""
    moved: bool


@dataclass(frozen=True, slots=True)
class NotAdjusted:
    """Nothing moved anywhere; `detail` names figures where there are some."""

    adjustment_id: str
    problem: AdjustmentProblem
    detail: str = ""


AdjustmentOutcome = Adjusted | NotAdjusted


@dataclass(frozen=True, slots=True)
class HoldRecord:
    """A hold as a ledger keeps it."""

    amounts: HoldAmounts
    facts: CallFacts


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the journal; `keys` None means the balances of the hold."""

    delta_nano: int
    facts: CallFacts
    kind: EventKind
    charge: Charge
    at: datetime
    keys: tuple[BalanceKey, ...] | None = None


@dataclass(frozen=True, slots=True)
class AdjustmentPlan:
    """What an adjustment does to its hold and writes to the journal."""

    state: HoldState
    charged_nano: int
    amount_nano: int
    entries: tuple[Entry, ...]
    reserved_nano: int = 0
    """What a hold that is made here had reserved."""
    is_past: bool = False
    """Whether the sink has the entries already."""

    def deltas(self, own: tuple[BalanceKey, ...]) -> dict[BalanceKey, int]:
        """Return what each balance moves by; `own` are those of the hold."""
        deltas: dict[BalanceKey, int] = {}
        for entry in self.entries:
            for key in own if entry.keys is None else entry.keys:
                deltas[key] = deltas.get(key, 0) + entry.delta_nano
        return deltas


def plan_adjustment(
    adjustment: Adjustment, hold: HoldRecord | None
) -> AdjustmentPlan | NotAdjusted:
    """Say what an adjustment does, given its hold as read under the store's lock."""
    change = adjustment.change
    if isinstance(change, Booking | Replay):
        if hold is not None:
            return _not(adjustment, AdjustmentProblem.CONFLICT, "the id belongs to a call")
        is_booking = isinstance(change, Booking)
        return _booked(change, adjustment) if is_booking else _replayed(change)
    if hold is None:
        return _not(adjustment, AdjustmentProblem.UNKNOWN_HOLD)
    if hold.amounts.state is HoldState.HELD:
        return _not(adjustment, AdjustmentProblem.IN_FLIGHT)
    if isinstance(change, Repricing):
        plan = _repriced(change, hold, adjustment)
    else:
        plan = _transferred(change, hold, adjustment)
    return plan or _not(adjustment, AdjustmentProblem.UNCHANGED)


def repeated_adjustment(
    adjustment: Adjustment, fingerprint: str, hold_id: str, amount_nano: int
) -> AdjustmentOutcome:
    """Answer an adjustment whose id is known, given what was made under it."""
    if fingerprint != adjustment.fingerprint:
        return _not(adjustment, AdjustmentProblem.CONFLICT, "the id was used for another one")
    return Adjusted(adjustment.adjustment_id, hold_id, amount_nano, moved=False)


def below_zero(
    plan: AdjustmentPlan, own: tuple[BalanceKey, ...], spent: Mapping[BalanceKey, int]
) -> str | None:
    """Name the first balance that would be taken below zero, with its figures; None if none is."""
    deltas = {} if plan.is_past else plan.deltas(own)
    for key, delta in deltas.items():
        now = spent.get(key, 0)
        if delta < 0 and now + delta < 0:
            return (
                f"budget {key.budget_id!r} ({key.scope_value}, {key.period}) has "
                f"{format_usd(now)} USD spent, {format_usd(-delta)} USD would be taken off"
            )
    return None


def _not(adjustment: Adjustment, problem: AdjustmentProblem, detail: str = "") -> NotAdjusted:
    return NotAdjusted(adjustment.adjustment_id, problem, detail)


def _booked(booking: Booking, adjustment: Adjustment) -> AdjustmentPlan:
    amount, charge = booking.amount_nano, replace(booking.charge, note=adjustment.note)
    entry = Entry(amount, booking.facts, booking.kind, charge, adjustment.at, booking.keys)
    return AdjustmentPlan(HoldState.SETTLED, amount, amount, (entry,))


def _replayed(replay: Replay) -> AdjustmentPlan:
    entries = tuple(
        Entry(
            past.event.cost_nano,
            past.event.facts,
            past.event.kind,
            past.event.charge,
            past.event.recorded_at,
            past.keys,
        )
        for past in replay.events
    )
    charged = sum(entry.delta_nano for entry in entries)
    reserved = replay.events[-1].event.reserved_nano
    return AdjustmentPlan(replay.state, charged, charged, entries, reserved, is_past=True)


def _repriced(
    repricing: Repricing, hold: HoldRecord, adjustment: Adjustment
) -> AdjustmentPlan | None:
    cost = repricing.cost_nano
    if cost < 0:
        raise ValueError(f"a call can't cost {cost} nano-USD")
    delta = cost - hold.amounts.charged_nano
    if delta == 0:
        return None
    # A void says that nothing was billed; a bill that shows up shows that the call did happen.
    state = hold.amounts.state
    state = HoldState.SETTLED if state is HoldState.VOIDED else state
    charge = Charge(cost_nano=cost, usage_source=EXTERNAL_USAGE, note=adjustment.note)
    entry = Entry(delta, hold.facts, EventKind.CORRECTED, charge, adjustment.at)
    return AdjustmentPlan(state, cost, delta, (entry,))


def _transferred(
    transfer: Transfer, hold: HoldRecord, adjustment: Adjustment
) -> AdjustmentPlan | None:
    charged, before, after = hold.amounts.charged_nano, hold.facts, transfer.facts
    if charged == 0 or (before.scopes, before.tags) == (after.scopes, after.tags):
        return None
    kind, charge = EventKind.CORRECTED, Charge(usage_source=EXTERNAL_USAGE, note=adjustment.note)
    taken = Entry(-charged, before, kind, charge, adjustment.at)
    given = Entry(charged, after, kind, charge, adjustment.at, transfer.keys)
    return AdjustmentPlan(hold.amounts.state, charged, charged, (taken, given))
