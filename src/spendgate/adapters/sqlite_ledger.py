"""The embedded ledger: reserve, settle, void, sweep on one SQLite file.

Every verb takes a batch and is safe to repeat; each reserve reads its balances under the file's
lock, asks `domain.decision.decide`, and writes the hold and all balances in the same transaction,
or nothing.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from spendgate.adapters.event_codec import (
    decode_facts,
    dump,
    encode_charge,
    encode_decision,
    encode_facts,
    to_micros,
)
from spendgate.adapters.sqlite_outbox import SqliteOutbox
from spendgate.adapters.sqlite_policy import SqlitePolicy
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.adapters.statements import statements
from spendgate.domain import hold as lifecycle
from spendgate.domain.budget import BalanceKey, Claim
from spendgate.domain.decision import Balance, Granted, Position, decide, positions_of
from spendgate.domain.event import Charge, DecisionRecord
from spendgate.domain.hold import HoldAmounts, HoldState, Movement
from spendgate.domain.reservation import (
    AlreadyReserved,
    FingerprintConflict,
    ReserveRequest,
    Settled,
    Settlement,
    StalePolicy,
    Verdict,
)
from spendgate.gateway.ports import BalanceRow

_SQL = statements("sqlite/verbs.sql")
_AUDIT = statements("sqlite/audit.sql")
_UNKNOWN = Charge()


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a recount of the journal found; no problems means every balance agrees."""

    problems: tuple[str, ...]
    balances_checked: int
    events: int
    holds_open: int
    spent_nano: int


class SqliteLedger:
    """The verbs of the ledger; policy and outbox are its siblings in the same file."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.policies = SqlitePolicy(store)
        self.outbox = SqliteOutbox(store)

    @property
    def ledger_id(self) -> str:
        """The random name that this file got when it was made."""
        return self.policies.ledger_id()

    def reserve(self, requests: Sequence[ReserveRequest]) -> list[Verdict]:
        """Admit or refuse each request in turn."""
        with self._store.write() as connection:
            return [_reserve(connection, request) for request in requests]

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        """Charge what calls cost."""
        with self._store.write() as connection:
            return [
                _end(
                    connection,
                    one.hold_id,
                    lambda hold, charge=one.charge: lifecycle.settle(hold, charge.cost_nano),
                    one.charge,
                    one.at,
                )
                for one in settlements
            ]

    def void(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        """Release holds whose calls never happened."""
        with self._store.write() as connection:
            return [_end(connection, one, lifecycle.void, _UNKNOWN, at) for one in hold_ids]

    def expire(self, hold_ids: Sequence[str], at: datetime) -> list[Settled]:
        """Charge holds in full now."""
        with self._store.write() as connection:
            return [_end(connection, one, lifecycle.expire, _UNKNOWN, at) for one in hold_ids]

    def sweep(self, at: datetime, limit: int = 500) -> int:
        """Expire holds that are past their time; return how many."""
        due = (to_micros(at), limit)
        if not self._store.read(_SQL["due_holds"], due):
            return 0  # the common case takes no lock
        with self._store.write() as connection:
            ids = [row[0] for row in connection.execute(_SQL["due_holds"], due).fetchall()]
            for hold_id in ids:
                _end(connection, hold_id, lifecycle.expire, _UNKNOWN, at)
        return len(ids)

    def record(self, decisions: Sequence[DecisionRecord]) -> None:
        """Journal refusals and downgrades."""
        with self._store.write() as connection:
            connection.executemany(
                _SQL["insert_decision"], [(encode_decision(one),) for one in decisions]
            )

    def positions(self, claims: Sequence[Claim]) -> tuple[Position, ...]:
        """Return where budgets stand now, without locking anybody out."""
        with self._store.snapshot() as connection:
            balances, _ = _read_balances(connection, claims)
        return positions_of(claims, balances)

    def balances(self) -> list[BalanceRow]:
        """Return every balance."""
        return [BalanceRow(*row) for row in self._store.read(_SQL["all_balances"])]  # type: ignore[arg-type]  # the columns' types are the schema's

    def audit(self) -> AuditReport:
        """Recompute every balance from the journal and the open holds, and compare."""
        with self._store.snapshot() as connection:
            differences = connection.execute(_AUDIT["balance_differences"]).fetchall()
            holds = connection.execute(_AUDIT["hold_differences"]).fetchall()
            (orphans,) = connection.execute(_AUDIT["orphans"]).fetchone()
            balances, events, open_holds, spent = connection.execute(_AUDIT["counts"]).fetchone()
        problems = [
            f"budget {budget} ({value}, {period}): spent {spent_now} nano-USD, journal says "
            f"{spent_journal}; held {held_now}, open holds say {held_open}"
            for budget, value, period, spent_now, spent_journal, held_now, held_open in differences
        ]
        problems += [
            f"hold {one}: charged {charged}, events say {said}" for one, charged, said in holds
        ]
        if orphans:
            problems.append(f"{orphans} journal entries name a balance that doesn't exist")
        return AuditReport(tuple(problems), balances, events, open_holds, spent)

    def policy_version(self) -> int:
        """Return the policy's version."""
        return self.policies.version()

    def close(self) -> None:
        """Close this process's connections."""
        self._store.close()


