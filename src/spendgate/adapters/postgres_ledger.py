"""The shared ledger: reserve, settle, void, sweep on one Postgres database, from many processes.

Two lanes per process. The reserve lane shares durable transactions between callers, because an
exact hot row takes one commit at a time; the lane of the ends does the same without waiting for the
disk. Window keys and due times come from the caller, as in the embedded ledger: no clock of the
database decides anything.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from spendgate.adapters.adjustment_book import hold_record
from spendgate.adapters.durable_commit import commit_seconds
from spendgate.adapters.event_codec import encode_decision
from spendgate.adapters.group_commit import GroupCommit, Outcome, Turn
from spendgate.adapters.hold_rows import HoldEnd
from spendgate.adapters.per_process import PerProcess
from spendgate.adapters.postgres_adjust import adjust
from spendgate.adapters.postgres_ends import PostgresEnds
from spendgate.adapters.postgres_grants import key_columns
from spendgate.adapters.postgres_pool import PostgresSession
from spendgate.adapters.postgres_reserve import PostgresReserve
from spendgate.adapters.postgres_store import PostgresStore
from spendgate.adapters.postgres_wire import text_array
from spendgate.adapters.statements import statements
from spendgate.adapters.stored_audit import AuditReport, audit
from spendgate.adapters.stored_collection import StoredCollection
from spendgate.adapters.stored_deliveries import StoredDeliveries
from spendgate.adapters.stored_exposure import Exposure, exposure
from spendgate.adapters.stored_ledger import LaneState
from spendgate.adapters.stored_outbox import StoredOutbox
from spendgate.adapters.stored_policy import StoredPolicy
from spendgate.adapters.unconfirmed_ends import UnconfirmedEnds
from spendgate.domain.adjustment import Adjustment, AdjustmentOutcome, HoldRecord
from spendgate.domain.budget import BalanceKey, BalanceRow, Claim
from spendgate.domain.decision import Balance, Position, positions_of
from spendgate.domain.event import DecisionRecord
from spendgate.domain.reservation import ReserveRequest, Settled, Settlement, Verdict
from spendgate.domain.retention import Collected

_SQL = statements("postgres/verbs.sql")
_TX = statements("postgres/store.sql")
_ADJUST = statements("postgres/adjust.sql")
_AUDIT = statements("postgres/audit.sql")
_EXPOSURE = statements("postgres/exposure.sql")
_RESERVES_AT_ONCE = 256
_ENDS_AT_ONCE = 500


class PostgresLedger:
    """The verbs of the ledger; policy and outbox are its siblings in the same database."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._lanes = PerProcess(lambda: _Lanes(store))
        self.policies = StoredPolicy(store, statements("postgres/policy.sql"))
        self.outbox = StoredOutbox(store, statements("postgres/outbox.sql"))
        self.deliveries = StoredDeliveries(store, statements("postgres/deliveries.sql"))
        self._collection = StoredCollection(
            store, statements("postgres/collect.sql"), self.policies
        )

    @property
    def ledger_id(self) -> str:
        """The random name that this database got with its tables."""
        return self.policies.ledger_id()

    def reserve(self, requests: Sequence[ReserveRequest]) -> list[Verdict]:
        """Admit or refuse each request in turn."""
        return self._lanes.get().reserves.submit(requests)

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Charge what calls cost."""
        return self._end([HoldEnd.settled(one) for one in settlements])

    def void(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        """Release holds whose calls never happened."""
        return self._end([HoldEnd.voided(one, at) for one in hold_ids])

    def expire(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        """Charge holds in full now."""
        return self._end([HoldEnd.expired(one, at) for one in hold_ids])

    def sweep(self, at: datetime, limit: int = 500) -> int:
        """Expire holds that are past their time; return how many."""
        return PostgresEnds(self._store.pools.others).sweep(at, limit)

    def adjust(self, adjustments: Sequence[Adjustment]) -> list[AdjustmentOutcome]:
        """Book each adjustment in turn."""
        return adjust(self._store.pools.others, adjustments)

    def hold_record(self, hold_id: str) -> HoldRecord | None:
        """Return a hold as it is now."""
        rows = self._store.read(_ADJUST["hold_record"], (hold_id,))
        return hold_record(*rows[0]) if rows else None

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        """Remove what is older than `keep` and nobody needs."""
        return self._collection.collect(at, keep)

    def record(self, decisions: Sequence[DecisionRecord]) -> None:
        """Journal refusals and downgrades, which are reports and not waited for on the disk."""
        records = [encode_decision(one) for one in decisions]

        def insert(session: PostgresSession) -> None:
            session.round_trip(
                (_TX["begin"], ()),
                (_TX["without_waiting"], ()),
                (_SQL["insert_decisions"], (text_array(records),)),
                (_TX["commit"], ()),
            )

        self._store.pools.others.run(insert)

    def positions(self, claims: Sequence[Claim]) -> tuple[Position, ...]:
        """Return where budgets stand now, without locking anybody out."""
        keys = list({key: None for claim in claims for key in claim.read_keys})
        rows = self._store.read(_SQL["read_balances"], key_columns(keys)) if keys else []
        balances = {BalanceKey(*parts): Balance(spent, held) for _, spent, held, *parts in rows}
        return positions_of(claims, balances)

    def balances(self) -> list[BalanceRow]:
        """Return every balance."""
        return [BalanceRow(*row) for row in self._store.read(_SQL["all_balances"])]

    def audit(self) -> AuditReport:
        """Recompute every balance from the journal and the open holds, and compare."""
        with self._store.snapshot() as session, session.patient():
            session.execute(_TX["take_your_time"])
            return audit(session, _AUDIT)

    def policy_version(self) -> int:
        """Return the policy's version."""
        return self.policies.version()

    def lanes(self) -> LaneState:
        """Return how busy this process's lanes are."""
        lanes = self._lanes.get()
        return LaneState(lanes.reserves.depth, lanes.ends.depth, len(lanes.unconfirmed))

    def exposure(self, at: datetime) -> Exposure:
        """Return what is held now, what should have ended, and how large the ledger is."""
        return exposure(self._store, _EXPOSURE, at)

    def commit_seconds(self) -> float:
        """Measure one commit, the floor of every reserve."""
        return self._store.pools.others.run(commit_seconds)

    def close(self) -> None:
        """Make what was ended durable and close this process's connections."""
        lanes = self._lanes.take()
        if lanes is not None:
            lanes.unconfirmed.close()
        self._store.close()

    def _end(self, ends: Sequence[HoldEnd]) -> list[Settled]:
        return self._lanes.get().ends.submit(ends)


