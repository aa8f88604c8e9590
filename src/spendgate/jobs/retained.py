"""What retention has left of the tables: what is gone is never summed again.

Hours and windows are made from their events as they are. Made again from a part of them, they would
come to less. So the table of events says itself from when on it is whole: `maintain` writes that
before it deletes anything, and what makes sums leaves everything older as it stands.
"""

# pyright: reportUnknownMemberType=false
# spark.sql takes arguments of any type.

from dataclasses import dataclass
from datetime import datetime
from string import Template

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from spendgate.adapters.statements import statements
from spendgate.domain.table import SPEND_EVENTS
from spendgate.errors import HostError
from spendgate.jobs.spark_sink import time_literal
from spendgate.jobs.table_space import TableSpace

EVENTS_FROM = "spendgate.events_from"
WINDOWS_FROM = "spendgate.windows_from"


@dataclass(frozen=True, slots=True)
class Retained:
    """From when on the tables are whole; None where nothing was ever removed."""

    events_from: datetime | None = None
    """Start of the first hour that has all its events."""
    windows_from: datetime | None = None
    """Windows that were over by then are removed."""

    def whole_hours(self, events: DataFrame) -> DataFrame:
        """Return the events of hours that may be summed again."""
        if self.events_from is None:
            return events
        return events.where(F.col("occurred_at") >= F.lit(self.events_from))

    def whole_windows(self, sums: DataFrame) -> DataFrame:
        """Return the sums of windows all of whose events are there; endless ones keep theirs."""
        is_whole = F.lit(True)
        if self.events_from is not None:
            is_whole &= F.col("window_start") >= F.lit(self.events_from)
        if self.windows_from is not None:
            is_whole &= F.col("window_end") > F.lit(self.windows_from)
        return sums.where(F.col("window_end").isNull() | is_whole)

    @property
    def settled_hours(self) -> str:
        """A condition in SQL: hours that stay as they are when all others are made anew."""
        return "FALSE" if self.events_from is None else f"hour < {time_literal(self.events_from)}"


def read_retained(spark: SparkSession, space: TableSpace) -> Retained:
    """Return what the table of events says about itself."""
    text = statements("delta/maintain.sql")["properties"]
    rows = spark.sql(Template(text).substitute(target=space.name(SPEND_EVENTS))).collect()
    found = {row["key"]: datetime.fromisoformat(row["value"]) for row in rows if _is_ours(row[0])}
    return Retained(found.get(EVENTS_FROM), found.get(WINDOWS_FROM))


def refuse_before_retained(
    spark: SparkSession, space: TableSpace, since: datetime, what: str
) -> None:
    """Refuse to compare or bill a time whose events are removed.

    Raises:
        HostError: if events since then are gone.
    """
    start = read_retained(spark, space).events_from
    if start is not None and since < start:
        raise HostError(
            f"{what} needs the events from {since.isoformat()} on, and those before "
            f"{start.isoformat()} are removed (SPENDGATE_EVENTS_RETENTION_DAYS); begin later"
        )


def _is_ours(name: str) -> bool:
    return name in {EVENTS_FROM, WINDOWS_FROM}
