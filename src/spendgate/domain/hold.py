"""The life of a hold: held, then once and for all settled, voided or expired.

Expiry charges the full amount and never frees; a settlement that comes later corrects the charge by
evidence (DESIGN §2.5). So every pause, crash and clock error errs on the side of the budget.
"""

from dataclasses import dataclass
from enum import StrEnum


class HoldState(StrEnum):
    """Where a hold is in its life."""

    HELD = "held"
    SETTLED = "settled"
    VOIDED = "voided"
    EXPIRED = "expired"


class EventKind(StrEnum):
    """What a spend event says happened."""

    SETTLED = "settled"
    VOIDED = "voided"
    EXPIRED = "expired"
    CORRECTED = "corrected"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class HoldAmounts:
    """The part of a hold that its transitions depend on, nano-USD."""

    state: HoldState
    amount_nano: int
    charged_nano: int = 0


@dataclass(frozen=True, slots=True)
class Movement:
    """What one transition does to the hold and to every balance that it touches, nano-USD."""

    state: HoldState
    kind: EventKind
    spent_delta_nano: int
    held_delta_nano: int
    charged_nano: int

    @property
    def is_overrun(self) -> bool:
        """True when more is spent than was set aside for it: booked as fact, and alarmed."""
        return self.spent_delta_nano > -self.held_delta_nano


def settle(hold: HoldAmounts, actual_nano: int | None) -> Movement | None:
    """Charge what the call cost; an unknown cost (None) charges the full hold.

    Returns None where nothing moves: the hold ended before. An expired hold is corrected by the
    difference, which is booked whatever its sign, because the bill is a fact.
    """
    charge = hold.amount_nano if actual_nano is None else actual_nano
    if charge < 0:
        raise ValueError(f"a settlement can't be negative, got {charge} nano-USD")
    if hold.state is HoldState.HELD:
        return Movement(HoldState.SETTLED, EventKind.SETTLED, charge, -hold.amount_nano, charge)
    if hold.state is HoldState.EXPIRED and actual_nano is not None:
        delta = charge - hold.charged_nano
        return Movement(HoldState.SETTLED, EventKind.CORRECTED, delta, 0, charge)
    return None


def void(hold: HoldAmounts) -> Movement | None:
    """Release a hold whose call never happened; None if the hold ended before."""
    if hold.state is not HoldState.HELD:
        return None
    return Movement(HoldState.VOIDED, EventKind.VOIDED, 0, -hold.amount_nano, 0)


def expire(hold: HoldAmounts) -> Movement | None:
    """Charge a hold in full whose call's end is unknown; None if the hold ended before."""
    if hold.state is not HoldState.HELD:
        return None
    amount = hold.amount_nano
    return Movement(HoldState.EXPIRED, EventKind.EXPIRED, amount, -amount, amount)
