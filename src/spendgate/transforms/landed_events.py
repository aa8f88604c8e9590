"""Rows of the landing table, read as rows of `spend_events`."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.table import SPEND_EVENTS


def landed_events(landed: DataFrame) -> DataFrame:
    """Return each event once; what a body lacks or spells wrong is null."""
    shape = ", ".join(f"`{column.name}` {column.type}" for column in SPEND_EVENTS.columns)
    once = landed.dropDuplicates(["event_id"])
    return once.select(F.from_json("body", shape).alias("event")).select("event.*")
