"""Adjustments on the shared ledger: one durable transaction for a batch of them.

They are rare, so they have no lane of their own and take their round trips one by one. Holds are
locked before balances, each in the order of their ids, as the ends of holds do.
"""

from collections.abc import Sequence

from spendgate.adapters.adjustment_book import (
    DELIVERED_BATCH,
    AdjustmentBook,
    AdjustmentRow,
    BookedHold,
    keys_of,
)
from spendgate.adapters.event_codec import to_micros
from spendgate.adapters.postgres_grants import key_columns
from spendgate.adapters.postgres_pool import PostgresPool, PostgresSession
from spendgate.adapters.postgres_wire import array
from spendgate.adapters.statements import statements
from spendgate.domain.adjustment import Adjusted, Adjustment, AdjustmentOutcome
from spendgate.domain.budget import BalanceKey

_SQL = statements("postgres/adjust.sql")
_VERBS = statements("postgres/verbs.sql")
_TX = statements("postgres/store.sql")


def adjust(pool: PostgresPool, adjustments: Sequence[Adjustment]) -> list[AdjustmentOutcome]:
    """Book each adjustment in turn, all in one transaction."""
    # What was moved under a commit that may or may not have arrived: found again, it is ours.
    moved: dict[str, Adjusted] = {}

    def attempt(session: PostgresSession) -> list[AdjustmentOutcome]:
        with session.errors():
            session.execute(_TX["begin"])
            book, id_of = _read(session, adjustments)
            outcomes = [_own(moved, book.apply(one)) for one in adjustments]
            _write(session, book, id_of, max(to_micros(one.at) for one in adjustments))
            new = {row.adjustment_id for row in book.made}
            moved.update(
                {
                    one.adjustment_id: one
                    for one in outcomes
                    if isinstance(one, Adjusted) and one.moved and one.adjustment_id in new
                }
            )
            session.execute(_TX["commit"])
        return outcomes

    return pool.run(attempt) if adjustments else []


def _own(moved: dict[str, Adjusted], outcome: AdjustmentOutcome) -> AdjustmentOutcome:
    """Answer what this call itself moved before its connection broke as moved."""
    is_repeat = isinstance(outcome, Adjusted) and not outcome.moved
    return moved.pop(outcome.adjustment_id, outcome) if is_repeat else outcome


def _read(
    session: PostgresSession, adjustments: Sequence[Adjustment]
) -> tuple[AdjustmentBook, dict[BalanceKey, int]]:
    hold_ids = sorted({one.hold_id for one in adjustments})
    holds = session.execute(_SQL["lock_holds"], (hold_ids,)).fetchall()
    ids = [one.adjustment_id for one in adjustments]
    known = session.execute(_SQL["adjustments"], (ids,)).fetchall()
    bal_ids = sorted({bal_id for row in holds for bal_id in row[5]})
    named = session.execute(_SQL["keys_by_ids"], (bal_ids,)).fetchall()
    key_of = {bal_id: BalanceKey(*parts) for bal_id, *parts in named}
    keys = keys_of(adjustments, key_of.values())
    id_of: dict[BalanceKey, int] = {}
    spent: dict[BalanceKey, int] = {}
    for bal_id, amount, _, *parts in session.execute(_VERBS["lock_balances"], key_columns(keys)):
        key = BalanceKey(*parts)
        id_of[key], spent[key] = bal_id, amount
    booked: dict[str, BookedHold] = {}
    for hold_id, fingerprint, state, amount, charged, bals, facts, events, expires_at in holds:
        # A balance of a window that ended long ago may have been collected; it isn't moved then.
        own = tuple(key_of[bal_id] for bal_id in bals if key_of.get(bal_id) in id_of)
        booked[hold_id] = BookedHold(
            fingerprint, state, amount, charged, own, facts, events, expires_at
        )
    rows = {row[0]: AdjustmentRow(*row) for row in known}
    return AdjustmentBook(known=rows, holds=booked, spent=spent), id_of


def _write(
    session: PostgresSession, book: AdjustmentBook, id_of: dict[BalanceKey, int], at: int
) -> None:
    for key, delta in sorted(book.moved.items()):
        entries = book.entries[key]
        if key in id_of:
            session.execute(_SQL["move_balance"], (delta, at, entries, id_of[key]))
        else:
            # Inserted by another meanwhile, this fails, and all is done anew with what is there.
            row = (*key, delta, at, entries)
            ((id_of[key],),) = session.execute(_SQL["insert_balance"], row).fetchall()
    for hold_id in sorted(book.changed):
        hold = book.holds[hold_id]
        bals = array(id_of[key] for key in hold.keys)
        session.execute(
            _SQL["put_hold"],
            (
                hold_id,
                hold.fingerprint,
                hold.state,
                hold.amount,
                hold.charged,
                bals,
                hold.facts,
                hold.events,
                hold.expires_at,
            ),
        )
    if book.has_past:
        session.execute(_SQL["put_delivered_batch"], (DELIVERED_BATCH,))
    for row, keys in book.journal:
        bals = array(id_of[key] for key in keys)
        session.execute(_SQL["insert_event"], (*row, bals))
    for made in book.made:
        session.execute(_SQL["insert_adjustment"], made)
