"""Past calls and refusals of a home's tables, in the order in which they were decided."""

# pyright: basic
# pyarrow ships no types, so that strict mode would only report that.

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any

from spendgate.adapters.delta_events import event_of_row
from spendgate.adapters.delta_query import query_tables, table_names
from spendgate.adapters.spend_sums import EPOCH, instant_literal
from spendgate.adapters.statements import statements
from spendgate.domain.event import DecisionRecord
from spendgate.domain.scope import Dimension
from spendgate.domain.table import DECISIONS, SPEND_EVENTS
from spendgate.errors import HostError
from spendgate.gateway.past_call import PastCall, PastRefusal, past_call

ROWS_AT_ONCE = 20_000
"""Rows that are read together; a minute with more is read whole."""
_LAST = datetime(9999, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)


def past_spend(
    folder: Path, since: datetime | None, until: datetime | None
) -> Iterator[PastCall | PastRefusal]:
    """Read what happened in [since, until), a bounded number of rows at a time.

    Raises:
        HostError: if no call was ever charged here.
    """
    if SPEND_EVENTS.name not in table_names(folder):
        raise HostError(f"there is no table spend_events in {folder} yet: no call was charged")
    start, end = since or EPOCH, until or _LAST
    has_decisions = DECISIONS.name in table_names(folder)
    refusals = _refusals(folder, start, end) if has_decisions else iter(())
    return heapq.merge(_calls(folder, start, end), refusals, key=lambda one: one.at)


def _calls(folder: Path, start: datetime, end: datetime) -> Iterator[PastCall]:
    rows = _rows(folder, "events", SPEND_EVENTS.name, start, end)
    # All events of a hold carry its reservation's time, so they come one after the other.
    for _, events in groupby(map(event_of_row, rows), key=lambda one: one.hold_id):
        yield past_call(list(events))


def _refusals(folder: Path, start: datetime, end: datetime) -> Iterator[PastRefusal]:
    for row in _rows(folder, "decisions", DECISIONS.name, start, end):
        needed = row["needed_usd"]
        record = DecisionRecord(
            decision_id=row["decision_id"],
            occurred_at=row["occurred_at"].astimezone(UTC),
            scopes={
                name.value: row[f"{name}_id"] for name in Dimension if row[f"{name}_id"] is not None
            },
            model_requested=row["model_requested"] or "",
            decision=row["decision"],
            code=row["code"],
            budget_id=row["budget_id"],
            needed_nano=None if needed is None else int(needed.scaleb(9)),
        )
        yield PastRefusal(record)


def _rows(
    folder: Path, statement: str, table: str, start: datetime, end: datetime
) -> Iterator[dict[str, Any]]:
    for first, last in _stretches(folder, table, start, end):
        found = query_tables(folder, _sql(statement, first, last, table))
        yield from found.to_pylist(maps_as_pydicts="strict")


def _stretches(
    folder: Path, table: str, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Cut a time into stretches of about as many rows as are read at once."""
    counted = query_tables(folder, _sql("rows_by_minute", start, end, table)).to_pylist()
    first, rows, last = start, 0, start
    for row in counted:
        minute = row["minute"].replace(tzinfo=UTC)
        if rows and rows + row["calls"] > ROWS_AT_ONCE:
            yield first, minute
            first, rows = max(minute, start), 0
        rows += row["calls"]
        last = minute + _MINUTE
    if rows:
        yield first, min(last, end)


def _sql(statement: str, start: datetime, end: datetime, table: str) -> str:
    text = statements("home/replay.sql")[statement]
    # `from` is no name in Python.
    return Template(text).substitute(
        {"from": instant_literal(start), "to": instant_literal(end), "table": table}
    )
