"""The embedded ledger: reserve, settle, void, sweep on one SQLite file.

Every verb takes a batch and is safe to repeat; each reserve reads its balances under the file's
lock, asks `domain.decision.decide`, and writes the hold and all balances in the same transaction,
or nothing.
"""

import sqlite3
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import chain

from spendgate.adapters.adjustment_book import hold_record
from spendgate.adapters.event_codec import dump, encode_decision, to_micros
from spendgate.adapters.hold_rows import HoldEnd, event_row, granted_facts, repeated
from spendgate.adapters.sqlite_adjust import adjust
from spendgate.adapters.sqlite_store import SqliteStore
from spendgate.adapters.statements import statements
from spendgate.adapters.stored_audit import AuditReport, audit
from spendgate.adapters.stored_collection import StoredCollection
from spendgate.adapters.stored_deliveries import StoredDeliveries
from spendgate.adapters.stored_exposure import Exposure, exposure
from spendgate.adapters.stored_ledger import LaneState
from spendgate.adapters.stored_outbox import StoredOutbox
from spendgate.adapters.stored_policy import StoredPolicy
from spendgate.domain.adjustment import Adjustment, AdjustmentOutcome, HoldRecord
from spendgate.domain.budget import BalanceKey, BalanceRow, Claim
from spendgate.domain.decision import Balance, Granted, Position, decide, positions_of
from spendgate.domain.event import DecisionRecord
from spendgate.domain.hold import HoldAmounts, HoldState, Movement
from spendgate.domain.reservation import ReserveRequest, Settled, Settlement, StalePolicy, Verdict
from spendgate.domain.retention import Collected
from spendgate.errors import LedgerBrokenError

_SQL = statements("sqlite/verbs.sql")
_ADJUST = statements("sqlite/adjust.sql")
_AUDIT = statements("sqlite/audit.sql")
_EXPOSURE = statements("sqlite/exposure.sql")
_FORGOTTEN = statements("sqlite/forgotten.sql")
_KEYS_AT_ONCE = 1_000
"""Keys in one query: three values each, far below SQLite's 32,766."""


class SqliteLedger:
    """The verbs of the ledger; policy and outbox are its siblings in the same file."""

    def __init__(self, store: SqliteStore, *, busy_seconds: float | None = None) -> None:
        self._store = store
        self._busy_seconds = busy_seconds
        self.policies = StoredPolicy(store, statements("sqlite/policy.sql"))
        self.outbox = StoredOutbox(store, statements("sqlite/outbox.sql"))
        self.deliveries = StoredDeliveries(store, statements("sqlite/deliveries.sql"))
        self._collection = StoredCollection(store, statements("sqlite/collect.sql"), self.policies)

    @property
    def ledger_id(self) -> str:
        """The random name that this file got when it was made."""
        return self.policies.ledger_id()

    def at_once(self) -> "SqliteLedger | None":
        """Return the same ledger for who can't wait: LedgerBusyError instead of waiting for others.

        None where a commit itself waits for the disk.
        """
        return None if self._store.waits_for_disk else SqliteLedger(self._store, busy_seconds=0.0)

    def reserve(self, requests: Sequence[ReserveRequest]) -> list[Verdict]:
        """Admit or refuse each request in turn."""
        with self._store.write(self._busy_seconds) as connection:
            return [_reserve(connection, request) for request in requests]

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
        due = (to_micros(at), limit)
        if not self._store.read(_SQL["due_holds"], due):
            return 0  # the common case takes no lock
        with self._store.write(self._busy_seconds) as connection:
            ids = [row[0] for row in connection.execute(_SQL["due_holds"], due).fetchall()]
            for hold_id in ids:
                _end(connection, HoldEnd.expired(hold_id, at))
        return len(ids)

    def adjust(self, adjustments: Sequence[Adjustment]) -> list[AdjustmentOutcome]:
        """Book each adjustment in turn."""
        with self._store.write(self._busy_seconds) as connection:
            return adjust(connection, adjustments)

    def hold_record(self, hold_id: str) -> HoldRecord | None:
        """Return a hold as it is now."""
        with self._store.snapshot() as connection:
            row = connection.execute(_ADJUST["hold_record"], (hold_id,)).fetchone()
        return None if row is None else hold_record(*row)

    def collect(self, at: datetime, keep: timedelta) -> Collected:
        """Remove what is older than `keep` and nobody needs."""
        return self._collection.collect(at, keep)

    def record(self, decisions: Sequence[DecisionRecord]) -> None:
        """Journal refusals and downgrades."""
        with self._store.write(self._busy_seconds) as connection:
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
            return audit(connection, _AUDIT)

    def was_used(self) -> bool:
        """Tell whether a call was ever held or booked here, or a lost ledger was rebuilt."""
        ((was_used,),) = self._store.read(_FORGOTTEN["was_used"])
        return bool(was_used)

    def note_restored(self, at: datetime) -> None:
        """Remember that what a lost ledger knew is here, even where that was nothing."""
        with self._store.write() as connection:
            connection.execute(_FORGOTTEN["note_restored"], (str(to_micros(at)),))

    def exposure(self, at: datetime) -> Exposure:
        """Return what is held now, what should have ended, and how large the ledger is."""
        return exposure(self._store, _EXPOSURE, at)

    def lanes(self) -> LaneState:
        """Return that nobody waits in a lane: each verb takes the file's lock itself."""
        return LaneState(0, 0, 0)

    def commit_seconds(self) -> float:
        """Measure one commit, the floor of every reserve."""
        started = time.monotonic()
        with self._store.write(self._busy_seconds) as connection:
            connection.execute(_SQL["probe_commit"])
        return time.monotonic() - started

    def policy_version(self) -> int:
        """Return the policy's version."""
        return self.policies.version()

    def close(self) -> None:
        """Close this process's connections."""
        self._store.close()

    def _end(self, ends: Sequence[HoldEnd]) -> list[Settled]:
        with self._store.write(self._busy_seconds) as connection:
            return [_end(connection, one) for one in ends]


