"""Reserve on Postgres: several callers in one durable transaction of one round trip, or of two.

Calls that are far from every limit go in one (`postgres_sure_reserve`). Otherwise the first round
trip locks the balances in the order of their ids and reads what is locked; then every request is
decided in turn on running balances; the second writes and commits. Balances come before holds in
every transaction that takes new rows, and rolling windows before both, so that nobody waits in a
circle.
"""

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg.errors import SerializationFailure

from spendgate.adapters.durable_commit import WAIT_FOR_DISK, DurableCommit, durable_commit
from spendgate.adapters.group_commit import Outcome
from spendgate.adapters.hold_rows import granted_facts, repeated
from spendgate.adapters.near_limits import NearLimits
from spendgate.adapters.postgres_grants import GrantBatch, key_columns
from spendgate.adapters.postgres_pool import PostgresPool, PostgresSession
from spendgate.adapters.postgres_sure_reserve import SureBatch
from spendgate.adapters.postgres_wire import Command, array, text_array
from spendgate.adapters.statements import statements
from spendgate.domain.budget import BalanceKey, Claim
from spendgate.domain.decision import Balance, Granted, Refused, decide, positions_of
from spendgate.domain.reservation import ReserveRequest, StalePolicy, Verdict
from spendgate.errors import LedgerBrokenError

_SQL = statements("postgres/verbs.sql")
_TX = statements("postgres/store.sql")
_ZERO = Balance()

Callers = Sequence[Sequence[ReserveRequest]]
Attempts = dict[str, dict[str, Granted]]
"""What was granted under commits that may or may not have arrived, by origin and hold."""


@dataclass(slots=True)
class _Ledger:
    """What one attempt knows of the database: as it read it, then as it will write it."""

    version: int
    holds: dict[str, Sequence[Any]]
    balances: dict[BalanceKey, Balance]
    granted: dict[str, tuple[ReserveRequest, Granted]] = field(
        default_factory=dict[str, tuple[ReserveRequest, Granted]]
    )


class PostgresReserve:
    """Reserves in one process, one transaction at a time."""

    def __init__(self, pool: PostgresPool, *, lets_go_first: bool | None = None) -> None:
        self._pool = pool
        self._lets_go_first = lets_go_first
        self._near = NearLimits()

    def commit(self, callers: Callers) -> Sequence[Outcome[Verdict]]:
        """Decide every caller's requests; a caller whose requests fail leaves nothing."""
        try:
            return self._outcomes(callers)
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

    def _outcomes(self, callers: Callers) -> Sequence[Outcome[Verdict]]:
        attempts: Attempts = {}
        is_near = any(self._near.touches(request) for caller in callers for request in caller)
        sure = None if is_near else SureBatch.of(callers)

        def work(session: PostgresSession) -> Sequence[Outcome[Verdict]]:
            nonlocal sure
            commit = durable_commit(session, self._lets_go_first)
            # Once only: a commit whose answer was lost may have arrived, so that from then on the
            # holds are looked at.
            first, sure = sure, None
            if first is not None:
                origin = secrets.token_hex(8)
                attempts[origin] = first.grants
                balances = first.write(session, commit, origin)
                if balances is not None:
                    return first.verdicts(balances)
            outcomes = _attempt(session, commit, callers, attempts)
            self._near.learn(callers, outcomes)
            return outcomes

        return self._pool.run(work)


def _attempt(
    session: PostgresSession, commit: DurableCommit, callers: Callers, attempts: Attempts
) -> list[Outcome[Verdict]]:
    ledger = _read(session, commit, [request for caller in callers for request in caller])
    own = {
        hold_id: granted
        for hold_id, row in ledger.holds.items()
        if (granted := attempts.get(row[-1], {}).get(hold_id)) is not None
    }
    is_found = bool(own)
    outcomes = [_decided(ledger, caller, own) for caller in callers]
    if not ledger.granted:
        # What an earlier attempt committed is there, but maybe not yet on the disk.
        waits = [WAIT_FOR_DISK] if is_found else []
        session.round_trip((_TX["rollback"], ()), *waits)
        return outcomes
    origin = secrets.token_hex(8)
    attempts[origin] = {hold_id: granted for hold_id, (_, granted) in ledger.granted.items()}
    batch = GrantBatch()
    for request, granted in ledger.granted.values():
        batch.add(request, granted)
    ((is_written, *_),), *_ = session.round_trip(batch.command(ledger.version, origin), *commit.end)
    if not is_written:
        raise SerializationFailure("the policy was changed or a hold was made meanwhile")
    return outcomes


def _read(
    session: PostgresSession, commit: DurableCommit, requests: Sequence[ReserveRequest]
) -> _Ledger:
    """Lock and read; each statement sees what was committed before it, so the locks come first."""
    claims = [claim for request in requests for claim in request.claims]
    keys = list({key: None for claim in claims for key in claim.read_keys})
    commands: list[Command] = [*commit.begin]
    if windows := _joined_windows(claims):
        commands.append((_SQL["lock_windows"], (array(windows),)))
    commands.append((_SQL["lock_balances"], key_columns(keys)))
    commands.append((_SQL["reserve_head"], (text_array([one.hold_id for one in requests]),)))
    *_, locked, head = session.round_trip(*commands)
    balances = {BalanceKey(*parts): Balance(spent, held) for _, spent, held, *parts in locked}
    found: dict[str, Sequence[Any]] = {row[1]: row[2:] for row in head if row[1] is not None}
    return _Ledger(head[0][0], found, balances)


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
    ledger: _Ledger, caller: Sequence[ReserveRequest], own: dict[str, Granted]
) -> Outcome[Verdict]:
    """Decide one caller's requests in turn; an error takes back what they had moved."""
    before = dict(ledger.balances), dict(ledger.granted)
    try:
        return [_verdict(ledger, request, own) for request in caller]
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        ledger.balances, ledger.granted = before
        return error


def _verdict(ledger: _Ledger, request: ReserveRequest, own: dict[str, Granted]) -> Verdict:
    hold_id = request.hold_id
    if hold_id in ledger.holds:
        *row, _ = ledger.holds[hold_id]
        # The first to ask again is the one whose commit was cut; its like get a repeat's answer.
        answer = repeated(row, request)
        if row[0] != request.fingerprint or hold_id not in own:
            return answer
        granted = own.pop(hold_id)
        positions = granted.positions or positions_of(request.claims, ledger.balances)
        return replace(granted, positions=positions)
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
