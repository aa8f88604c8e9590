"""Spend per budget, scope value and window."""

from collections.abc import Iterable
from datetime import datetime
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from spendgate.domain.scope import EVERYTHING, TAG_PREFIX, WILDCARD
from spendgate.domain.table import BIGINT, MONEY_SUM, STRING, TIMESTAMP, WINDOW_KEY
from spendgate.domain.window import WindowKind
from spendgate.transforms.calendar_window import window_bounds
from spendgate.transforms.charged_calls import charged_calls
from spendgate.transforms.time_range import HOUR_SECONDS

_BOUNDS = ("window_start", "window_end")
_SUMS = ("spent_usd", "requests", "last_event_at")
_MARKS = ("round_id", "before_usd", "before_requests")


def budget_hours(
    events: DataFrame, budgets: DataFrame, scopes: Iterable[str], slot_seconds: int
) -> DataFrame:
    """Sum events by hour and by the calendar or lifetime window each falls into.

    Args:
        events: rows of `spend_events`, each event once.
        budgets: rows of `BUDGETS_SCHEMA`; rolling budgets, and charges to budgets that aren't
            there, are left out.
        scopes: the scopes of the budgets.
        slot_seconds: stretches that no window begins or ends within; whole parts of an hour.
    """
    calendar = budgets.where(F.col("kind_of_window") != WindowKind.ROLLING.value)
    second = F.unix_seconds("occurred_at")
    slot = second - F.pmod(second, F.lit(slot_seconds))
    slots = _summed(_claimed(events.withColumn("slot", slot), calendar, scopes), "slot")
    known = slots.join(F.broadcast(calendar.drop("scope")), "budget_id")
    start = F.timestamp_seconds("slot")
    bounds = window_bounds(start, F.col("tz"), F.col("kind_of_window"))
    windowed = known.withColumn("bounds", bounds).select(
        F.timestamp_seconds(F.col("slot") - F.pmod("slot", F.lit(HOUR_SECONDS))).alias("hour"),
        *(F.col("bounds." + name.removeprefix("window_")).alias(name) for name in _BOUNDS),
        *(name for name in WINDOW_KEY if name not in _BOUNDS),
        *_SUMS,
    )
    if slot_seconds == HOUR_SECONDS:
        return windowed
    return windowed.groupBy("hour", *WINDOW_KEY).agg(
        F.sum("spent_usd").cast(MONEY_SUM).alias("spent_usd"),
        F.sum("requests").alias("requests"),
        F.max("last_event_at").alias("last_event_at"),
    )


def of_round(sums: DataFrame, former: DataFrame, round_id: int) -> DataFrame:
    """Return the rows of `budget_hourly` after a round, for the hours that it sums.

    Args:
        sums: rows of `budget_hours`, those hours made from all their events.
        former: rows of `budget_hourly`, the same hours as they are in the table.
        round_id: the round; rows that it has written before keep what was before it.
    """
    mark = F.lit(round_id).cast(BIGINT)
    nothing = {name: F.lit(None).cast(BIGINT) for name in ("round_id", "before_requests")}
    made = sums.withColumns(nothing | {"before_usd": F.lit(None).cast(MONEY_SUM)})
    names = ("hour", *WINDOW_KEY, *_SUMS, *_MARKS)
    both = made.select(*names).unionByName(former.select(*names))
    is_made = F.col("round_id").isNull()
    found = both.groupBy("hour", *WINDOW_KEY).agg(
        *(F.max(F.when(is_made, F.col(name))).alias(name) for name in _SUMS),
        *(F.max(F.when(~is_made, F.col(name))).alias(f"former_{name}") for name in _SUMS),
        *(F.max(name).alias(name) for name in _MARKS),
    )
    is_left = F.col("spent_usd").isNull()  # an hour's window that none of its events fills now
    is_repeated = F.col("round_id") == mark
    before = {
        f"before_{name}": F.when(is_left | is_repeated, F.col(f"before_{name}")).otherwise(
            F.coalesce(f"former_{column}", F.lit(0))
        )
        for name, column in (("usd", "spent_usd"), ("requests", "requests"))
    }
    kept = {name: F.coalesce(name, f"former_{name}") for name in _SUMS}
    marked = {"round_id": F.when(is_left, F.col("round_id")).otherwise(mark)}
    return found.withColumns({**before, **kept, **marked})


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


def rolling_spend(
    events: DataFrame, budgets: DataFrame, scopes: Iterable[str], as_of: datetime
) -> DataFrame:
    """Sum events, each once, after the start of each rolling budget's window and until `as_of`."""
    rolling = budgets.where(F.col("kind_of_window") == WindowKind.ROLLING.value)
    now = F.lit(as_of).cast(TIMESTAMP)
    charged = _claimed(events, rolling, scopes).join(
        F.broadcast(rolling.drop("scope")), "budget_id"
    )
    micros = F.unix_micros(now) - F.col("rolling_seconds") * 1_000_000
    windowed = charged.withColumns(
        {"window_start": F.timestamp_micros(micros), "window_end": F.lit(None).cast(TIMESTAMP)}
    )
    is_inside = (F.col("occurred_at") > F.col("window_start")) & (F.col("occurred_at") <= now)
    kept = windowed.where(is_inside)
    return _summed(kept, "window", "window_start", "window_end").select(*WINDOW_KEY, *_SUMS)


def _claimed(events: DataFrame, budgets: DataFrame, scopes: Iterable[str]) -> DataFrame:
    """One row per event and budget that it is charged to, with the budget's own scope value."""
    charges = events.withColumn("budget_id", F.explode(F.array_distinct("budget_ids")))
    known = charges.join(F.broadcast(budgets.select("budget_id", "scope")), "budget_id")
    # A budget whose scope was edited since may ask for a dimension that an old event lacks.
    return known.withColumn("scope_value", scope_value(scopes)).where("scope_value IS NOT NULL")


def scope_value(scopes: Iterable[str]) -> Column:
    """Return the text of `domain.scope.Scope.value_text`; null if a dimension has no value.

    Each scope is written out: an expression that takes a scope apart can't be compiled.
    """
    return reduce(
        lambda rest, scope: F.when(F.col("scope") == scope, _value_of(scope)).otherwise(rest),
        sorted(set(scopes)),
        F.lit(None).cast(STRING),
    )


def _value_of(scope: str) -> Column:
    if scope == EVERYTHING:
        return F.lit(WILDCARD)
    parts: list[Column] = []
    for number, name in enumerate(scope.split(",")):
        value = F.replace(_dimension(name), F.lit("%"), F.lit("%25"))
        parts += [F.lit(",")] if number else []
        parts.append(F.replace(value, F.lit(","), F.lit("%2C")))
    return F.concat(*parts)  # null if any part is


def _dimension(name: str) -> Column:
    if name.startswith(TAG_PREFIX):
        return F.try_element_at("tags", F.lit(name.removeprefix(TAG_PREFIX)))
    return F.col(f"{name}_id")


def _summed(claimed: DataFrame, *more: str) -> DataFrame:
    return claimed.groupBy(*more, "budget_id", "scope", "scope_value").agg(
        F.sum("cost_usd").cast(MONEY_SUM).alias("spent_usd"),
        charged_calls().cast("bigint").alias("requests"),
        F.max("occurred_at").alias("last_event_at"),
    )
