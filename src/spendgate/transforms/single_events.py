"""Events that were delivered more than once, each counted once.

An event is known by its id and the time of its hold: an idempotency key that comes again after its
hold was collected makes the same ids at another time.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.table import SPEND_EVENTS


def count_events(events: DataFrame) -> tuple[int, bool]:
    """Return how many rows are there, and whether any event is there more than once.

    Sums of hashes need neither a sort nor any other column, so asking is much cheaper than
    `events_once`, and seldom is there a double. Two ids of one hash are rare and do no harm.
    """
    counted = events.groupBy(F.xxhash64(*SPEND_EVENTS.key).alias("hash")).count()
    found = counted.agg(F.sum("count").alias("rows"), F.max("count").alias("most")).collect()[0]
    return found["rows"] or 0, (found["most"] or 0) > 1


def events_once(events: DataFrame) -> DataFrame:
    """Return each event once; of deliveries that differ, the one that was recorded first."""
    order = Window.partitionBy(*SPEND_EVENTS.key).orderBy("recorded_at")
    numbered = events.withColumn("delivery", F.row_number().over(order))
    return numbered.where(F.col("delivery") == 1).drop("delivery")
