"""What aggregate must know of the quarantine, by one query: mostly it is empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.quarantine_table import SPEND_QUARANTINE
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.hourly_spend import hour_of


@dataclass(frozen=True, slots=True)
class QuarantineSummary:
    """The rows of `spend_quarantine` in short."""

    waiting: Mapping[str, int]
    """Events that aren't counted, per reason."""
    hours: Sequence[int]
    """The hours of those, in seconds since the epoch."""
    may_be_accepted: bool
    """Whether somebody wants any event counted as it is, or may want so while the run goes on."""


def quarantine_summary(spark: SparkSession, space: TableSpace) -> QuarantineSummary:
    """Read the quarantine, unless it is known to be empty."""
    if space.known_rows(SPEND_QUARANTINE) == 0:
        return QuarantineSummary({}, (), may_be_accepted=False)
    is_waiting = F.col("released_at").isNull()
    facts = space.read(spark, SPEND_QUARANTINE).select(
        F.when(is_waiting, F.col("reason")).alias("reason"),
        F.when(is_waiting, F.unix_seconds(hour_of("occurred_at"))).alias("hour"),
        F.col("accepted_by").isNotNull().alias("is_accepted"),
    )
    # At most a few rows for each hour that has quarantined events.
    rows = facts.groupBy("reason", "hour", "is_accepted").count().collect()
    waiting: dict[str, int] = {}
    for row in sorted(rows, key=lambda one: one["reason"] or ""):
        if row["reason"] is not None:
            waiting[row["reason"]] = waiting.get(row["reason"], 0) + row["count"]
    hours = sorted({int(row["hour"]) for row in rows if row["hour"] is not None})
    # An event that waits may be accepted after this: released then, it has to be counted too.
    may_be_accepted = bool(hours) or any(row["is_accepted"] for row in rows)
    return QuarantineSummary(waiting, hours, may_be_accepted)
