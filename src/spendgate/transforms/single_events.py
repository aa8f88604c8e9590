"""Events that were delivered more than once, each counted once.

An event is known by its id and the time of its hold: an idempotency key that comes again after its
hold was collected makes the same ids at another time.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.table import SPEND_EVENTS


def has_doubles(events: DataFrame) -> bool:
    """Say whether any event is there more than once; two ids of one hash are rare and do no harm.

    Sums of hashes need neither a sort nor any other column, so asking is much cheaper than
    `events_once`, and seldom is there a double.
    """
    counted = events.groupBy(F.xxhash64(*SPEND_EVENTS.key).alias("hash")).count()
    return not counted.where(F.col("count") > 1).isEmpty()


def events_once(events: DataFrame) -> DataFrame:
    """Return each event once; of deliveries that differ, the one that was recorded first."""
    order = Window.partitionBy(*SPEND_EVENTS.key).orderBy("recorded_at")
    numbered = events.withColumn("delivery", F.row_number().over(order))
    return numbered.where(F.col("delivery") == 1).drop("delivery")
