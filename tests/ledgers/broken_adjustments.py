"""Ledgers whose adjustments break a rule; the state machine must catch every one of them."""

from dataclasses import replace
from typing import Any

from tests.ledgers.broken import Parts

from spendgate.adapters import memory_adjust
from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.adapters.memory_store import MemoryHold, MemoryState
from spendgate.domain.adjustment import (
    Adjusted,
    Adjustment,
    AdjustmentOutcome,
    Booking,
    Repricing,
    Transfer,
)
from spendgate.domain.hold import HoldState


class AdjustsTwice(MemoryLedger):
    """A repeated booking is booked again."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        outcome = super()._adjust(state, adjustment)
        change = adjustment.change
        if isinstance(outcome, Adjusted) and not outcome.moved and isinstance(change, Booking):
            state.move(change.keys, change.amount_nano, 0, adjustment.at)
        return outcome


class IdsOfAdjustmentsForgotten(MemoryLedger):
    """Another adjustment under a known id is answered as if it were the first."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        known = state.adjustments.get(adjustment.adjustment_id)
        if known is not None:
            adjustment = replace(adjustment, fingerprint=known[0].fingerprint)
        return super()._adjust(state, adjustment)


class CreditsWithoutEnd(MemoryLedger):
    """A credit may take a balance below zero."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        change = adjustment.change
        keys = change.keys if isinstance(change, Booking) else ()
        state.move(keys, 10**9, 0, adjustment.at)
        outcome = super()._adjust(state, adjustment)
        state.move(keys, -(10**9), 0, adjustment.at)
        return outcome


class InFlightAdjusted(MemoryLedger):
    """A call that is still in flight can be given a price."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        hold = state.holds.get(adjustment.hold_id)
        if hold is None or hold.state is not HoldState.HELD:
            return super()._adjust(state, adjustment)
        state.holds[adjustment.hold_id] = replace(hold, state=HoldState.EXPIRED)
        return super()._adjust(state, adjustment)


class PriceNotRemembered(MemoryLedger):
    """The hold doesn't learn of its new price, so that evidence corrects the old one."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        return _with_old_hold(super()._adjust, state, adjustment, Repricing, "charged_nano")


class PayerNotRemembered(MemoryLedger):
    """The hold doesn't learn who pays now, so that evidence corrects the earlier payer."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        return _with_old_hold(super()._adjust, state, adjustment, Transfer, "keys")


class TransferOnlyTakes(MemoryLedger):
    """Who paid gets the money back, and nobody else pays."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        outcome = super()._adjust(state, adjustment)
        change = adjustment.change
        if isinstance(outcome, Adjusted) and outcome.moved and isinstance(change, Transfer):
            state.move(change.keys, -outcome.amount_nano, 0, adjustment.at)
        return outcome


class VoidStaysVoid(MemoryLedger):
    """A void call that is given a price is charged but still counts as void."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        before = state.holds.get(adjustment.hold_id)
        outcome = super()._adjust(state, adjustment)
        if before is not None and before.state is HoldState.VOIDED:
            after = state.holds[adjustment.hold_id]
            state.holds[adjustment.hold_id] = replace(after, state=HoldState.VOIDED)
        return outcome


class OneBudgetOfABookingForgotten(MemoryLedger):
    """A booking moves all of its balances but the last."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        change = adjustment.change
        if isinstance(change, Booking):
            adjustment = replace(adjustment, change=replace(change, keys=change.keys[:-1]))
        return super()._adjust(state, adjustment)


class AuditLooksAway(MemoryLedger):
    """The entry isn't journalled, and nothing else notices."""

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        entries = len(state.journal)
        outcome = memory_adjust.adjust(state, adjustment)
        del state.journal[entries:]
        return outcome


def _with_old_hold(
    adjust: Any, state: MemoryState, adjustment: Adjustment, kind: type, name: str
) -> AdjustmentOutcome:
    before = state.holds.get(adjustment.hold_id)
    outcome = adjust(state, adjustment)
    if before is not None and isinstance(adjustment.change, kind):
        after: MemoryHold = state.holds[adjustment.hold_id]
        state.holds[adjustment.hold_id] = replace(after, **{name: getattr(before, name)})
    return outcome


BROKEN_ADJUSTMENTS = {
    "adjustment repeated": Parts(ledger=AdjustsTwice),
    "ids of adjustments mixed up": Parts(ledger=IdsOfAdjustmentsForgotten),
    "credit below zero": Parts(ledger=CreditsWithoutEnd),
    "call in flight adjusted": Parts(ledger=InFlightAdjusted),
    "new price not remembered": Parts(ledger=PriceNotRemembered),
    "new payer not remembered": Parts(ledger=PayerNotRemembered),
    "transfer only takes": Parts(ledger=TransferOnlyTakes),
    "void call with a price stays void": Parts(ledger=VoidStaysVoid),
    "one budget of a booking forgotten": Parts(ledger=OneBudgetOfABookingForgotten),
    "adjustment not journalled": Parts(ledger=AuditLooksAway),
}
