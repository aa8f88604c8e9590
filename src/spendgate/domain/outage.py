"""Whether a call may go out while the ledger is away, and how it is booked afterwards.

Only budgets with `on_store_error: allow` let it, and those give up the promise that their limit is
never passed: nobody knows then what is left. What is known is what the call costs.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from spendgate.domain.adjustment import Adjustment, Booking
from spendgate.domain.budget import Mode
from spendgate.domain.decision import Granted, decide_at
from spendgate.domain.event import Charge
from spendgate.domain.hold import EventKind, HoldState
from spendgate.domain.reservation import ReserveRequest, completed_facts

ACTOR = "spendgate"
REASON = "the ledger was away when the call was made (on_store_error: allow)"


@dataclass(frozen=True, slots=True)
class UnheldCall:
    """A call that went out without a hold, as it is to be booked from `due_at` on.

    `end` is how it ended: settled, voided, or expired where nobody knows. Until then it is expired
    at its worst case, so that a process that dies books too much and not too little.
    """

    hold_id: str
    end: HoldState
    booking: Booking
    at: datetime
    due_at: datetime

    @property
    def adjustment(self) -> Adjustment:
        """The entry for a ledger that doesn't know the call; it takes the place of its hold."""
        fingerprint = hashlib.sha256(self.hold_id.encode()).hexdigest()
        return Adjustment(self.hold_id, fingerprint, self.booking, ACTOR, REASON, self.at)


def granted_without_ledger(request: ReserveRequest) -> Granted | None:
    """Grant all that a call asks for if each budget that could refuse it says so, else nothing."""
    said = [
        claim.budget.on_store_error for claim in request.claims if claim.budget.mode is Mode.ENFORCE
    ]
    if not said or any(one != "allow" for one in said):
        return None
    granted = decide_at((), request.candidates, request.model)
    return granted if isinstance(granted, Granted) else None


def unheld_call(request: ReserveRequest, granted: Granted, at: datetime) -> UnheldCall:
    """Describe a call that goes out now: all it may cost, due when a hold of it would expire."""
    booking = Booking(
        amount_nano=granted.amount_nano,
        keys=tuple(claim.keys[0] for claim in request.claims),
        facts=completed_facts(request, granted),
        charge=Charge(),
        kind=EventKind.EXPIRED,
    )
    return UnheldCall(request.hold_id, HoldState.EXPIRED, booking, at, request.expires_at)


def ended(call: UnheldCall, end: HoldState, charge: Charge, at: datetime) -> UnheldCall:
    """Return a call as it ended; where its cost is unknown, the worst case stands."""
    before = call.booking
    is_settled = end is HoldState.SETTLED
    is_known = is_settled and charge.cost_nano is not None
    booking = Booking(
        amount_nano=(charge.cost_nano or 0) if is_known else before.amount_nano,
        keys=before.keys,
        facts=before.facts,
        charge=charge,
        kind=EventKind.SETTLED if is_settled else EventKind.EXPIRED,
    )
    return UnheldCall(call.hold_id, end, booking, at, at)
