"""Adjustments on the embedded ledger: read, booked and written in the caller's transaction."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from spendgate.adapters.adjustment_book import (
    DELIVERED_BATCH,
    AdjustmentBook,
    AdjustmentRow,
    BookedHold,
    keys_of,
)
from spendgate.adapters.event_codec import dump, to_micros
from spendgate.adapters.statements import statements
from spendgate.domain.adjustment import Adjustment, AdjustmentOutcome
from spendgate.domain.budget import BalanceKey

_SQL = statements("sqlite/adjust.sql")
_VALUES_AT_ONCE = 1_000
"""Values, or keys of three, in one query: far below SQLite's 32,766."""


def adjust(
    connection: sqlite3.Connection, adjustments: Sequence[Adjustment]
) -> list[AdjustmentOutcome]:
    """Book each adjustment in turn; the connection is in a transaction that nobody else writes."""
    ids = list({one.adjustment_id for one in adjustments})
    known = _many(connection, "adjustments", ids)
    holds = _many(connection, "holds", list({one.hold_id for one in adjustments}))
    bal_ids = sorted({bal_id for row in holds for bal_id in json.loads(row[5])})
    key_of: dict[int, BalanceKey] = {}
    id_of: dict[BalanceKey, int] = {}
    spent: dict[BalanceKey, int] = {}
    for bal_id, *parts in _many(connection, "keys_by_ids", bal_ids):
        key_of[bal_id] = BalanceKey(*parts)
    for bal_id, amount, *parts in _by_keys(connection, keys_of(adjustments, key_of.values())):
        key = BalanceKey(*parts)
        id_of[key], spent[key] = bal_id, amount
    book = AdjustmentBook(
        known={row[0]: AdjustmentRow(*row) for row in known},
        holds={row[0]: _booked_hold(row, key_of) for row in holds},
        spent=spent,
    )
    outcomes = [book.apply(one) for one in adjustments]
    if book.changed:
        _write(connection, book, id_of, max(to_micros(one.at) for one in adjustments))
    return outcomes


def _booked_hold(row: Sequence[Any], key_of: dict[int, BalanceKey]) -> BookedHold:
    _, fingerprint, state, amount, charged, bals, facts, events, expires_at = row
    # A balance of a window that ended long ago may have been collected; it is no longer moved.
    keys = tuple(key_of[bal_id] for bal_id in json.loads(bals) if bal_id in key_of)
    return BookedHold(fingerprint, state, amount, charged, keys, facts, events, expires_at)


def _write(
    connection: sqlite3.Connection, book: AdjustmentBook, id_of: dict[BalanceKey, int], at: int
) -> None:
    for key, delta in book.moved.items():
        entries = book.entries[key]
        if key in id_of:
            connection.execute(_SQL["move_balance"], (delta, at, entries, id_of[key]))
        else:
            row = (*key, delta, at, entries)
            made = connection.execute(_SQL["insert_balance"], row).lastrowid
            assert made is not None  # noqa: S101 - an insert has a row; this tells the types
            id_of[key] = made
    for hold_id in sorted(book.changed):
        hold = book.holds[hold_id]
        bals = dump([id_of[key] for key in hold.keys])
        connection.execute(
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
        connection.execute(_SQL["put_delivered_batch"], (DELIVERED_BATCH,))
    rows = [(*row, dump([id_of[key] for key in keys])) for row, keys in book.journal]
    connection.executemany(_SQL["insert_event"], rows)
    connection.executemany(_SQL["insert_adjustment"], book.made)


def _many(connection: sqlite3.Connection, name: str, values: Sequence[object]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(values), _VALUES_AT_ONCE):
        some = values[start : start + _VALUES_AT_ONCE]
        sql = _SQL[name].replace("{ids}", ", ".join("?" * len(some)))
        rows += connection.execute(sql, some).fetchall()
    return rows


def _by_keys(connection: sqlite3.Connection, keys: Sequence[BalanceKey]) -> list[Any]:
    rows: list[Any] = []
    for start in range(0, len(keys), _VALUES_AT_ONCE):
        some = keys[start : start + _VALUES_AT_ONCE]
        sql = _SQL["balances_by_keys"].replace("{keys}", ", ".join(["(?, ?, ?)"] * len(some)))
        rows += connection.execute(sql, [part for key in some for part in key]).fetchall()
    return rows
