"""Events that no sum may count: found by what they say themselves."""

from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.event import SCHEMA_VERSION
from spendgate.domain.hold import EventKind
from spendgate.domain.quarantine_table import CLOCK_TOLERANCE_SECONDS, SPEND_QUARANTINE, Reason
from spendgate.domain.table import TIMESTAMP
from spendgate.transforms.schemas import conformed

_WAYS_OUT = {
    Reason.SCHEMA_VERSION: "its schema version isn't known here: update spendgate",
    Reason.NEGATIVE_COST: (
        "a cost below zero, and no correction: find out who wrote it, then delete the event, or "
        "set accepted_by to have it counted"
    ),
    Reason.FUTURE_CLOCK: (
        "its time is yet to come: mend the clock of the host that wrote it; counted when that time "
        "has come, or once accepted_by is set"
    ),
}


def quarantine_reason(as_of: datetime) -> Column:
    """Say why an event may not be counted at a time; null if it may."""
    latest = F.lit(as_of + timedelta(seconds=CLOCK_TOLERANCE_SECONDS)).cast(TIMESTAMP)
    version, cost = F.col("schema_version"), F.col("cost_usd")
    is_early = (F.col("occurred_at") > latest) | (F.col("recorded_at") > latest)
    return (
        F.when((version < 1) | (version > SCHEMA_VERSION), Reason.SCHEMA_VERSION.value)
        .when((cost < 0) & (F.col("kind") != EventKind.CORRECTED.value), Reason.NEGATIVE_COST.value)
        .when(is_early, Reason.FUTURE_CLOCK.value)
    )


def countable(events: DataFrame, as_of: datetime, accepted: DataFrame | None) -> DataFrame:
    """Return the events that are counted at a time.

    Args:
        events: rows of `spend_events`.
        as_of: the time.
        accepted: ids of events that somebody wants counted as they are; None for none.
    """
    is_good = quarantine_reason(as_of).isNull()
    if accepted is None:
        return events.where(is_good)
    known = accepted.select("event_id", F.lit(True).alias("is_accepted"))
    joined = events.join(F.broadcast(known), "event_id", "left")
    return joined.where(is_good | F.coalesce("is_accepted", F.lit(False))).drop("is_accepted")


def quarantined(events: DataFrame, as_of: datetime) -> DataFrame:
    """Return the rows of `spend_quarantine` that some events make, each event once."""
    reason = quarantine_reason(as_of)
    found = events.dropDuplicates(["event_id"]).withColumn("why", reason).where("why IS NOT NULL")
    ways = F.create_map(*(F.lit(part) for pair in _WAYS_OUT.items() for part in map(str, pair)))
    rows = found.withColumns(
        {
            "reason": F.col("why"),
            "detail": ways[F.col("why")],
            "found_at": F.lit(as_of).cast(TIMESTAMP),
            "accepted_by": F.lit(None),
            "released_at": F.lit(None),
        }
    )
    return conformed(rows, SPEND_QUARANTINE)
