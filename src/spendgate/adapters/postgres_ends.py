"""Settle, void, expire and sweep on Postgres: several callers in one transaction, two round trips.

An end is committed before it is answered, but its caller doesn't wait for the disk
(`synchronous_commit = off`): a server that crashes may forget it, and then the hold is still there
and covers the call. So every end is kept until a later look has found it durable, and is repeated
if the look finds it gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from spendgate.adapters.event_codec import to_micros
from spendgate.adapters.group_commit import Outcome
from spendgate.adapters.hold_rows import EventRow, HoldEnd, event_row
from spendgate.adapters.postgres_pool import PostgresPool, PostgresSession
from spendgate.adapters.postgres_reserve import array_text
from spendgate.adapters.statements import statements
from spendgate.domain.hold import HoldAmounts, HoldState, Movement
from spendgate.domain.reservation import Settled
from spendgate.errors import LedgerBrokenError

_SQL = statements("postgres/verbs.sql")
_TX = statements("postgres/store.sql")

Callers = Sequence[Sequence[HoldEnd]]


@dataclass(frozen=True, slots=True)
class _Hold:
    amounts: HoldAmounts
    bals: tuple[int, ...]
    facts: str
    events: int


@dataclass(slots=True)
class _Batch:
    """The holds of one attempt as they are moved, and what is to be written for them."""

    holds: dict[str, _Hold]
    ended: dict[str, Settled] = field(default_factory=dict[str, Settled])
    events: list[EventRow] = field(default_factory=list[EventRow])
    spent: dict[int, int] = field(default_factory=dict[int, int])
    held: dict[int, int] = field(default_factory=dict[int, int])
    touched: dict[int, int] = field(default_factory=dict[int, int])
    entries: dict[int, int] = field(default_factory=dict[int, int])


class PostgresEnds:
    """Ends of holds in one process, one transaction at a time."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    def commit(self, callers: Callers, *, is_durable: bool) -> Sequence[Outcome[Settled]]:
        """Apply every caller's ends; one caller's that can't be booked don't stop the others'."""
        try:
            # What was answered under a commit that may or may not have arrived.
            lost: dict[str, _Hold] = {}
            answers: dict[str, Settled] = {}
            return self._pool.run(
                lambda session: self._attempt(session, callers, is_durable, lost, answers)
            )
        except LedgerBrokenError:
            if len(callers) == 1:
                raise
        return [self._alone(caller, is_durable) for caller in callers]

    def sweep(self, at: datetime, limit: int) -> int:
        """Expire what is due and nobody else is ending; return how many."""

        def attempt(session: PostgresSession) -> int:
            with session.pipelined():
                session.execute(_TX["begin"])
                due = session.execute(_SQL["lock_due_holds"], (to_micros(at), limit))
                batch = _Batch(_holds(due.fetchall()))
                for hold_id in batch.holds:
                    _end(batch, HoldEnd.expired(hold_id, at))
                _write(session, batch)
            return len(batch.ended)

        return self._pool.run(attempt)

    def confirm(self, ends: Sequence[HoldEnd]) -> None:
        """Make sure that ends are durable: repeat those that are gone, and wait for the disk."""
        ids = [end.hold_id for end in ends]

        def attempt(session: PostgresSession) -> None:
            with session.pipelined():
                session.execute(_TX["begin"])
                session.execute(_SQL["touch_hold"], (min(ids),))
                unended = session.execute(_SQL["unended_holds"], (ids,)).fetchall()
                gone = {hold_id for (hold_id,) in unended}
                again = [end for end in ends if end.hold_id in gone]
                batch = _Batch(_locked(session, again))
                for end in again:
                    _end(batch, end)
                _write(session, batch, is_touched=True)

        self._pool.run(attempt)

    def _alone(self, caller: Sequence[HoldEnd], is_durable: bool) -> Outcome[Settled]:
        try:
            (outcome,) = self.commit([caller], is_durable=is_durable)
        except LedgerBrokenError as error:
            return error
        return outcome

    def _attempt(
        self,
        session: PostgresSession,
        callers: Callers,
        is_durable: bool,
        lost: dict[str, _Hold],
        answers: dict[str, Settled],
    ) -> list[Outcome[Settled]]:
        with session.pipelined():
            session.execute(_TX["begin"])
            if not is_durable:
                session.execute(_TX["without_waiting"])
            batch = _Batch(_locked(session, [end for caller in callers for end in caller]))
            own = {
                hold_id: answers[hold_id]
                for hold_id, hold in batch.holds.items()
                if lost.get(hold_id) == hold
            }
            outcomes: list[Outcome[Settled]] = [
                [own.pop(end.hold_id, None) or _end(batch, end) for end in caller]
                for caller in callers
            ]
            lost.update({hold_id: batch.holds[hold_id] for hold_id in batch.ended})
            answers.update(batch.ended)
            _write(session, batch)
        return outcomes


