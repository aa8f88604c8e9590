"""The embedded ledger's journal as a feed: numbered batches, delivered until confirmed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from spendgate.adapters.event_codec import decode_charge, decode_decision, decode_facts, from_micros
from spendgate.adapters.sqlite_store import Row, SqliteStore
from spendgate.adapters.statements import statements
from spendgate.domain.event import SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.gateway.ports import EventBatch

_SQL = statements("sqlite/outbox.sql")


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How far the sink is behind."""

    waiting_events: int
    oldest_at: datetime | None


class SqliteOutbox:
    """The outbox of a store; one flusher at a time is the caller's duty."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def claim_batch(self, limit: int) -> EventBatch | None:
        """Return the open batch, or number a new one; None when all is delivered."""
        number = self._open_batch() or self._new_batch(limit)
        if number is None:
            return None
        events = self._store.read(_SQL["batch_events"], (number,))
        decisions = self._store.read(_SQL["batch_decisions"], (number,))
        return EventBatch(
            number,
            tuple(_event(row) for row in events),
            tuple(decode_decision(cast("str", record)) for (record,) in decisions),
        )

    def confirm_batch(self, number: int) -> None:
        """Mark a batch as delivered."""
        with self._store.write() as connection:
            connection.execute(_SQL["confirm_batch"], (number,))

    def state(self) -> OutboxState:
        """Return how many events wait and since when."""
        ((count, oldest),) = self._store.read(_SQL["undelivered"])
        at = None if oldest is None else from_micros(cast("int", oldest))
        return OutboxState(cast("int", count), at)

    def _open_batch(self) -> int | None:
        rows = self._store.read(_SQL["open_batch"])
        return cast("int", rows[0][0]) if rows else None

    def _new_batch(self, limit: int) -> int | None:
        ((is_waiting,),) = self._store.read(_SQL["is_waiting"])
        if not is_waiting:
            return None
        with self._store.write() as connection:
            number = connection.execute(_SQL["new_batch"]).lastrowid
            connection.execute(_SQL["claim_events"], (number, limit))
            connection.execute(_SQL["claim_decisions"], (number, limit))
        return number


def _event(row: Sequence[object] | Row) -> SpendEvent:
    event_id, hold_id, kind, delta, reserved, facts, charge, recorded = cast(
        "tuple[str, str, str, int, int, str, str, int]", row
    )
    return SpendEvent(
        event_id=event_id,
        hold_id=hold_id,
        kind=EventKind(kind),
        recorded_at=from_micros(recorded),
        facts=decode_facts(facts),
        charge=decode_charge(charge),
        reserved_nano=reserved,
        cost_nano=delta,
    )