def _reserve(connection: sqlite3.Connection, request: ReserveRequest) -> Verdict:
    balances, ids = _read_balances(connection, request.claims)
    verdict = decide(request.claims, request.candidates, request.model, balances)
    charged = [claim.keys[0] for claim in request.claims]
    is_sure = isinstance(verdict, Granted) and all(map(ids.__contains__, charged))
    # Nearly always the hold itself asks this when it is written.
    earlier = None if is_sure else _earlier(connection, request)
    if earlier is None and isinstance(verdict, Granted):
        is_held = _hold(connection, request, verdict, charged, ids)
        earlier = None if is_held else _earlier(connection, request)
        if earlier is None and not is_held:
            raise LedgerBrokenError(f"the hold {request.hold_id} can't be written")
    return verdict if earlier is None else earlier


def _earlier(connection: sqlite3.Connection, request: ReserveRequest) -> Verdict | None:
    """Return what answers a request before any decision: its hold exists, or its policy is old."""
    version, *existing = connection.execute(_SQL["reserve_head"], (request.hold_id,)).fetchone()
    if existing[0] is not None:
        return repeated(existing, request)
    return None if version == request.policy_version else StalePolicy(version)


def _read_balances(
    connection: sqlite3.Connection, claims: Sequence[Claim]
) -> tuple[dict[BalanceKey, Balance], dict[BalanceKey, int]]:
    balances: dict[BalanceKey, Balance] = {}
    ids: dict[BalanceKey, int] = {}
    keys = list(chain.from_iterable([claim.read_keys for claim in claims]))
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        some = keys[start : start + _KEYS_AT_ONCE]
        asked = list(chain.from_iterable(some))
        rows: list[tuple[int, int, int, int]] = connection.execute(
            _balances_by_keys(len(some)), asked
        ).fetchall()
        for place, bal_id, spent, held in rows:
            key = some[place]
            ids[key], balances[key] = bal_id, Balance(spent, held)
    return balances, ids


@cache
def _balances_by_keys(count: int) -> str:
    marks = ", ".join(f"(?, ?, ?, {place})" for place in range(count))
    return _SQL["balances_by_keys"].replace("{keys}", marks)