def _locked(session: PostgresSession, ends: Sequence[HoldEnd]) -> dict[str, _Hold]:
    ids = sorted({end.hold_id for end in ends})
    return _holds(session.execute(_SQL["lock_holds"], (ids,)).fetchall()) if ids else {}


def _holds(rows: Sequence[Sequence[Any]]) -> dict[str, _Hold]:
    return {
        hold_id: _Hold(HoldAmounts(HoldState(state), amount, charged), tuple(bals), facts, events)
        for hold_id, state, amount, charged, bals, facts, events in rows
    }


def _end(batch: _Batch, end: HoldEnd) -> Settled:
    """Apply one transition to a hold of the batch: hold, balances and journal move together."""
    hold = batch.holds.get(end.hold_id)
    if hold is None:
        return end.unmoved()
    movement = end.transition(hold.amounts)
    if movement is None:
        return end.unmoved(hold.amounts.state, hold.amounts.charged_nano)
    amount, events = hold.amounts.amount_nano, hold.events + 1
    entry = event_row(end, movement, events, amount, array_text(hold.bals), hold.facts)
    batch.events.append(entry)
    batch.holds[end.hold_id] = replace(
        hold, amounts=HoldAmounts(movement.state, amount, movement.charged_nano), events=events
    )
    # The first entry takes the place of the open hold.
    _move(batch, hold.bals, movement, entry.recorded_at, 1 if hold.events else 0)
    batch.ended[end.hold_id] = end.moved(movement)
    return batch.ended[end.hold_id]


def _move(batch: _Batch, bals: Sequence[int], movement: Movement, at: int, entries: int) -> None:
    for one in bals:
        batch.spent[one] = batch.spent.get(one, 0) + movement.spent_delta_nano
        batch.held[one] = batch.held.get(one, 0) + movement.held_delta_nano
        batch.touched[one] = max(at, batch.touched.get(one, at))
        batch.entries[one] = batch.entries.get(one, 0) + entries


def _write(session: PostgresSession, batch: _Batch, *, is_touched: bool = False) -> None:
    """Send all changes and the commit; balances are locked in the order of their ids first."""
    if batch.ended:
        if bals := sorted(batch.spent):
            session.execute(_SQL["lock_balances_by_id"], (bals,))
            columns = [
                [of[one] for one in bals]
                for of in (batch.spent, batch.held, batch.touched, batch.entries)
            ]
            session.execute(_SQL["move_balances"], (bals, *columns))
        ended = sorted(batch.ended)
        holds = [batch.holds[hold_id] for hold_id in ended]
        states = [hold.amounts.state.value for hold in holds]
        charged = [hold.amounts.charged_nano for hold in holds]
        events = [hold.events for hold in holds]
        session.execute(_SQL["end_holds"], (ended, states, charged, events))
        session.execute(_SQL["insert_events"], list(map(list, zip(*batch.events, strict=True))))
    is_changed = bool(batch.ended) or is_touched
    session.execute(_TX["commit" if is_changed else "rollback"])
