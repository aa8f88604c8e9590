"""The ledger as an executable specification: what every store must do, as plainly as possible.

Tests and the simulation run on it, and compare the stores that keep money with it. It forgets all
at the end of its process, so no host offers it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from spendgate.adapters.memory_adjust import adjust, record_of
from spendgate.adapters.memory_collect import collect
from spendgate.adapters.memory_outbox import MemoryOutbox
from spendgate.adapters.memory_policy import MemoryPolicy
from spendgate.adapters.memory_store import JournalEntry, MemoryHold, MemoryState, MemoryStore
from spendgate.adapters.stored_audit import AuditReport
from spendgate.domain import hold as lifecycle
from spendgate.domain.adjustment import Adjustment, AdjustmentOutcome, HoldRecord
from spendgate.domain.budget import BalanceKey, BalanceRow, Claim
from spendgate.domain.decision import Balance, Granted, Position, Refused, decide, positions_of
from spendgate.domain.event import Charge, DecisionRecord, spend_event
from spendgate.domain.hold import HoldAmounts, HoldState, Movement
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    ReserveRequest,
    Settled,
    Settlement,
    StalePolicy,
    Verdict,
    completed_facts,
)
from spendgate.domain.retention import Collected

_UNKNOWN = Charge()
_ZERO = Balance()


class MemoryLedger:
    """The verbs of the ledger; policy and outbox are its siblings in the same store."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = store or MemoryStore()
        self.policies = MemoryPolicy(self._store)
        self.outbox = MemoryOutbox(self._store)

    @property
    def ledger_id(self) -> str:
        """The random name that this store got when it was made."""
        return self._store.state.ledger_id

    def reserve(self, requests: Sequence[ReserveRequest]) -> list[Verdict]:
        """Admit or refuse each request in turn."""
        with self._store.write() as state:
            return [self._reserve(state, request) for request in requests]

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Charge what calls cost."""
        with self._store.write() as state:
            return [self._settle(state, one) for one in settlements]

    def void(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        """Release holds whose calls never happened."""
        with self._store.write() as state:
            return [self._end(state, one, lifecycle.void, _UNKNOWN, at) for one in hold_ids]

    def expire(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        """Charge holds in full now."""
        with self._store.write() as state:
            return [self._end(state, one, lifecycle.expire, _UNKNOWN, at) for one in hold_ids]

    def sweep(self, at: datetime, limit: int = 500) -> int:
        """Expire holds that are past their time; return how many."""
        if not _due(self._store.state, at):
            return 0
        with self._store.write() as state:
            oldest = _due(state, at)[:limit]
            for hold_id in oldest:
                self._end(state, hold_id, lifecycle.expire, _UNKNOWN, at)
        return len(oldest)

    def adjust(self, adjustments: Sequence[Adjustment]) -> list[AdjustmentOutcome]:
        """Book each adjustment in turn."""
        with self._store.write() as state:
            return [self._adjust(state, one) for one in adjustments]

    def hold_record(self, hold_id: str) -> HoldRecord | None:
        """Return a hold as it is now."""
        hold = self._store.state.holds.get(hold_id)
        return None if hold is None else record_of(hold)

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        """Remove what is older than `keep` and nobody needs."""
        with self._store.write() as state:
            return collect(state, at, keep)

    def record(self, decisions: Sequence[DecisionRecord]) -> None:
        """Journal refusals and downgrades."""
        with self._store.write() as state:
            state.decisions += decisions

    def positions(self, claims: Sequence[Claim]) -> tuple[Position, ...]:
        """Return where budgets stand now, without locking anybody out."""
        return positions_of(claims, self._store.state.balances)

    def balances(self) -> list[BalanceRow]:
        """Return every balance."""
        return [
            BalanceRow(*key, balance.spent_nano, balance.held_nano)
            for key, balance in sorted(self._store.state.balances.items())
        ]

    def audit(self) -> AuditReport:
        """Recompute every balance from the journal and the open holds, and compare."""
        state = self._store.state
        return AuditReport(
            problems=(*_balance_problems(state), *_hold_problems(state)),
            balances_checked=len(state.balances),
            events=state.collected_entries + len(state.journal),
            holds_open=sum(hold.state is HoldState.HELD for hold in state.holds.values()),
            spent_nano=state.collected_nano + sum(one.event.cost_nano for one in state.journal),
        )

    def policy_version(self) -> int:
        """Return the policy's version."""
        return self.policies.version()

    def close(self) -> None:
        """Do nothing: there are no files and no connections."""

    def _reserve(self, state: MemoryState, request: ReserveRequest) -> Verdict:
        known = state.holds.get(request.hold_id)
        if known is not None:
            if known.fingerprint != request.fingerprint:
                return FingerprintConflict()
            return AlreadyReserved(
                known.state, known.amount_nano, known.charged_nano, known.facts.model
            )
        if request.policy_version != state.policy_version:
            return StalePolicy(state.policy_version)
        verdict = self._decide(request, state)
        if isinstance(verdict, Granted):
            self._hold(state, request, verdict)
        return verdict

    def _decide(self, request: ReserveRequest, state: MemoryState) -> Granted | Refused:
        return decide(request.claims, request.candidates, request.model, state.balances)

    def _hold(self, state: MemoryState, request: ReserveRequest, granted: Granted) -> None:
        keys = tuple(claim.keys[0] for claim in request.claims)
        state.holds[request.hold_id] = MemoryHold(
            request.fingerprint,
            granted.amount_nano,
            keys,
            completed_facts(request, granted),
            request.expires_at,
        )
        state.move(keys, 0, granted.amount_nano, request.facts.occurred_at)

    def _adjust(self, state: MemoryState, adjustment: Adjustment) -> AdjustmentOutcome:
        return adjust(state, adjustment)

    def _settle(self, state: MemoryState, settlement: Settlement) -> Settled:
        charge = settlement.charge
        return self._end(
            state,
            settlement.hold_id,
            lambda hold: lifecycle.settle(hold, charge.cost_nano),
            charge,
            settlement.at,
        )

    def _end(
        self,
        state: MemoryState,
        hold_id: str,
        transition: Callable[[HoldAmounts], Movement | None],
        charge: Charge,
        at: datetime,
    ) -> Settled:
        """Apply one transition to a hold: the hold, its balances and the journal move together."""
        hold = state.holds.get(hold_id)
        if hold is None:
            return Settled(hold_id, None, 0, moved=False)
        movement = transition(HoldAmounts(hold.state, hold.amount_nano, hold.charged_nano))
        if movement is None:
            return Settled(hold_id, hold.state, hold.charged_nano, moved=False)
        sequence = hold.events + 1
        state.holds[hold_id] = replace(
            hold, state=movement.state, charged_nano=movement.charged_nano, events=sequence
        )
        state.move(hold.keys, movement.spent_delta_nano, movement.held_delta_nano, at)
        event = spend_event(hold_id, sequence, movement, hold.facts, charge, hold.amount_nano, at)
        state.journal.append(JournalEntry(event, hold.keys))
        moved = {key: state.balances[key] for key in hold.keys}
        return Settled(
            hold_id, movement.state, movement.charged_nano, True, movement.is_overrun, moved
        )


