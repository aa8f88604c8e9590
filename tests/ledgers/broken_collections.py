"""Ledgers whose collection is wrong in one way each."""

from datetime import datetime, timedelta

from tests.ledgers.broken import Parts

from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.domain.hold import HoldState
from spendgate.domain.retention import Collected, kept_until


class UndeliveredCollected(MemoryLedger):
    """What is in a batch counts as delivered, though the sink may not have it."""

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        with self._store.write() as state:
            confirmed = set(state.delivered)
            state.delivered |= {one.number for one in state.batches}
        collected = super().collect(at, keep)
        with self._store.write() as state:
            state.delivered = confirmed
        return collected


class SumsForgotten(MemoryLedger):
    """What collected entries had added to a balance isn't remembered."""

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        collected = super().collect(at, keep)
        with self._store.write() as state:
            state.carried.clear()
        return collected


class AnyClockBelieved(MemoryLedger):
    """A collector whose clock runs ahead takes the windows that are in use."""

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        with self._store.write() as state:
            touched = dict(state.touched)
            state.touched |= dict.fromkeys(state.touched, at)
        collected = super().collect(at, keep)
        with self._store.write() as state:
            state.touched = {key: touched[key] for key in state.touched}
        return collected


class OpenHoldsCollected(MemoryLedger):
    """A hold that is past its time is taken for one that has ended."""

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        with self._store.write() as state:
            for hold_id, hold in list(state.holds.items()):
                if hold.state is HoldState.HELD and hold.expires_at <= at - keep:
                    del state.holds[hold_id]
        return super().collect(at, keep)


class BalancesInUseCollected(MemoryLedger):
    """A balance goes as soon as its window is past, whatever still names it."""

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        collected = super().collect(at, keep)
        with self._store.write() as state:
            for key in list(state.balances):
                until = kept_until(key.period)
                if until is not None and until <= at:
                    del state.balances[key], state.touched[key]
        return collected


class RetentionIgnored(MemoryLedger):
    """What has just ended goes at once."""

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        return super().collect(at, timedelta())


BROKEN_COLLECTIONS = {
    "undelivered entries collected": Parts(ledger=UndeliveredCollected),
    "sums of collected entries forgotten": Parts(ledger=SumsForgotten),
    "any collector's clock believed": Parts(ledger=AnyClockBelieved),
    "open holds collected": Parts(ledger=OpenHoldsCollected),
    "balances in use collected": Parts(ledger=BalancesInUseCollected),
    "retention ignored": Parts(ledger=RetentionIgnored),
}
