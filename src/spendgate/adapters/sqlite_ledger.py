"""The embedded ledger: reserve, settle, void, sweep on one SQLite file.

Every verb takes a batch and is safe to repeat; each reserve reads its balances under the file's
lock, asks `domain.decision.decide`, and writes the hold and all balances in the same transaction,
or nothing.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

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
from spendgate.domain.budget import BalanceKey, BalanceRow, Claim
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

_SQL = statements("sqlite/verbs.sql")
_AUDIT = statements("sqlite/audit.sql")
_UNKNOWN = Charge()
_KEYS_AT_ONCE = 1_000
"""Keys in one query: three values each, far below SQLite's 32,766."""


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
            (strays,) = connection.execute(_AUDIT["strays"]).fetchone()
            balances, events, open_holds, spent = connection.execute(_AUDIT["counts"]).fetchone()
        problems = [
            f"budget {budget} ({value}, {period}): spent {spent_now} nano-USD, journal says "
            f"{spent_journal}; held {held_now}, open holds say {held_open}"
            for budget, value, period, spent_now, spent_journal, held_now, held_open in differences
        ]
        problems += [
            f"hold {one} ({state}): charged {charged} of {amount} nano-USD in {count} events, "
            f"journal says {said} of {reserved} in {journalled}"
            for one, state, charged, count, amount, said, journalled, reserved in holds
        ]
        if orphans:
            problems.append(f"{orphans} journal entries name a balance that doesn't exist")
        if strays:
            problems.append(f"{strays} journal entries name a hold that doesn't exist")
        return AuditReport(tuple(problems), balances, events, open_holds, spent)

    def policy_version(self) -> int:
        """Return the policy's version."""
        return self.policies.version()

    def close(self) -> None:
        """Close this process's connections."""
        self._store.close()


def _reserve(connection: sqlite3.Connection, request: ReserveRequest) -> Verdict:
    version, *existing = connection.execute(_SQL["reserve_head"], (request.hold_id,)).fetchone()
    if existing[0] is not None:
        return _repeated(existing, request)
    if version != request.policy_version:
        return StalePolicy(version)
    balances, ids = _read_balances(connection, request.claims)
    verdict = decide(request.claims, request.candidates, request.model, balances)
    if isinstance(verdict, Granted):
        _hold(connection, request, verdict, ids)
    return verdict


def _repeated(row: Sequence[Any], request: ReserveRequest) -> Verdict:
    fingerprint, state, amount, charged, facts = row
    if fingerprint != request.fingerprint:
        return FingerprintConflict()
    return AlreadyReserved(HoldState(state), amount, charged, decode_facts(facts).model)


def _read_balances(
    connection: sqlite3.Connection, claims: Sequence[Claim]
) -> tuple[dict[BalanceKey, Balance], dict[BalanceKey, int]]:
    balances: dict[BalanceKey, Balance] = {}
    ids: dict[BalanceKey, int] = {}
    keys = [key for claim in claims for key in claim.keys]
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        sql = _repeated_marks("balances_by_keys", "keys", "(?, ?, ?)", len(some))
        asked = [part for key in some for part in key]
        for bal_id, spent, held, *parts in connection.execute(sql, asked).fetchall():
            key = BalanceKey(*parts)
            ids[key], balances[key] = bal_id, Balance(spent, held)
    return balances, ids


@cache
def _repeated_marks(name: str, slot: str, mark: str, count: int) -> str:
    """Return a statement with as many parameter marks as it has values."""
    return _SQL[name].replace(f"{{{slot}}}", ", ".join([mark] * count))


def _move(
    connection: sqlite3.Connection, bal_ids: Sequence[int], spent: int, held: int, at: int
) -> None:
    if bal_ids:
        sql = _repeated_marks("move_balances", "ids", "?", len(bal_ids))
        connection.execute(sql, (spent, held, at, *bal_ids))


def _hold(
    connection: sqlite3.Connection,
    request: ReserveRequest,
    granted: Granted,
    ids: dict[BalanceKey, int],
) -> None:
    """Write the hold and move every balance; a value seen for the first time gets its row here."""
    at = to_micros(request.facts.occurred_at)
    amount = granted.amount_nano
    charged = [claim.keys[0] for claim in request.claims]
    known = [ids[key] for key in charged if key in ids]
    _move(connection, known, 0, amount, at)
    made = [
        connection.execute(
            _SQL["insert_balance"], (key.budget_id, key.scope_value, key.period, amount, at)
        ).lastrowid
        for key in charged
        if key not in ids
    ]
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
            dump([*known, *made]),
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
    _move(connection, _ids(bals), movement.spent_delta_nano, movement.held_delta_nano, micros)
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
