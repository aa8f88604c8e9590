"""What every ledger writes for a hold: its facts at the grant, its journal row at the end."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from spendgate.adapters.event_codec import decode_facts, encode_charge, encode_facts, to_micros
from spendgate.domain import hold as lifecycle
from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Balance, Granted
from spendgate.domain.event import Charge
from spendgate.domain.hold import HoldAmounts, HoldState, Movement
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    ReserveRequest,
    Settled,
    Settlement,
    Verdict,
    completed_facts,
)
from spendgate.gateway.value_object import value_object

_UNKNOWN = Charge()
_NOTHING: Mapping[BalanceKey, Balance] = {}


@value_object
class HoldEnd:
    """The wish to end one hold; what moves, its life's rules say.

    An open hold comes to `state` by it and is charged `cost_nano`, None for all that was held.
    """

    hold_id: str
    transition: Callable[[HoldAmounts], Movement | None]
    charge: Charge
    at: datetime
    state: HoldState
    cost_nano: int | None = None

    @classmethod
    def settled(cls, settlement: Settlement) -> "HoldEnd":
        """Charge what the call cost."""
        charge = settlement.charge

        def transition(hold: HoldAmounts) -> Movement | None:
            return lifecycle.settle(hold, charge.cost_nano)

        return cls(
            settlement.hold_id,
            transition,
            charge,
            settlement.at,
            HoldState.SETTLED,
            charge.cost_nano,
        )

    @classmethod
    def voided(cls, hold_id: str, at: datetime) -> "HoldEnd":
        """Release the hold."""
        return cls(hold_id, lifecycle.void, _UNKNOWN, at, HoldState.VOIDED, 0)

    @classmethod
    def expired(cls, hold_id: str, at: datetime) -> "HoldEnd":
        """Charge the hold in full."""
        return cls(hold_id, lifecycle.expire, _UNKNOWN, at, HoldState.EXPIRED)

    def unmoved(self, state: HoldState | None = None, charged_nano: int = 0) -> Settled:
        """Answer that nothing moved: the hold ended before, or there is none."""
        return Settled(self.hold_id, state, charged_nano, moved=False)

    def moved(
        self, movement: Movement, balances: Mapping[BalanceKey, Balance] = _NOTHING
    ) -> Settled:
        """Answer with what has moved, and where the balances are then if that is known."""
        return Settled(
            self.hold_id,
            movement.state,
            movement.charged_nano,
            True,
            movement.is_overrun,
            balances,
        )


class EventRow(NamedTuple):
    """One row of the journal, in the order of its columns; `bals` as the store writes it."""

    event_id: str
    hold_id: str
    kind: str
    delta: int
    reserved: int
    bals: str
    facts: str
    charge: str
    recorded_at: int


def event_row(
    end: HoldEnd, movement: Movement, sequence: int, reserved_nano: int, bals: str, facts: str
) -> EventRow:
    """Compose the journal row of one movement; its id is `hold_id:sequence`."""
    return EventRow(
        f"{end.hold_id}:{sequence}",
        end.hold_id,
        str(movement.kind),
        movement.spent_delta_nano,
        reserved_nano,
        bals,
        facts,
        encode_charge(end.charge),
        to_micros(end.at),
    )


def granted_facts(request: ReserveRequest, granted: Granted) -> str:
    """Write a call's facts, completed with what was decided."""
    return encode_facts(completed_facts(request, granted))


def repeated(row: Sequence[Any], request: ReserveRequest) -> Verdict:
    """Answer a request whose hold exists; the row is `fp, state, amount, charged, facts`."""
    fingerprint, state, amount, charged, facts = row
    if fingerprint != request.fingerprint:
        return FingerprintConflict()
    return AlreadyReserved(HoldState(state), amount, charged, decode_facts(facts).model)
