"""A ledger's journal as a feed: numbered batches, delivered until confirmed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from spendgate.adapters.event_codec import (
    decode_charge,
    decode_decision,
    decode_facts,
    dump,
    from_micros,
)
from spendgate.adapters.sql_store import Row, SqlStore
from spendgate.domain.event import DecisionRecord, SpendEvent
from spendgate.domain.hold import EventKind
from spendgate.gateway.ports import EventBatch


@dataclass(frozen=True, slots=True)
class OutboxState:
    """How far the sink is behind."""

    waiting_events: int
    oldest_at: datetime | None
    """When the oldest event that waits was recorded."""

    waiting_decisions: int = 0
    oldest_decision_at: datetime | None = None


class StoredOutbox:
    """The outbox of a store, in its own SQL; one batch is open at a time."""

    def __init__(self, store: SqlStore, sql: Mapping[str, str]) -> None:
        self._store = store
        self._sql = sql

    def claim_batch(self, limit: int) -> EventBatch | None:
        """Return the open batch, or number a new one; None when all is delivered."""
        left_open = self._open_batch()
        number = left_open or self._new_batch(limit)
        if number is None:
            return None
        events = self._store.read(self._sql["batch_events"], (number,))
        decisions = self._store.read(self._sql["batch_decisions"], (number,))
        return EventBatch(
            number,
            tuple(_event(row) for row in events),
            tuple(decode_decision(record) for (record,) in decisions),
            is_last=left_open is None and max(len(events), len(decisions)) < limit,
        )

    def confirm_batch(self, number: int) -> None:
        """Mark a batch as delivered."""
        with self._store.write() as connection:
            connection.execute(self._sql["confirm_batch"], (number,))

    def first_events(self, hold_ids: Sequence[str]) -> tuple[SpendEvent, ...]:
        """Return the first events of some holds, delivered or not; a hold in flight has none.

        Two per hold: its end, and the correction of one that had expired before its call ended.
        """
        names = dump([f"{hold_id}:{number}" for hold_id in hold_ids for number in (1, 2)])
        rows = self._store.read(self._sql["named_events"], (names,))
        return tuple(_event(row) for row in rows)

    def state(self) -> OutboxState:
        """Return how many events and decisions wait, and since when."""
        ((count, oldest),) = self._store.read(self._sql["undelivered"])
        ((decisions, first),) = self._store.read(self._sql["undelivered_decisions"])
        records = [] if first is None else self._store.read(self._sql["decision_by_seq"], (first,))
        return OutboxState(
            count,
            None if oldest is None else from_micros(oldest),
            decisions,
            decode_decision(records[0][0]).occurred_at if records else None,
        )

    def latest_events(self, limit: int) -> list[SpendEvent]:
        """Return the newest events, newest first, delivered or not."""
        return [_event(row) for row in self._store.read(self._sql["latest_events"], (limit,))]

    def latest_decisions(self, limit: int) -> list[DecisionRecord]:
        """Return the newest decision records, newest first, delivered or not."""
        rows = self._store.read(self._sql["latest_decisions"], (limit,))
        return [decode_decision(record) for (record,) in rows]

    def _open_batch(self) -> int | None:
        rows = self._store.read(self._sql["open_batch"])
        return rows[0][0] if rows else None

    def _new_batch(self, limit: int) -> int | None:
        ((is_waiting,),) = self._store.read(self._sql["is_waiting"])
        if not is_waiting:
            return None
        with self._store.write() as connection:
            # Another flusher may have been first: a sink that has seen a higher number takes no
            # lower one any more, so there are never two open batches.
            found = connection.execute(self._sql["open_batch"]).fetchone()
            if found is not None:
                return found[0]
            (number,) = connection.execute(self._sql["new_batch"]).fetchone()
            connection.execute(self._sql["claim_events"], (number, limit))
            connection.execute(self._sql["claim_decisions"], (number, limit))
        return number


def _event(row: Row) -> SpendEvent:
    event_id, hold_id, kind, delta, reserved, facts, charge, recorded = row
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