def _reserve(connection: sqlite3.Connection, request: ReserveRequest) -> Verdict:
    existing = connection.execute(_SQL["hold_by_id"], (request.hold_id,)).fetchone()
    if existing is not None:
        return _repeated(existing, request)
    (version,) = connection.execute(_SQL["policy_version"]).fetchone()
    if version != request.policy_version:
        return StalePolicy(version)
    balances, ids = _read_balances(connection, request.claims)
    verdict = decide(request.claims, request.candidates, request.model, balances)
    if isinstance(verdict, Granted):
        _hold(connection, request, verdict, ids)
    return verdict


def _repeated(row: tuple[str, str, int, int, str, str, int], request: ReserveRequest) -> Verdict:
    fingerprint, state, amount, charged, _, facts, _ = row
    if fingerprint != request.fingerprint:
        return FingerprintConflict()
    return AlreadyReserved(HoldState(state), amount, charged, decode_facts(facts).model)


def _read_balances(
    connection: sqlite3.Connection, claims: Sequence[Claim]
) -> tuple[dict[BalanceKey, Balance], dict[BalanceKey, int]]:
    balances: dict[BalanceKey, Balance] = {}
    ids: dict[BalanceKey, int] = {}
    sql = _SQL["balance_by_key"]
    for claim in claims:
        for key in claim.keys:
            row = connection.execute(sql, (key.budget_id, key.scope_value, key.period)).fetchone()
            if row is not None:
                ids[key], balances[key] = row[0], Balance(row[1], row[2])
    return balances, ids


def _hold(
    connection: sqlite3.Connection,
    request: ReserveRequest,
    granted: Granted,
    ids: dict[BalanceKey, int],
) -> None:
    """Write the hold and move every balance; a value seen for the first time gets its row here."""
    at = to_micros(request.facts.occurred_at)
    amount = granted.amount_nano
    held: list[int] = []
    for claim in request.claims:
        key = claim.keys[0]
        bal_id = ids.get(key)
        if bal_id is None:
            row = (key.budget_id, key.scope_value, key.period, amount, at)
            bal_id = connection.execute(_SQL["insert_balance"], row).lastrowid or 0
        else:
            connection.execute(_SQL["hold_on_balance"], (amount, at, bal_id))
        held.append(bal_id)
    facts = replace(
        request.facts,
        model=granted.candidate.model,
        price_version=granted.candidate.price_version,
        decision=granted.decision.value,
    )
    connection.execute(
        _SQL["insert_hold"],
        (
            request.hold_id,
            request.fingerprint,
            amount,
            dump(held),
            encode_facts(facts),
            to_micros(request.expires_at),
        ),
    )


def _end(
    connection: sqlite3.Connection,
    hold_id: str,
    transition: Callable[[HoldAmounts], Movement | None],
    charge: Charge,
    at: datetime,
) -> Settled:
    """Apply one transition to a hold: the hold, its balances and the journal move together."""
    row = connection.execute(_SQL["hold_by_id"], (hold_id,)).fetchone()
    if row is None:
        return Settled(hold_id, None, 0, moved=False)
    _, state, amount, charged, bals, facts, events = row
    movement = transition(HoldAmounts(HoldState(state), amount, charged))
    if movement is None:
        return Settled(hold_id, HoldState(state), charged, moved=False)
    sequence, micros = events + 1, to_micros(at)
    connection.execute(
        _SQL["end_hold"], (movement.state.value, movement.charged_nano, sequence, hold_id)
    )
    connection.executemany(
        _SQL["move_balance"],
        [
            (movement.spent_delta_nano, movement.held_delta_nano, micros, bal_id)
            for bal_id in _ids(bals)
        ],
    )
    connection.execute(
        _SQL["insert_event"],
        (
            f"{hold_id}:{sequence}",
            hold_id,
            movement.kind.value,
            movement.spent_delta_nano,
            amount,
            bals,
            facts,
            encode_charge(charge),
            micros,
        ),
    )
    return Settled(hold_id, movement.state, movement.charged_nano, True, movement.is_overrun)


def _ids(bals: str) -> list[int]:
    return [int(one) for one in bals.strip("[]").split(",") if one]
