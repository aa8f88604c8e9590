"""Corrections: what the provider's bill says of calls whose end the gate never learned."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from spendgate.adapters.stored_ledger import StoredLedger
from spendgate.bootstrap import utc_now
from spendgate.demo.books import Event
from spendgate.domain.event import Charge
from spendgate.domain.reservation import Settlement


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a round of corrections came to."""

    holds: int = 0
    freed_nano: int = 0

    def __add__(self, other: "Corrected") -> "Corrected":
        return Corrected(self.holds + other.holds, self.freed_nano + other.freed_nano)


def open_ended(events: tuple[Event, ...]) -> dict[str, int]:
    """Return what was charged, in full, for each call whose end is unknown."""
    charged = {one.hold_id: one.cost_nano for one in events if one.kind == "expired"}
    known = {one.hold_id for one in events if one.kind == "corrected"}
    return {hold_id: nano for hold_id, nano in charged.items() if hold_id not in known}


def correct(
    ledger: StoredLedger,
    events: tuple[Event, ...],
    billed: Mapping[str, int],
    absent_before: datetime | None,
) -> Corrected:
    """Settle what was charged in full by what was billed.

    Args:
        ledger: where.
        events: the spend events delivered so far.
        billed: the provider's bill by hold.
        absent_before: no row on the bill is evidence too, but only for calls so old that nobody can
            make them any more; None if there are none such yet.
    """
    reserved_at = {one.hold_id: one.occurred_at for one in events}
    evidence = {
        hold_id: billed.get(hold_id, 0)
        for hold_id in open_ended(events)
        if hold_id in billed or (absent_before is not None and reserved_at[hold_id] < absent_before)
    }
    at = utc_now()
    settled = ledger.settle(
        [
            Settlement(hold_id, Charge(cost_nano=nano, usage_source="external"), at)
            for hold_id, nano in evidence.items()
        ]
    )
    charged = open_ended(events)
    moved = [one.hold_id for one in settled if one.moved]
    return Corrected(len(moved), sum(charged[one] - evidence[one] for one in moved))
