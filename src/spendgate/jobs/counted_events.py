"""The events that all sums count: not those that wait in quarantine."""

from datetime import datetime

from pyspark.sql import DataFrame, SparkSession

from spendgate.domain.quarantine_table import SPEND_QUARANTINE
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.quarantine import countable


def counted_events(
    spark: SparkSession, space: TableSpace, events: DataFrame, as_of: datetime
) -> DataFrame:
    """Return those of some events that are counted at a time, or that somebody has accepted."""
    accepted: DataFrame | None = None
    if space.exists(spark, SPEND_QUARANTINE):
        accepted = space.read(spark, SPEND_QUARANTINE).where("accepted_by IS NOT NULL")
    return countable(events, as_of, accepted)
