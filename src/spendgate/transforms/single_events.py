"""Events that were delivered more than once, each counted once."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812


def has_doubles(events: DataFrame) -> bool:
    """Say whether any event is there more than once; two ids of one hash are rare and do no harm.

    Sums of hashes need neither a sort nor any other column, so asking is much cheaper than
    `events_once`, and seldom is there a double.
    """
    counted = events.groupBy(F.xxhash64("event_id").alias("hash")).count()
    return not counted.where(F.col("count") > 1).isEmpty()


def events_once(events: DataFrame) -> DataFrame:
    """Return each event once; of deliveries that differ, the one that is the earliest."""
    order = Window.partitionBy("event_id").orderBy("occurred_at", "recorded_at")
    numbered = events.withColumn("delivery", F.row_number().over(order))
    return numbered.where(F.col("delivery") == 1).drop("delivery")
