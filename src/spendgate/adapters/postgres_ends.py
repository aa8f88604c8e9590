"""Settle, void, expire and sweep on Postgres: several callers in one transaction.

First ends of open holds take one round trip (`postgres_sure_ends`), all else takes two.

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
from spendgate.adapters.postgres_sure_ends import SureEnds, opened
from spendgate.adapters.postgres_wire import Command, array, text_array
from spendgate.adapters.statements import statements
from spendgate.domain.budget import BalanceKey
from spendgate.domain.decision import Balance
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


@dataclass(slots=True)
class _Lost:
    """What commits may have done whose answers never came."""

    may_have_ended: bool = False
    """True if all holds may have got their first ends."""
    holds: dict[str, _Hold] = field(default_factory=dict[str, _Hold])
    ended: dict[str, Settled] = field(default_factory=dict[str, Settled])

    def answers(self, ends: Sequence[HoldEnd], holds: dict[str, _Hold]) -> dict[str, Settled]:
        """Return the answers to what is found as such a commit would have left it."""
        own = {
            hold_id: self.ended[hold_id]
            for hold_id, hold in holds.items()
            if self.holds.get(hold_id) == hold
        }
        for end in ends if self.may_have_ended else ():
            hold = holds.get(end.hold_id)
            if hold is not None and hold.events == 1 and end.hold_id not in self.holds:
                movement = opened(end, hold.amounts.amount_nano)
                is_own = hold.amounts.state is movement.state
                if is_own and hold.amounts.charged_nano == movement.charged_nano:
                    own[end.hold_id] = end.moved(movement)
        return own


class PostgresEnds:
    """Ends of holds in one process, one transaction at a time."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    def commit(self, callers: Callers, *, is_durable: bool) -> Sequence[Outcome[Settled]]:
        """Apply every caller's ends; one caller's that can't be booked don't stop the others'."""
        try:
            return self._outcomes(callers, is_durable)
        except (LedgerBrokenError, ValueError):
            if len(callers) == 1:
                raise
        return [self._alone(caller, is_durable) for caller in callers]

    def sweep(self, at: datetime, limit: int) -> int:
        """Expire what is due and nobody else is ending; return how many."""

        def attempt(session: PostgresSession) -> int:
            _, due = session.round_trip(
                (_TX["begin"], ()), (_SQL["lock_due_holds"], (to_micros(at), limit))
            )
            batch = _Batch(_holds(due))
            for hold_id in batch.holds:
                _end(batch, HoldEnd.expired(hold_id, at))
            _write(session, batch)
            return len(batch.ended)

        return self._pool.run(attempt)

    def confirm(self, ends: Sequence[HoldEnd]) -> None:
        """Make sure that ends are durable: repeat those that are gone, and wait for the disk."""
        ids = [end.hold_id for end in ends]

        def attempt(session: PostgresSession) -> None:
            unended, _ = session.round_trip(
                (_SQL["unended_holds"], (text_array(ids),)), (_TX["wait_for_disk"], ())
            )
            gone = {hold_id for (hold_id,) in unended}
            again = [end for end in ends if end.hold_id in gone]
            if not again:
                return
            _, locked = session.round_trip((_TX["begin"], ()), _lock(again))
            batch = _Batch(_holds(locked))
            for end in again:
                _end(batch, end)
            _write(session, batch)

        self._pool.run(attempt)

    def _alone(self, caller: Sequence[HoldEnd], is_durable: bool) -> Outcome[Settled]:
        try:
            (outcome,) = self.commit([caller], is_durable=is_durable)
        except (LedgerBrokenError, ValueError) as error:
            return error
        return outcome

    def _outcomes(self, callers: Callers, is_durable: bool) -> Sequence[Outcome[Settled]]:
        lost = _Lost()
        sure = SureEnds.of(callers)

        def work(session: PostgresSession) -> Sequence[Outcome[Settled]]:
            # Once only: a commit whose answer was lost may have arrived.
            nonlocal sure
            first, sure = sure, None
            if first is not None:
                lost.may_have_ended = True
                outcomes = first.write(session, is_durable=is_durable)
                lost.may_have_ended = False  # whatever was done, it is known
                if outcomes is not None:
                    return outcomes
            return _attempt(session, callers, is_durable, lost)

        return self._pool.run(work)


def _attempt(
    session: PostgresSession, callers: Callers, is_durable: bool, lost: _Lost
) -> list[Outcome[Settled]]:
    ends = [end for caller in callers for end in caller]
    begin: list[Command] = [(_TX["begin"], ())]
    if not is_durable:
        begin.append((_TX["without_waiting"], ()))
    *_, locked = session.round_trip(*begin, _lock(ends))
    batch = _Batch(_holds(locked))
    own = lost.answers(ends, batch.holds)
    outcomes = [
        [own.pop(end.hold_id, None) or _end(batch, end) for end in caller] for caller in callers
    ]
    lost.holds.update({hold_id: batch.holds[hold_id] for hold_id in batch.ended})
    lost.ended.update(batch.ended)
    balances = _write(session, batch)
    return [
        [replace(one, balances=balances) if one.moved else one for one in caller]
        for caller in outcomes
    ]


def _lock(ends: Sequence[HoldEnd]) -> Command:
    return _SQL["lock_holds"], (text_array(sorted({end.hold_id for end in ends})),)


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
    entry = event_row(end, movement, events, amount, array(hold.bals), hold.facts)
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


def _write(session: PostgresSession, batch: _Batch) -> dict[BalanceKey, Balance]:
    """Send all changes and the commit; balances are locked in the order of their ids first.

    Returns the balances that moved, as they are then.
    """
    if not batch.ended:
        session.round_trip((_TX["rollback"], ()))
        return {}
    commands: list[Command] = []
    if bals := sorted(batch.spent):
        ids = array(bals)
        changes = (batch.spent, batch.held, batch.touched, batch.entries)
        moved = [array([change[one] for one in bals]) for change in changes]
        commands.append((_SQL["lock_balances_by_id"], (ids,)))
        commands.append((_SQL["move_balances"], (ids, *moved)))
    ended = sorted(batch.ended)
    holds = [batch.holds[hold_id] for hold_id in ended]
    commands.append(
        (
            _SQL["end_holds"],
            (
                text_array(ended),
                text_array([hold.amounts.state.value for hold in holds]),
                array([hold.amounts.charged_nano for hold in holds]),
                array([hold.events for hold in holds]),
            ),
        )
    )
    commands.append((_SQL["insert_events"], _event_columns(batch.events)))
    answers = session.round_trip(*commands, (_TX["commit"], ()))
    moved_rows = answers[1] if bals else ()
    return {BalanceKey(*key): Balance(spent, held) for *key, spent, held in moved_rows}


def _event_columns(events: Sequence[EventRow]) -> list[str]:
    columns = zip(*events, strict=True)
    return [
        text_array(column) if isinstance(column[0], str) else array(column) for column in columns
    ]
