"""Spend per budget, scope value and window."""

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.scope import EVERYTHING, TAG_PREFIX, WILDCARD, Dimension
from spendgate.domain.table import MONEY_SUM, TIMESTAMP, WINDOW_KEY
from spendgate.domain.window import WindowKind
from spendgate.transforms.calendar_window import window_bounds
from spendgate.transforms.charged_calls import charged_calls
from spendgate.transforms.hourly_spend import hour_of


def budget_hours(events: DataFrame, budgets: DataFrame) -> DataFrame:
    """Sum events, each once, by hour and by the calendar or lifetime window each falls into.

    Args:
        events: rows of `spend_events`.
        budgets: rows of `BUDGETS_SCHEMA`; rolling budgets, and charges to budgets that aren't
            there, are left out.
    """
    claimed = _claimed(events, budgets.where(F.col("kind_of_window") != WindowKind.ROLLING.value))
    bounds = window_bounds(F.col("occurred_at"), F.col("tz"), F.col("kind_of_window"))
    windowed = claimed.withColumn("bounds", bounds).withColumns(
        {
            "hour": hour_of("occurred_at"),
            "window_start": F.col("bounds.start"),
            "window_end": F.col("bounds.end"),
        }
    )
    return _summed(windowed, "hour")


def window_changes(hours: DataFrame, round_id: int) -> DataFrame:
    """Return what a round has changed in the windows' sums.

    Args:
        hours: rows of `budget_hourly`, all of the hours that the round has summed again.
        round_id: the round; hours that it has left as they were change nothing.
    """
    of_round = hours.where(F.col("round_id") == round_id)
    return of_round.groupBy(*WINDOW_KEY).agg(
        F.sum(F.col("spent_usd") - F.col("before_usd")).cast(MONEY_SUM).alias("spent_usd"),
        F.sum(F.col("requests") - F.col("before_requests")).alias("requests"),
        F.max("last_event_at").alias("last_event_at"),
    )


def rolling_spend(events: DataFrame, budgets: DataFrame, as_of: datetime) -> DataFrame:
    """Sum events, each once, after the start of each rolling budget's window and until `as_of`."""
    claimed = _claimed(events, budgets.where(F.col("kind_of_window") == WindowKind.ROLLING.value))
    now = F.lit(as_of).cast(TIMESTAMP)
    micros = F.unix_micros(now) - F.col("rolling_seconds") * 1_000_000
    windowed = claimed.withColumns(
        {"window_start": F.timestamp_micros(micros), "window_end": F.lit(None).cast(TIMESTAMP)}
    )
    is_inside = (F.col("occurred_at") > F.col("window_start")) & (F.col("occurred_at") <= now)
    return _summed(windowed.where(is_inside))


def _claimed(events: DataFrame, budgets: DataFrame) -> DataFrame:
    """One row per event and budget that it is charged to, with the budget's own scope value."""
    once = events.dropDuplicates(["event_id"])
    charges = once.withColumn("budget_id", F.explode(F.array_distinct("budget_ids")))
    known = charges.join(F.broadcast(budgets), "budget_id")
    # A budget whose scope was edited since may ask for a dimension that an old event lacks.
    return known.withColumn("scope_value", scope_value()).where("scope_value IS NOT NULL")


def scope_value() -> Column:
    """Return the text of `domain.scope.Scope.value_text`; null if a dimension has no value."""
    values = F.transform(F.split("scope", ","), lambda name: F.try_element_at(_identity(), name))
    encoded = F.transform(
        values,
        lambda value: F.replace(
            F.replace(value, F.lit("%"), F.lit("%25")), F.lit(","), F.lit("%2C")
        ),
    )
    is_whole = F.forall(values, lambda value: value.isNotNull())
    return F.when(F.col("scope") == EVERYTHING, F.lit(WILDCARD)).when(
        is_whole, F.array_join(encoded, ",")
    )


def _identity() -> Column:
    dimensions = [part for name in Dimension for part in (F.lit(name.value), F.col(f"{name}_id"))]
    tags = F.transform_keys("tags", lambda name, _: F.concat(F.lit(TAG_PREFIX), name))
    return F.map_concat(F.create_map(*dimensions), tags)


def _summed(claimed: DataFrame, *more: str) -> DataFrame:
    return claimed.groupBy(*more, *WINDOW_KEY).agg(
        F.sum("cost_usd").cast(MONEY_SUM).alias("spent_usd"),
        charged_calls().cast("bigint").alias("requests"),
        F.max("occurred_at").alias("last_event_at"),
    )