@cache
def _repeated_marks(name: str, slot: str, mark: str, count: int) -> str:
    """Return a statement with as many parameter marks as it has values."""
    return _SQL[name].replace(f"{{{slot}}}", ", ".join([mark] * count))


def _move(
    connection: sqlite3.Connection,
    bal_ids: Sequence[int],
    moved: tuple[int, int],
    at: int,
    entries: int,
) -> dict[BalanceKey, Balance]:
    """Add spent and held to balances, and how many more entries or open holds name them.

    Returns the balances as they are then.
    """
    if not bal_ids:
        return {}
    sql = _repeated_marks("move_balances", "ids", "?", len(bal_ids))
    rows = connection.execute(sql, (*moved, at, entries, *bal_ids)).fetchall()
    # A key is the tuple of its parts, and to name them takes five times as long.
    return {row[:3]: Balance(row[3], row[4]) for row in rows}


def _hold(
    connection: sqlite3.Connection,
    request: ReserveRequest,
    granted: Granted,
    charged: Sequence[BalanceKey],
    ids: dict[BalanceKey, int],
) -> bool:
    """Write the hold and move every balance; a value seen for the first time gets its row here.

    Returns whether it did: not where the hold exists or the policy is another. Who brings new
    balances has ruled that out.
    """
    at = to_micros(request.facts.occurred_at)
    amount = granted.amount_nano
    known = [ids[key] for key in charged if key in ids]
    new = () if len(known) == len(charged) else [key for key in charged if key not in ids]
    made = [connection.execute(_SQL["insert_balance"], (*key, amount, at)).lastrowid for key in new]
    written = connection.execute(
        _SQL["insert_hold"],
        (
            request.hold_id,
            request.fingerprint,
            amount,
            dump([*known, *made]),
            granted_facts(request, granted),
            to_micros(request.expires_at),
            request.policy_version,
        ),
    )
    if written.rowcount and known:
        sql = _repeated_marks("hold_in_balances", "ids", "?", len(known))
        connection.execute(sql, (amount, at, *known))
    return bool(written.rowcount)


def _end(connection: sqlite3.Connection, end: HoldEnd) -> Settled:
    """Apply one transition to a hold: the hold, its balances and the journal move together."""
    wanted = end.state, end.cost_nano, end.hold_id
    for amount, bals, facts, events in connection.execute(_SQL["end_open_hold"], wanted).fetchall():
        movement = end.transition(HoldAmounts(HoldState.HELD, amount))
        assert movement is not None  # noqa: S101 - an open hold takes any end; this tells the types
        return _book(connection, end, movement, events, (amount, bals, facts))
    return _end_again(connection, end)


def _end_again(connection: sqlite3.Connection, end: HoldEnd) -> Settled:
    """Do to a hold that has ended what still can be done: later evidence corrects an expiry."""
    row = connection.execute(_SQL["hold_by_id"], (end.hold_id,)).fetchone()
    if row is None:
        return end.unmoved()
    state, amount, charged, bals, facts, events = row
    movement = end.transition(HoldAmounts(HoldState(state), amount, charged))
    if movement is None:
        return end.unmoved(HoldState(state), charged)
    connection.execute(
        _SQL["end_hold"], (movement.state.value, movement.charged_nano, events + 1, end.hold_id)
    )
    return _book(connection, end, movement, events + 1, (amount, bals, facts))


def _book(
    connection: sqlite3.Connection,
    end: HoldEnd,
    movement: Movement,
    sequence: int,
    hold: tuple[int, str, str],
) -> Settled:
    """Move a hold's balances and write its journal row; the hold is amount, balances and facts."""
    amount, bals, facts = hold
    entry = event_row(end, movement, sequence, amount, bals, facts)
    moved = movement.spent_delta_nano, movement.held_delta_nano
    # The first entry takes the place of the open hold.
    balances = _move(connection, _ids(bals), moved, entry.recorded_at, 1 if sequence > 1 else 0)
    connection.execute(_SQL["insert_event"], entry)
    return end.moved(movement, balances)


def _ids(bals: str) -> list[int]:
    return [] if bals == "[]" else list(map(int, bals[1:-1].split(",")))