def _due(state: MemoryState, at: datetime) -> list[str]:
    due = [
        (hold.expires_at, hold_id)
        for hold_id, hold in state.holds.items()
        if hold.state is HoldState.HELD and hold.expires_at <= at
    ]
    return [hold_id for _, hold_id in sorted(due)]


def _balance_problems(state: MemoryState) -> list[str]:
    spent = dict.fromkeys(state.balances, 0) | state.carried
    held: dict[BalanceKey, int] = dict.fromkeys(state.balances, 0)
    for entry in state.journal:
        for key in entry.keys:
            spent[key] = spent.get(key, 0) + entry.event.cost_nano
    for hold in state.holds.values():
        for key in hold.keys:
            is_open = hold.state is HoldState.HELD
            held[key] = held.get(key, 0) + (hold.amount_nano if is_open else 0)
    return [
        f"budget {key.budget_id} ({key.scope_value}, {key.period}): spent {now.spent_nano} "
        f"nano-USD, journal says {spent[key]}; held {now.held_nano}, open holds say {held[key]}"
        for key in spent
        if (now := state.balances.get(key, _ZERO)) != Balance(spent[key], held[key])
    ]


def _hold_problems(state: MemoryState) -> list[str]:
    problems: list[str] = []
    for hold_id, hold in state.holds.items():
        events = [one.event for one in state.journal if one.event.hold_id == hold_id]
        said = sum(event.cost_nano for event in events)
        is_open = hold.state is HoldState.HELD
        is_voided = hold.state is HoldState.VOIDED
        if (
            (hold.charged_nano, hold.events) != (said, len(events))
            or is_open != (not events)
            or (is_voided and hold.charged_nano != 0)
        ):
            problems.append(
                f"hold {hold_id} ({hold.state}): charged {hold.charged_nano} of "
                f"{hold.amount_nano} nano-USD in {hold.events} events, journal says {said} "
                f"in {len(events)}"
            )
    return problems
