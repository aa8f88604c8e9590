"""Reserve on Postgres: several callers in one durable transaction of two round trips.

The first locks the balances in the order of their ids and reads what is locked; then every request
is decided in turn on running balances; the second writes and commits. Balances come before holds in
every transaction that takes new rows, and windows that are read together before both, so that
nobody waits in a circle.
"""

import hashlib
import secrets
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from spendgate.adapters.event_codec import to_micros
from spendgate.adapters.group_commit import Outcome
from spendgate.adapters.hold_rows import granted_facts, repeated
from spendgate.adapters.postgres_pool import PostgresPool, PostgresSession
from spendgate.adapters.statements import statements
from spendgate.domain.budget import BalanceKey, Claim
from spendgate.domain.decision import Balance, Granted, Refused, decide
from spendgate.domain.reservation import ReserveRequest, StalePolicy, Verdict
from spendgate.errors import LedgerBrokenError

_SQL = statements("postgres/verbs.sql")
_TX = statements("postgres/store.sql")
_IDS_AT_ONCE = 100
_ZERO = Balance()

Callers = Sequence[Sequence[ReserveRequest]]


@dataclass(slots=True)
class _Ledger:
    """What one attempt knows of the database: as it read it, then as it will write it."""

    version: int
    holds: dict[str, Sequence[Any]]
    ids: dict[BalanceKey, int]
    balances: dict[BalanceKey, Balance]
    granted: dict[str, tuple[ReserveRequest, Granted]] = field(
        default_factory=dict[str, tuple[ReserveRequest, Granted]]
    )


class PostgresReserve:
    """Reserves in one process, one transaction at a time."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._ids: deque[int] = deque()

    def commit(self, callers: Callers) -> Sequence[Outcome[Verdict]]:
        """Decide every caller's requests; a caller whose requests fail leaves nothing."""
        try:
            # What was granted under a commit that may or may not have arrived, by its attempt.
            attempts: dict[str, dict[str, Verdict]] = {}
            return self._pool.run(lambda session: self._attempt(session, callers, attempts))
        except LedgerBrokenError:
            if len(callers) == 1:
                raise
        # One caller's numbers that fit nowhere are not the others' failure.
        return [self._alone(caller) for caller in callers]

    def _alone(self, caller: Sequence[ReserveRequest]) -> Outcome[Verdict]:
        try:
            (outcome,) = self.commit([caller])
        except LedgerBrokenError as error:
            return error
        return outcome

    def _attempt(
        self, session: PostgresSession, callers: Callers, attempts: dict[str, dict[str, Verdict]]
    ) -> list[Outcome[Verdict]]:
        requests = [request for caller in callers for request in caller]
        with session.pipelined():
            session.execute(_TX["begin"])
            ledger = _read(session, requests)
            own = {
                hold_id: verdict
                for hold_id, row in ledger.holds.items()
                if (verdict := attempts.get(row[-1], {}).get(hold_id)) is not None
            }
            outcomes = [_decided(ledger, caller, own) for caller in callers]
            if not ledger.granted:
                session.execute(_TX["rollback"])
                return outcomes
            origin = secrets.token_hex(8)
            attempts[origin] = {name: granted for name, (_, granted) in ledger.granted.items()}
            self._write(session, ledger, origin)
            session.execute(_TX["commit"])
        return outcomes

    def _write(self, session: PostgresSession, ledger: _Ledger, origin: str) -> None:
        held, touched, entries = _held(ledger)
        new = sorted(key for key in held if key not in ledger.ids)
        ids = {**ledger.ids, **dict(zip(new, self._drawn(session, len(new)), strict=True))}
        if new:
            rows = [(ids[key], *key, held[key], touched[key], entries[key]) for key in new]
            session.execute(_SQL["insert_balances"], _columns(rows))
        moved = [
            (ids[key], 0, held[key], touched[key], entries[key])
            for key in held
            if key in ledger.ids
        ]
        if moved:
            session.execute(_SQL["move_balances"], _columns(moved))
        holds = [
            (
                request.hold_id,
                request.fingerprint,
                granted.amount_nano,
                array_text(ids[claim.keys[0]] for claim in request.claims),
                granted_facts(request, granted),
                to_micros(request.expires_at),
            )
            for _, (request, granted) in sorted(ledger.granted.items())
        ]
        session.execute(_SQL["insert_holds"], (origin, *_columns(holds)))

    def _drawn(self, session: PostgresSession, count: int) -> list[int]:
        if len(self._ids) < count:
            drawn = session.execute(_SQL["draw_ids"], (max(count, _IDS_AT_ONCE),)).fetchall()
            self._ids.extend(one for (one,) in drawn)
        return [self._ids.popleft() for _ in range(count)]


