"""What a ledger holds for calls in flight, and how much it keeps: figures of its health."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from spendgate.adapters.event_codec import from_micros, to_micros
from spendgate.adapters.sql_store import SqlStore


@dataclass(frozen=True, slots=True)
class Exposure:
    """Money held now, holds that nobody ended in time, and the ledger's size in rows."""

    held_nano: int
    open_holds: int
    overdue_holds: int
    overdue_since: datetime | None
    journal_rows: int
    balances: int
    schema_version: int


def exposure(store: SqlStore, sql: Mapping[str, str], at: datetime) -> Exposure:
    """Read the figures in one statement, so that they belong together."""
    now = to_micros(at)
    ((held, count, overdue, since, journal, balances, schema),) = store.read(
        sql["exposure"], (now, now)
    )
    return Exposure(
        held_nano=int(held),
        open_holds=count,
        overdue_holds=overdue,
        overdue_since=None if since is None else from_micros(since),
        journal_rows=journal,
        balances=balances,
        schema_version=int(schema),
    )
