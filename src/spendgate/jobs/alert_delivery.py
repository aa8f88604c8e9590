"""From `budget_alerts` to the ledger's deliveries, and their standing back into the table."""

# pyright: reportUnknownMemberType=false
# createDataFrame is overloaded with types that pandas and Spark leave open.

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.stored_deliveries import DEAD, StoredDeliveries, delivery_id
from spendgate.domain.alert import FAILED, PENDING, SENT, UNROUTED, Alert, AlertKind
from spendgate.domain.budget import PPM, Policy
from spendgate.domain.budget_tables import BUDGET_ALERTS
from spendgate.domain.money import parse_usd
from spendgate.domain.notifier import taking
from spendgate.domain.table import INT, STRING, TIMESTAMP
from spendgate.jobs.table_space import TableSpace

PENDING_MAX = 5000
"""Alerts that one run takes on, the oldest first; the rest waits for the next run."""
STANDING_SCHEMA = (
    f"alert_id {STRING}, status {STRING}, attempts {INT}, sent_at {TIMESTAMP}, "
    f"last_error {STRING}, updated_at {TIMESTAMP}"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("window_start", "window_end", "crossed_at")

Routed = tuple[Alert, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an alert is with all its notifiers together."""

    alert_id: str
    status: str
    attempts: int
    sent_at: datetime | None
    error: str | None


def pending_alerts(spark: SparkSession, space: TableSpace) -> list[Routed]:
    """Return the alerts that somebody is still to be told, with the names of their notifiers."""
    pending = space.read(spark, BUDGET_ALERTS).where(F.col("status") == PENDING)
    # As numbers: rows of timestamps come in the time zone of this machine.
    micros = {f"{name}_micros": F.unix_micros(name) for name in _TIMES}
    rows = pending.withColumns(micros).orderBy("crossed_at", "alert_id").limit(PENDING_MAX)
    return [(_alert(row), tuple(row["routes"])) for row in rows.collect()]


def add_deliveries(
    deliveries: StoredDeliveries, policy: Policy, pending: Sequence[Routed], at: datetime
) -> None:
    """Send alerts on their way to those notifiers that take their kind."""
    deliveries.add(
        [(alert, taking(policy.notifiers, routes, alert.kind)) for alert, routes in pending], at
    )


def standings_of(
    deliveries: StoredDeliveries, policy: Policy, pending: Sequence[Routed]
) -> list[Standing]:
    """Return how far alerts are, those that were never tried left out."""
    named = {
        alert.alert_id: [
            delivery_id(alert.alert_id, route)
            for route in taking(policy.notifiers, routes, alert.kind)
        ]
        for alert, routes in pending
    }
    states = deliveries.states([one for ids in named.values() for one in ids])
    found: list[Standing] = []
    for alert_id, ids in named.items():
        known = [states[one] for one in ids if one in states]
        if known and all(one.attempts == 0 for one in known):
            continue
        ended = [one.ended_at for one in known if one.state == SENT and one.ended_at is not None]
        errors = [one.error for one in known if one.error is not None]
        found.append(
            Standing(
                alert_id,
                _status([one.state for one in known]),
                max((one.attempts for one in known), default=0),
                max(ended, default=None),
                errors[0] if errors else None,
            )
        )
    return found


def note_standings(
    spark: SparkSession, space: TableSpace, standings: Sequence[Standing], at: datetime
) -> None:
    """Write how far alerts are into their rows."""
    if not standings:
        return
    rows = [(s.alert_id, s.status, s.attempts, s.sent_at, s.error, at) for s in standings]
    frame = spark.createDataFrame(rows, STANDING_SCHEMA)
    space.write("note_standings", BUDGET_ALERTS, frame, script="alerts")


def _status(states: Sequence[str]) -> str:
    if not states:
        return UNROUTED
    if DEAD in states:
        return FAILED
    return SENT if set(states) == {SENT} else PENDING


def _alert(row: Row) -> Alert:
    crossed_at = _time(row["crossed_at_micros"])
    assert crossed_at is not None  # noqa: S101 - a required column
    return Alert(
        alert_id=row["alert_id"],
        kind=AlertKind(row["kind"]),
        crossed_at=crossed_at,
        threshold_ppm=int((row["threshold"] or Decimal(0)) * PPM),
        budget_id=row["budget_id"] or "",
        scope=row["scope"] or "",
        scope_value=row["scope_value"] or "",
        window=row["window"] or "",
        window_start=_time(row["window_start_micros"]),
        window_end=_time(row["window_end_micros"]),
        limit_nano=_nano(row["limit_usd"]),
        spent_nano=_nano(row["spent_usd"]),
        forecast_nano=_nano(row["forecast_usd"]),
        detail=row["detail"] or "",
    )


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)


def _nano(usd: Decimal | None) -> int | None:
    return None if usd is None else parse_usd(usd)
