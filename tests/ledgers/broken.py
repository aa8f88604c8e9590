"""Ledgers that are wrong in one way each: a test that lets one of them live proves nothing.

The first six are those of the research (reference/ledger.md §5.2); the others are mistakes that a
store could make just as easily.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tests.ledgers.crashing import CrashingMemoryStore
from tests.ledgers.sinks import VersionedSink, VersionlessSink

from spendgate.adapters.memory_ledger import MemoryLedger
from spendgate.adapters.memory_outbox import MemoryOutbox
from spendgate.adapters.memory_store import MemoryHold, MemoryState, MemoryStore
from spendgate.domain import hold as lifecycle
from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Balance, Granted, Refused, decide
from spendgate.domain.event import Charge
from spendgate.domain.hold import EventKind, HoldAmounts, HoldState, Movement
from spendgate.domain.reservation import (
    FingerprintConflict,
    ReserveRequest,
    Settled,
    Settlement,
    Verdict,
)
from spendgate.domain.window import window_at
from spendgate.gateway.ports import EventBatch

Transition = Callable[[HoldAmounts], Movement | None]


class ExpiryFrees(MemoryLedger):
    """What card networks do: a hold that ran out of time is released."""

    def _end(
        self, state: MemoryState, hold_id: str, transition: Transition, charge: Charge, at: datetime
    ) -> Settled:
        if transition is lifecycle.expire:
            transition = _freed
        return super()._end(state, hold_id, transition, charge, at)


class AdmissionIgnoresHolds(MemoryLedger):
    """Only what is settled counts against a limit."""

    def _decide(self, request: ReserveRequest, state: MemoryState) -> Granted | Refused:
        spent = {key: Balance(now.spent_nano, 0) for key, now in state.balances.items()}
        return decide(request.claims, request.candidates, request.model, spent)


class SettleTwice(MemoryLedger):
    """A repeated settlement is charged again."""

    def _settle(self, state: MemoryState, settlement: Settlement) -> Settled:
        hold = state.holds.get(settlement.hold_id)
        if hold is not None and hold.state is HoldState.SETTLED:
            state.move(hold.keys, settlement.charge.cost_nano or 0, 0, settlement.at)
        return super()._settle(state, settlement)


class LateSettleIgnored(MemoryLedger):
    """A settlement that comes after the expiry is dropped."""

    def _settle(self, state: MemoryState, settlement: Settlement) -> Settled:
        hold = state.holds.get(settlement.hold_id)
        if hold is not None and hold.state is HoldState.EXPIRED:
            settlement = replace(settlement, charge=Charge())
        return super()._settle(state, settlement)


class RefusalHolds(MemoryLedger):
    """A refused call leaves a part of its reservation behind."""

    def _reserve(self, state: MemoryState, request: ReserveRequest) -> Verdict:
        verdict = super()._reserve(state, request)
        if isinstance(verdict, Refused):
            state.move([request.claims[0].keys[0]], 0, 1, request.facts.occurred_at)
        return verdict


class VoidAfterExpiryFrees(MemoryLedger):
    """A void that comes after the expiry takes the charge back without evidence."""

    def _end(
        self, state: MemoryState, hold_id: str, transition: Transition, charge: Charge, at: datetime
    ) -> Settled:
        if transition is lifecycle.void:
            transition = _voided_whenever
        return super()._end(state, hold_id, transition, charge, at)


class SettlesInTodaysWindow(MemoryLedger):
    """The end of a hold moves the balances of the window in which it ends."""

    def _end(
        self, state: MemoryState, hold_id: str, transition: Transition, charge: Charge, at: datetime
    ) -> Settled:
        hold = state.holds.get(hold_id)
        if hold is not None:
            keys = tuple(_key_at(state, key, at) for key in hold.keys)
            state.holds[hold_id] = replace(hold, keys=keys)
        return super()._end(state, hold_id, transition, charge, at)


class OldPolicyAccepted(MemoryLedger):
    """A request that was prepared under an older policy is decided by it."""

    def _reserve(self, state: MemoryState, request: ReserveRequest) -> Verdict:
        return super()._reserve(state, replace(request, policy_version=state.policy_version))


class IdsForgotten(MemoryLedger):
    """A repeated reservation is held again."""

    def _reserve(self, state: MemoryState, request: ReserveRequest) -> Verdict:
        known = state.holds.get(request.hold_id)
        if known is not None and known.state is HoldState.HELD:
            verdict = self._decide(request, state)
            if isinstance(verdict, Granted):
                self._hold(state, request, verdict)
            return verdict
        return super()._reserve(state, request)


class BodiesMixedUp(MemoryLedger):
    """An id that is used again for another request is answered as if it were the first."""

    def _reserve(self, state: MemoryState, request: ReserveRequest) -> Verdict:
        verdict = super()._reserve(state, request)
        if isinstance(verdict, FingerprintConflict):
            first = state.holds[request.hold_id].fingerprint
            return super()._reserve(state, replace(request, fingerprint=first))
        return verdict


class OneBudgetForgotten(MemoryLedger):
    """A grant moves all of its balances but the last."""

    def _hold(self, state: MemoryState, request: ReserveRequest, granted: Granted) -> None:
        super()._hold(state, request, granted)
        hold: MemoryHold = state.holds[request.hold_id]
        state.move(hold.keys[-1:], 0, -hold.amount_nano, hold.facts.occurred_at)
        state.holds[request.hold_id] = replace(hold, keys=hold.keys[:-1])


class OnlyThisBucket(MemoryLedger):
    """A rolling window reads the bucket of the call and none before it."""

    def _decide(self, request: ReserveRequest, state: MemoryState) -> Granted | Refused:
        current = {claim.keys[0] for claim in request.claims}
        seen = {key: now for key, now in state.balances.items() if key in current}
        return decide(request.claims, request.candidates, request.model, seen)


class HalfCommits(CrashingMemoryStore):
    """A death before the commit leaves what was done so far."""

    @contextmanager
    def write(self) -> Generator[Any]:
        with super().write() as draft:
            self._state = draft
            yield draft


class BatchesRenumbered(MemoryOutbox):
    """An unconfirmed batch is delivered again under a new number."""

    def claim_batch(self, limit: int) -> EventBatch | None:
        with self._store.write() as draft:
            draft.batches = [
                one if one.number in draft.delivered else replace(one, number=one.number + 1)
                for one in draft.batches
            ]
        return super().claim_batch(limit)


class ConfirmedWhenClaimed(MemoryOutbox):
    """A batch counts as delivered as soon as somebody has asked for it."""

    def claim_batch(self, limit: int) -> EventBatch | None:
        batch = super().claim_batch(limit)
        if batch is not None:
            self.confirm_batch(batch.number)
        return batch


def _freed(hold: HoldAmounts) -> Movement | None:
    if hold.state is not HoldState.HELD:
        return None
    return Movement(HoldState.EXPIRED, EventKind.EXPIRED, 0, -hold.amount_nano, 0)


def _voided_whenever(hold: HoldAmounts) -> Movement | None:
    if hold.state is not HoldState.EXPIRED:
        return lifecycle.void(hold)
    return Movement(HoldState.VOIDED, EventKind.VOIDED, -hold.charged_nano, 0, 0)


def _key_at(state: MemoryState, key: BalanceKey, at: datetime) -> BalanceKey:
    budget = state.policy.budgets[key.budget_id]
    return key._replace(period=window_at(budget.window, budget.tz, at).key)


@dataclass(frozen=True)
class Parts:
    """What a ledger under test is made of."""

    ledger: type[MemoryLedger] = MemoryLedger
    outbox: type[MemoryOutbox] = MemoryOutbox
    store: type[CrashingMemoryStore] = CrashingMemoryStore
    sink: type[VersionedSink] = VersionedSink

    def open(self, store: MemoryStore) -> MemoryLedger:
        """Open a ledger over a store, as a new process would."""
        ledger = self.ledger(store)
        ledger.outbox = self.outbox(store)
        return ledger


SOUND = Parts()
OF_THE_RESEARCH = {
    "expiry frees the hold": Parts(ledger=ExpiryFrees),
    "admission ignores holds": Parts(ledger=AdmissionIgnoresHolds),
    "settle is not idempotent": Parts(ledger=SettleTwice),
    "late settle ignored": Parts(ledger=LateSettleIgnored),
    "flush without transaction version": Parts(sink=VersionlessSink),
    "partial reserve left on refusal": Parts(ledger=RefusalHolds),
}
BROKEN = OF_THE_RESEARCH | {
    "void after expiry frees": Parts(ledger=VoidAfterExpiryFrees),
    "settled in today's window": Parts(ledger=SettlesInTodaysWindow),
    "old policy accepted": Parts(ledger=OldPolicyAccepted),
    "hold ids forgotten": Parts(ledger=IdsForgotten),
    "bodies of one id mixed up": Parts(ledger=BodiesMixedUp),
    "one budget of a grant forgotten": Parts(ledger=OneBudgetForgotten),
    "rolling window reads one bucket": Parts(ledger=OnlyThisBucket),
    "half a transaction committed": Parts(store=HalfCommits),
    "unconfirmed batch renumbered": Parts(outbox=BatchesRenumbered),
    "batch confirmed when claimed": Parts(outbox=ConfirmedWhenClaimed),
}