def array_text(ids: Iterable[int]) -> str:
    """Write a bigint array; arrays of arrays of several lengths can't be sent as such."""
    return "{" + ",".join(map(str, ids)) + "}"


def _read(session: PostgresSession, requests: Sequence[ReserveRequest]) -> _Ledger:
    """Lock and read; each statement sees what was committed before it, so the locks come first."""
    claims = [claim for request in requests for claim in request.claims]
    if windows := _joined_windows(claims):
        session.execute(_SQL["lock_windows"], (windows,))
    keys = list({key: None for claim in claims for key in claim.read_keys})
    locked = session.execute(_SQL["lock_balances"], key_columns(keys)) if keys else None
    version = session.execute(_SQL["policy_version"])
    holds = session.execute(_SQL["existing_holds"], ([one.hold_id for one in requests],))
    ids: dict[BalanceKey, int] = {}
    balances: dict[BalanceKey, Balance] = {}
    for bal_id, spent, held, *parts in locked.fetchall() if locked else ():
        key = BalanceKey(*parts)
        ids[key], balances[key] = bal_id, Balance(spent, held)
    ((policy_version,),) = version.fetchall()
    found: dict[str, Sequence[Any]] = {row[0]: row[1:] for row in holds.fetchall()}
    return _Ledger(policy_version, found, ids, balances)


def key_columns(keys: Iterable[BalanceKey]) -> list[list[Any]]:
    """Return keys as the three arrays that a statement unnests."""
    return _columns(keys) or [[], [], []]


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _joined_windows(claims: Iterable[Claim]) -> list[int]:
    """Return the locks of windows that are decided on several balances."""
    windows = {
        (claim.keys[0].budget_id, claim.keys[0].scope_value)
        for claim in claims
        if len(claim.read_keys) > 1
    }
    return sorted(_lock_number(*window) for window in windows)


def _lock_number(budget_id: str, scope_value: str) -> int:
    """Return the advisory lock of joined windows; two that share one merely wait needlessly."""
    text = f"spendgate.window\n{budget_id}\n{scope_value}"
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _decided(
    ledger: _Ledger, caller: Sequence[ReserveRequest], own: dict[str, Verdict]
) -> Outcome[Verdict]:
    """Decide one caller's requests in turn; an error takes back what they had moved."""
    before = dict(ledger.balances), dict(ledger.granted)
    try:
        return [_verdict(ledger, request, own) for request in caller]
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        ledger.balances, ledger.granted = before
        return error


def _verdict(ledger: _Ledger, request: ReserveRequest, own: dict[str, Verdict]) -> Verdict:
    hold_id = request.hold_id
    if hold_id in ledger.holds:
        *row, _ = ledger.holds[hold_id]
        # The first to ask again is the one whose commit was cut; its like get a repeat's answer.
        answer = repeated(row, request)
        return own.pop(hold_id, answer) if row[0] == request.fingerprint else answer
    if hold_id in ledger.granted:
        return _repeated_here(*ledger.granted[hold_id], request)
    if ledger.version != request.policy_version:
        return StalePolicy(ledger.version)
    verdict = decide(request.claims, request.candidates, request.model, ledger.balances)
    if isinstance(verdict, Refused):
        return verdict
    ledger.granted[hold_id] = request, verdict
    for claim in request.claims:
        balance = ledger.balances.get(claim.keys[0], _ZERO)
        moved = Balance(balance.spent_nano, balance.held_nano + verdict.amount_nano)
        ledger.balances[claim.keys[0]] = moved
    return verdict


def _repeated_here(first: ReserveRequest, granted: Granted, request: ReserveRequest) -> Verdict:
    facts = granted_facts(first, granted)
    return repeated((first.fingerprint, "held", granted.amount_nano, 0, facts), request)


def _held(
    ledger: _Ledger,
) -> tuple[dict[BalanceKey, int], dict[BalanceKey, int], dict[BalanceKey, int]]:
    """Return what each balance holds more, when that was, and how many holds more name it."""
    held: dict[BalanceKey, int] = {}
    touched: dict[BalanceKey, int] = {}
    entries: dict[BalanceKey, int] = {}
    for request, granted in ledger.granted.values():
        at = to_micros(request.facts.occurred_at)
        for claim in request.claims:
            key = claim.keys[0]
            held[key] = held.get(key, 0) + granted.amount_nano
            touched[key] = max(at, touched.get(key, at))
            entries[key] = entries.get(key, 0) + 1
    return held, touched, entries
