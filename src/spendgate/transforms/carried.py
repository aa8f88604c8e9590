"""Rollover in the state of budgets: `domain.rollover.carried_nano` in columns."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.table import MONEY_SUM
from spendgate.transforms.window_limit import part_of

_OF_A_VALUE = ("budget_id", "scope", "scope_value", "window")


def with_carried(windows: DataFrame) -> DataFrame:
    """Add what is carried from one window to the next to limit and caps.

    Args:
        windows: windows with spent_usd and held_usd, their bare limit_usd, soft_usd and hard_usd,
            beside the columns of their budget. The windows before and after one must be among them;
            where there is none, nothing was spent.
    """
    used = windows.where(F.col("carry_max_usd") > 0).select(
        *_OF_A_VALUE,
        F.col("window_start").alias("used_start"),
        F.col("window_end").alias("used_end"),
        (F.col("spent_usd") + F.coalesce("held_usd", F.lit(0))).alias("used_usd"),
    )
    before = used.select(
        *_OF_A_VALUE, F.col("used_end").alias("window_start"), F.col("used_usd").alias("before_usd")
    )
    after = used.select(
        *_OF_A_VALUE, F.col("used_start").alias("window_end"), F.col("used_usd").alias("after_usd")
    )
    joined = windows.join(before, [*_OF_A_VALUE, "window_start"], "left").join(
        after, [*_OF_A_VALUE, "window_end"], "left"
    )
    carried = joined.withColumn("carried_usd", _carried())
    limit = F.col("limit_usd") + F.col("carried_usd")
    return carried.withColumns(
        {
            "limit_usd": limit.cast(MONEY_SUM),
            "soft_usd": part_of(limit, "soft_cap"),
            "hard_usd": (F.col("hard_usd") + F.col("carried_usd")).cast(MONEY_SUM),
        }
    )


def _carried() -> Column:
    own, most = F.col("own_usd"), F.col("carry_max_usd")
    taken = F.coalesce("after_usd", F.lit(0)) - own
    left = F.greatest(own - F.col("before_usd"), F.lit(0))
    return (
        F.when(taken > 0, -F.least(taken, most))
        .when(F.col("before_usd").isNull(), F.lit(0))
        .otherwise(F.least(most, left))
    )