class _Lanes:
    """The lanes of one process."""

    def __init__(self, store: PostgresStore) -> None:
        wait_seconds = store.terms.timeout_seconds
        turn = Turn()
        self._ends = PostgresEnds(store.pools.ends)
        self.unconfirmed = UnconfirmedEnds(PostgresEnds(store.pools.others).confirm)
        self.reserves = GroupCommit(
            PostgresReserve(store.pools.reserves, lets_go_first=store.terms.lets_go_first).commit,
            jobs_max=_RESERVES_AT_ONCE,
            wait_seconds=wait_seconds,
            turn=turn,
        )
        self.ends = GroupCommit(
            self._commit, jobs_max=_ENDS_AT_ONCE, wait_seconds=wait_seconds, turn=turn
        )

    def _commit(self, callers: Sequence[Sequence[HoldEnd]]) -> Sequence[Outcome[Settled]]:
        is_durable = self.unconfirmed.is_full
        outcomes = self._ends.commit(callers, is_durable=is_durable)
        if not is_durable:
            moved = [
                end
                for ends, outcome in zip(callers, outcomes, strict=True)
                if not isinstance(outcome, Exception)
                for end, settled in zip(ends, outcome, strict=True)
                if settled.moved
            ]
            self.unconfirmed.add(moved)
        return outcomes
