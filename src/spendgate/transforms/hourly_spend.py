"""The hourly rollup of spend events."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.table import SPEND_HOURLY
from spendgate.transforms.charged_calls import charged_calls
from spendgate.transforms.schemas import conformed
from spendgate.transforms.time_range import HOUR_SECONDS

_TOKENS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def hourly_spend(events: DataFrame) -> DataFrame:
    """Return the rows of `spend_hourly` that some events, each there once, make.

    An expired event has no usage and its correction has it, so tokens add up to what is known.
    """
    sums = (
        events.withColumn("hour", hour_of("occurred_at"))
        .groupBy(*SPEND_HOURLY.key)
        .agg(
            charged_calls().alias("requests"),
            *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in _TOKENS),
            F.sum("cost_usd").alias("cost_usd"),
            F.sum("dbu").alias("dbu"),
        )
    )
    return conformed(sums, SPEND_HOURLY)


def hour_of(timestamp: str) -> Column:
    """Return the start of the UTC hour of a timestamp column, whatever the session's time zone."""
    seconds = F.unix_seconds(timestamp)
    return F.timestamp_seconds(seconds - F.pmod(seconds, F.lit(HOUR_SECONDS)))
