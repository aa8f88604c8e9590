"""What hosts have streamed into the landing table, merged into `spend_events`.

Each row of the landing table is read from the stream once, and inserted unless the event is there:
the outbox's delivery may have been first, or a stream may have repeated itself.
"""

# pyright: reportUnknownMemberType=false
# Spark's functions take columns of any type.

from datetime import UTC, datetime
from functools import partial, reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.landing_table import SPEND_LANDING
from spendgate.domain.table import SPEND_EVENTS
from spendgate.jobs.job_run import JobRun
from spendgate.jobs.spark_sink import again_on_conflict, as_unavailable, within_hours
from spendgate.jobs.table_space import TableSpace
from spendgate.transforms.hourly_spend import hour_of
from spendgate.transforms.landed_events import landed_events


def merge_landing(run: JobRun) -> int | None:
    """Merge what has landed since the last run; returns the batches, None without such a table.

    Raises:
        HostError: if no volume is named to remember what was read.
        SinkUnavailableError: if the tables can't be read or written now.
    """
    spark, space = run.spark(), run.space
    with as_unavailable("merge the landing table"):
        if not space.exists(spark, SPEND_LANDING):
            return None
        query = (
            space.read_stream(spark, SPEND_LANDING)
            .writeStream.foreachBatch(partial(merge_batch, space=space))
            .option("checkpointLocation", str(run.folder / "checkpoints" / "landing"))
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()
        return len({one.batchId for one in query.recentProgress if one.numInputRows})


def merge_batch(landed: DataFrame, _batch_id: int, *, space: TableSpace) -> None:
    """Insert the events that aren't there yet; a repeated batch inserts none."""
    events = landed_events(landed)
    # A row that can't be read or lacks something is left to the outbox, which has all events.
    required = (F.col(one.name).isNotNull() for one in SPEND_EVENTS.columns if one.is_required)
    events = events.where(reduce(lambda left, right: left & right, required))
    seconds = events.select(F.unix_seconds(hour_of("occurred_at")).alias("hour")).distinct()
    hours = [datetime.fromtimestamp(int(row["hour"]), UTC) for row in seconds.collect()]
    if hours:  # at most the hours in one batch
        times = within_hours(hours)
        again_on_conflict(
            lambda: space.write("insert_events", SPEND_EVENTS, events, "drain", times=times)
        )
