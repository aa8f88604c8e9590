"""Alerts on their way to notifiers, in a ledger's store, so that hosts and jobs share them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from spendgate.adapters.alert_codec import decode_alert, encode_alert
from spendgate.adapters.event_codec import dump, from_micros, to_micros
from spendgate.adapters.sql_store import SqlStore
from spendgate.domain.alert import Alert
from spendgate.gateway.telling import Delivery

SENT, DEAD = "sent", "dead"


@dataclass(frozen=True, slots=True)
class DeliveryState:
    """How far one delivery is: waiting, sent or dead."""

    delivery_id: str
    state: str
    attempts: int
    ended_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An alert that never reached its notifier."""

    delivery_id: str
    route: str
    attempts: int
    ended_at: datetime
    error: str


def delivery_id(alert_id: str, route: str) -> str:
    """Name the delivery of one alert to one notifier."""
    return f"{alert_id}@{route}"


class StoredDeliveries:
    """The deliveries of a store, in its own SQL."""

    def __init__(self, store: SqlStore, sql: Mapping[str, str]) -> None:
        self._store = store
        self._sql = sql

    def add(self, alerts: Iterable[tuple[Alert, Sequence[str]]], at: datetime) -> None:
        """Take alerts with the names of their notifiers; those that are known stay as they are."""
        rows = [
            [delivery_id(alert.alert_id, route), route, encode_alert(alert), to_micros(at)]
            for alert, routes in alerts
            for route in routes
        ]
        if rows:
            with self._store.write() as connection:
                connection.execute(self._sql["add"], (dump(rows),))

    def claim(self, at: datetime, until: datetime, limit: int) -> list[Delivery]:
        """Return what is due, and keep others from it until a time."""
        if not self._store.read(self._sql["is_due"], (to_micros(at),)):
            return []  # the common case takes no lock
        with self._store.write() as connection:
            rows = connection.execute(self._sql["due"], (to_micros(at), limit)).fetchall()
            ids = dump([row[0] for row in rows])
            connection.execute(self._sql["claim"], (to_micros(until), ids))
        return [
            Delivery(name, route, decode_alert(alert), attempts + 1)
            for name, route, alert, attempts in rows
        ]

    def end(self, delivery_id: str, at: datetime, error: str | None = None) -> None:
        """Note that it was sent, or with an error that it never will be."""
        state = SENT if error is None else DEAD
        with self._store.write() as connection:
            connection.execute(self._sql["end"], (state, to_micros(at), error, delivery_id))

    def put_off(self, delivery_id: str, until: datetime, error: str) -> None:
        """Note why it wasn't sent, and when to try again."""
        with self._store.write() as connection:
            connection.execute(self._sql["put_off"], (to_micros(until), error, delivery_id))

    def states(self, ids: Sequence[str]) -> dict[str, DeliveryState]:
        """Return how far deliveries are; unknown ones are left out."""
        rows = self._store.read(self._sql["states"], (dump(list(ids)),))
        return {
            row[0]: DeliveryState(
                row[0], row[1], row[2], None if row[3] is None else from_micros(row[3]), row[4]
            )
            for row in rows
        }

    def counts(self) -> dict[str, int]:
        """Return how many are waiting and dead."""
        return {str(state): int(n) for state, n in self._store.read(self._sql["counts"])}

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        """Return the latest alerts that never reached their notifier."""
        rows = self._store.read(self._sql["dead"], (limit,))
        return [
            DeadLetter(name, route, attempts, from_micros(ended_at), error)
            for name, route, attempts, ended_at, error in rows
        ]

    def forget(self, before: datetime) -> int:
        """Remove what ended before a time; return how many those were."""
        with self._store.write() as connection:
            return connection.execute(self._sql["forget"], (to_micros(before),)).rowcount
